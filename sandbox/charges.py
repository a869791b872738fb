"""Charges: each time that somebody pays, or declines to.

Money that is authorised may be captured much later, whatever became of its order meanwhile, as real gateways do. Until
then the order may be paid once more, so that it is paid twice in the end.
"""

import secrets
import sqlite3
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sandbox import events, orders
from sandbox.events import Kind, Manner, Webhooks
from sandbox.orders import Moment, Order
from sandbox.refused import Refused
from sandbox.store import Store, text

LONGEST_DELAY = 86_400
PAGE = 100

_SELECT = (
    "SELECT charges.id, order_id, reference, amount, currency, state, charges.created_at, captured_at"
    " FROM charges JOIN orders ON orders.id = order_id "
)


class Outcome(StrEnum):
    """What the payer does."""

    PAY = "pay"
    DECLINE = "decline"


class Pay(BaseModel):
    """A payment, or a declined one, and how difficult the gateway is about it.

    `delay_seconds` is for webhooks that are `late`. Money is captured after `capture_delay_seconds`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: Outcome
    webhooks: Webhooks = Webhooks.NOW
    delay_seconds: float = Field(5, ge=0, le=LONGEST_DELAY)
    capture_delay_seconds: float = Field(0, ge=0, le=LONGEST_DELAY)


class State(StrEnum):
    """How far the money is."""

    DECLINED = "declined"
    AUTHORISED = "authorised"
    CAPTURED = "captured"


class Charge(BaseModel):
    """A charge as it is now. `reference` is its order's."""

    id: str
    order_id: str
    reference: str
    amount: int
    currency: str
    state: State
    created_at: datetime
    captured_at: datetime | None


class Within(BaseModel):
    """Which charges are listed: those captured from `from` until before `to`, after the one named by `cursor`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    since: Moment = Field(alias="from")
    until: Moment = Field(alias="to")
    cursor: str | None = None


class Charges(BaseModel):
    """Some charges; with `next_cursor`, there are more."""

    items: list[Charge]
    next_cursor: str | None = None


def pay(store: Store, order_id: str, wanted: Pay, moment: datetime) -> Charge:
    """Pay for an order or decline to. Raises Refused when it takes no payment any more."""
    charge_id = f"chg_{secrets.token_hex(12)}"
    manner = Manner(wanted.webhooks, wanted.delay_seconds)
    declined = wanted.outcome is Outcome.DECLINE
    with store.change() as db:
        order = orders.find(db, order_id, moment)
        order.require_open()
        capture_at = moment + timedelta(seconds=wanted.capture_delay_seconds)
        db.execute(
            "INSERT INTO charges (id, order_id, state, webhooks, delay_seconds, created_at, capture_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                *(charge_id, order_id, State.DECLINED if declined else State.AUTHORISED),
                *(*manner, text(moment), None if declined else text(capture_at)),
            ),
        )
        if declined:
            events.tell(db, Kind.CHARGE_DECLINED, _about(order, charge_id), manner, moment)
        elif manner.webhooks is not Webhooks.OUT_OF_ORDER:
            events.tell(db, Kind.CHARGE_AUTHORISED, _about(order, charge_id), manner, moment)
        if not declined and capture_at <= moment:
            _capture(db, order, charge_id, manner, moment)
    return find(store.db, charge_id)


def capture_due(store: Store, moment: datetime) -> None:
    """Capture whatever is due by now."""
    due = "SELECT * FROM charges WHERE state = 'authorised' AND capture_at <= ? ORDER BY capture_at"
    for row in store.db.execute(due, (text(moment),)).fetchall():
        with store.change() as db:
            order = orders.find(db, row["order_id"], moment)
            _capture(db, order, row["id"], Manner(Webhooks(row["webhooks"]), row["delay_seconds"]), moment)


def next_due(db: sqlite3.Connection) -> str | None:
    """When the next charge is to be captured; None when none is."""
    return db.execute("SELECT min(capture_at) FROM charges WHERE state = 'authorised'").fetchone()[0]


def find(db: sqlite3.Connection, charge_id: str) -> Charge:
    """The charge. Raises Refused when there is none."""
    row = db.execute(f"{_SELECT} WHERE charges.id = ?", (charge_id,)).fetchone()
    if row is None:
        raise Refused(404, "NO_SUCH_CHARGE")
    return Charge.model_validate(dict(row))


def of_order(db: sqlite3.Connection, order_id: str) -> Charges:
    """All charges of an order, whatever became of them, the oldest first."""
    rows = db.execute(f"{_SELECT} WHERE order_id = ? ORDER BY charges.created_at, charges.id", (order_id,))
    return Charges(items=[Charge.model_validate(dict(row)) for row in rows])


def captured(db: sqlite3.Connection, within: Within) -> Charges:
    """What was captured within a time, the oldest first, a page of it. Raises Refused for a cursor that is none."""
    after = ("", "")
    if within.cursor:
        last = find(db, within.cursor)
        if last.captured_at is None:
            raise Refused(400, "BAD_REQUEST")
        after = (text(last.captured_at), last.id)
    rows = db.execute(
        f"{_SELECT} WHERE state = 'captured' AND captured_at >= ? AND captured_at < ?"
        " AND (captured_at, charges.id) > (?, ?) ORDER BY captured_at, charges.id LIMIT ?",
        (text(within.since), text(within.until), *after, PAGE + 1),
    ).fetchall()
    items = [Charge.model_validate(dict(row)) for row in rows[:PAGE]]
    return Charges(items=items, next_cursor=items[-1].id if len(rows) > PAGE else None)


def _capture(db: sqlite3.Connection, order: Order, charge_id: str, manner: Manner, moment: datetime) -> None:
    db.execute("UPDATE charges SET state = 'captured', captured_at = ? WHERE id = ?", (text(moment), charge_id))
    db.execute("UPDATE orders SET paid_at = coalesce(paid_at, ?) WHERE id = ?", (text(moment), order.id))
    events.tell(db, Kind.CHARGE_CAPTURED, _about(order, charge_id), manner, moment)
    if manner.webhooks is Webhooks.OUT_OF_ORDER:
        events.tell(db, Kind.CHARGE_AUTHORISED, _about(order, charge_id), manner, moment)


def _about(order: Order, charge_id: str) -> dict[str, Any]:
    return {**orders.about(order), "charge_id": charge_id}
