"""Orders: what somebody is asked to pay, once for each reference."""

import secrets
import sqlite3
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from sandbox import events
from sandbox.events import AT_ONCE, Kind
from sandbox.refused import Refused
from sandbox.store import Store, text

_YEARS = (2000, 2199)


def _of_these_centuries(moment: datetime) -> datetime:
    if not _YEARS[0] <= moment.year <= _YEARS[1]:
        raise ValueError(f"should be a time of the years {_YEARS[0]} to {_YEARS[1]}")
    return moment.astimezone(UTC)


Reference = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Amount = Annotated[int, Field(gt=0, le=10**12)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Moment = Annotated[AwareDatetime, AfterValidator(_of_these_centuries)]


class State(StrEnum):
    """What can be done with an order."""

    OPEN = "open"
    PAID = "paid"
    CLOSED = "closed"
    EXPIRED = "expired"


class PlaceOrder(BaseModel):
    """What is to be paid, in minor units, and where the payer goes then."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: Reference
    amount: Amount
    currency: Currency
    description: str = Field(pattern=r"^[^\x00-\x1f\x7f]{1,200}$")
    expires_at: Moment
    return_url: str = Field(pattern=r"^https?://[!-~]+$", max_length=2000)


class Order(PlaceOrder):
    """An order as it is now."""

    id: str
    state: State
    created_at: datetime

    def same_as(self, wanted: PlaceOrder) -> bool:
        """Whether this is what is wanted."""
        return all(getattr(self, name) == getattr(wanted, name) for name in PlaceOrder.model_fields)

    def require_open(self) -> None:
        """Raises Refused for one that takes no payment any more."""
        if self.state is not State.OPEN:
            raise Refused(409, f"ORDER_{self.state.name}")


def place(store: Store, wanted: PlaceOrder, moment: datetime) -> Order:
    """Have an order. One of the same reference is answered again; Refused where it is about something else."""
    with store.change() as db:
        if known := db.execute("SELECT * FROM orders WHERE reference = ?", (wanted.reference,)).fetchone():
            order = _order(known, moment)
            if not order.same_as(wanted):
                raise Refused(409, "REFERENCE_TAKEN")
            return order
        order = Order(**wanted.model_dump(), id=f"ord_{secrets.token_hex(16)}", state=State.OPEN, created_at=moment)
        db.execute(
            "INSERT INTO orders (id, reference, amount, currency, description, expires_at, return_url, created_at)"
            " VALUES (:id, :reference, :amount, :currency, :description, :expires_at, :return_url, :created_at)",
            {**order.model_dump(), "expires_at": text(order.expires_at), "created_at": text(moment)},
        )
        events.tell(db, Kind.ORDER_CREATED, about(order), AT_ONCE, moment)
    return find(store.db, order.id, moment)


def find(db: sqlite3.Connection, order_id: str, moment: datetime) -> Order:
    """The order. Raises Refused when there is none."""
    row = db.execute("SELECT * FROM orders WHERE id = ?", (order_id,)).fetchone()
    if row is None:
        raise Refused(404, "NO_SUCH_ORDER")
    return _order(row, moment)


def close(store: Store, order_id: str, moment: datetime) -> Order:
    """Take no payment for it from now on. One that is paid or closed stays as it is. Raises Refused."""
    with store.change() as db:
        find(db, order_id, moment)
        db.execute(
            "UPDATE orders SET closed_at = ? WHERE id = ? AND closed_at IS NULL AND paid_at IS NULL",
            (text(moment), order_id),
        )
    return find(store.db, order_id, moment)


def about(order: Order) -> dict[str, Any]:
    """What every event about an order tells of it."""
    return {
        "reference": order.reference,
        "order_id": order.id,
        "amount": order.amount,
        "currency": order.currency,
    }


def _order(row: sqlite3.Row, moment: datetime) -> Order:
    given = dict(row)
    paid, closed = given.pop("paid_at"), given.pop("closed_at")
    expired = row["expires_at"] <= text(moment)
    state = State.PAID if paid else State.CLOSED if closed else State.EXPIRED if expired else State.OPEN
    return Order.model_validate({**given, "state": state})
