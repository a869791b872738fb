"""Refunds: money on its way back, once for each reference, and never more of it than was captured."""

import secrets
import sqlite3
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from sandbox import charges, events, orders
from sandbox.events import AT_ONCE, Kind
from sandbox.orders import Amount, Currency, Reference
from sandbox.refused import Refused
from sandbox.store import Store, text

_SELECT = (
    "SELECT refunds.id, refunds.reference, charge_id, order_id, refunds.amount, currency, refunds.state,"
    " refunds.created_at FROM refunds JOIN charges ON charges.id = charge_id JOIN orders ON orders.id = order_id "
)


class GiveBack(BaseModel):
    """How much of a charge is given back, in minor units; where a currency is named, it is the charge's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: Reference
    amount: Amount
    currency: Currency | None = None


class State(StrEnum):
    """How far a refund is."""

    PENDING = "pending"
    DONE = "done"


class Refund(BaseModel):
    """A refund as it is now."""

    id: str
    reference: str
    charge_id: str
    order_id: str
    amount: int
    currency: str
    state: State
    created_at: datetime


def give_back(store: Store, charge_id: str, wanted: GiveBack, moment: datetime, seconds: float) -> Refund:
    """Have a refund, which takes `seconds`. One of the same reference is answered again.

    Raises Refused: no such charge, nothing captured by it, less left of it, or a reference that stands for another.
    """
    with store.change() as db:
        charge = charges.find(db, charge_id)
        if known := db.execute(f"{_SELECT} WHERE refunds.reference = ?", (wanted.reference,)).fetchone():
            if (known["charge_id"], known["amount"]) != (charge_id, wanted.amount):
                raise Refused(409, "REFERENCE_TAKEN")
            return Refund.model_validate(dict(known))
        if charge.state is not charges.State.CAPTURED:
            raise Refused(409, "NOT_CAPTURED")
        if wanted.currency not in {None, charge.currency}:
            raise Refused(422, "WRONG_CURRENCY")
        if wanted.amount > charge.amount - _given_back(db, charge_id):
            raise Refused(422, "REFUND_TOO_LARGE")
        refund_id, done_at = f"rfd_{secrets.token_hex(12)}", moment + timedelta(seconds=seconds)
        db.execute(
            "INSERT INTO refunds (id, reference, charge_id, amount, state, created_at, done_at)"
            " VALUES (?, ?, ?, ?, 'pending', ?, ?)",
            (refund_id, wanted.reference, charge_id, wanted.amount, text(moment), text(done_at)),
        )
        if done_at <= moment:
            _finish(db, refund_id, moment)
    return find(store.db, refund_id)


def find(db: sqlite3.Connection, refund_id: str) -> Refund:
    """The refund. Raises Refused when there is none."""
    row = db.execute(f"{_SELECT} WHERE refunds.id = ?", (refund_id,)).fetchone()
    if row is None:
        raise Refused(404, "NO_SUCH_REFUND")
    return Refund.model_validate(dict(row))


def finish_due(store: Store, moment: datetime) -> None:
    """Have whatever is due by now arrive."""
    due = "SELECT id FROM refunds WHERE state = 'pending' AND done_at <= ? ORDER BY done_at"
    for row in store.db.execute(due, (text(moment),)).fetchall():
        with store.change() as db:
            _finish(db, row["id"], moment)


def next_due(db: sqlite3.Connection) -> str | None:
    """When the next refund arrives; None when none is on its way."""
    return db.execute("SELECT min(done_at) FROM refunds WHERE state = 'pending'").fetchone()[0]


def _given_back(db: sqlite3.Connection, charge_id: str) -> int:
    return db.execute("SELECT coalesce(sum(amount), 0) FROM refunds WHERE charge_id = ?", (charge_id,)).fetchone()[0]


def _finish(db: sqlite3.Connection, refund_id: str, moment: datetime) -> None:
    db.execute("UPDATE refunds SET state = 'done' WHERE id = ?", (refund_id,))
    refund = find(db, refund_id)
    about = orders.about(orders.find(db, refund.order_id, moment))
    told = {"charge_id": refund.charge_id, "refund_id": refund.id, "refund_reference": refund.reference}
    events.tell(db, Kind.REFUND_DONE, {**about, **told, "amount": refund.amount}, AT_ONCE, moment)
