"""What is told by webhook, and how well that goes."""

import json
import secrets
import sqlite3
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from httpx import codes

from sandbox.store import text

# A pause doubles after each try that fails, up to the longest.
FIRST_PAUSE = timedelta(seconds=0.5)
LONGEST_PAUSE = timedelta(seconds=30)
_MOST_DOUBLINGS = 10
# Whoever refuses an event as often as this does not want it.
MOST_REFUSALS = 5
# Looked at together.
_BATCH = 16
_NOT_FOR_GOOD = {codes.REQUEST_TIMEOUT, codes.TOO_MANY_REQUESTS}


class Kind(StrEnum):
    """What can happen."""

    ORDER_CREATED = "order.created"
    CHARGE_AUTHORISED = "charge.authorised"
    CHARGE_DECLINED = "charge.declined"
    CHARGE_CAPTURED = "charge.captured"
    REFUND_DONE = "refund.done"


class Webhooks(StrEnum):
    """How a payment is told."""

    NOW = "now"
    LATE = "late"
    TWICE = "twice"
    OUT_OF_ORDER = "out_of_order"
    NEVER = "never"


class Manner(NamedTuple):
    """How something is told, and for `late` after how many seconds."""

    webhooks: Webhooks
    delay_seconds: float


AT_ONCE = Manner(Webhooks.NOW, 0)


class Delivery(NamedTuple):
    """An event on its way."""

    number: int
    event_id: str
    order_id: str
    body: bytes
    tries: int
    refusals: int


def tell(db: sqlite3.Connection, kind: Kind, about: dict[str, Any], manner: Manner, moment: datetime) -> None:
    """Have something told, in the caller's transaction. `about` has at least `order_id` and the order's `reference`."""
    if manner.webhooks is Webhooks.NEVER:
        return
    event_id = f"evt_{secrets.token_hex(12)}"
    body = json.dumps({"id": event_id, "type": kind, "created_at": text(moment), **about})
    late = timedelta(seconds=manner.delay_seconds if manner.webhooks is Webhooks.LATE else 0)
    for _ in range(2 if manner.webhooks is Webhooks.TWICE else 1):
        db.execute(
            "INSERT INTO deliveries (event_id, order_id, body, due_at) VALUES (?, ?, ?, ?)",
            (event_id, about["order_id"], body, text(moment + late)),
        )


def due(db: sqlite3.Connection, moment: datetime) -> list[Delivery]:
    """What is to be told by now, in its order; not more than some at a time."""
    rows = db.execute(
        "SELECT number, event_id, order_id, body, tries, refusals FROM deliveries"
        " WHERE state = 'waiting' AND due_at <= ? ORDER BY due_at, number LIMIT ?",
        (text(moment), _BATCH),
    )
    return [Delivery(**{**dict(row), "body": row["body"].encode()}) for row in rows]


def next_due(db: sqlite3.Connection) -> str | None:
    """When the next one is to be told; None when nothing waits."""
    return db.execute("SELECT min(due_at) FROM deliveries WHERE state = 'waiting'").fetchone()[0]


def settle(db: sqlite3.Connection, delivery: Delivery, status: int | None, moment: datetime) -> None:
    """Note what came of a try: the HTTP status, None for no answer. What was not taken is told again, later."""
    tries, refusals = delivery.tries + 1, delivery.refusals + _is_refusal(status)
    state = "waiting"
    if status is not None and codes.is_success(status):
        state = "told"
    elif refusals >= MOST_REFUSALS:
        state = "given_up"
    pause = min(FIRST_PAUSE * 2 ** min(delivery.tries, _MOST_DOUBLINGS), LONGEST_PAUSE)
    db.execute(
        "UPDATE deliveries SET state = ?, tries = ?, refusals = ?, due_at = ? WHERE number = ?",
        (state, tries, refusals, text(moment + pause), delivery.number),
    )


def _is_refusal(status: int | None) -> bool:
    return status is not None and codes.is_client_error(status) and status not in _NOT_FOR_GOOD
