"""Gateways that take payments: what is asked of each, whichever it is. `razorpay.py` and `sandbox.py` are two.

A gateway captures by itself whatever a patient pays: what is made of it, a confirmed booking or a refund, is decided
here. What it tells by webhook is a reason to look, and never the truth: that is asked for.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol
from uuid import UUID

from amrutam.domain.common import Money

# One request to a gateway may take so long. An activity that makes some of them takes less than its own time.
TIMEOUT_SECONDS = 8.0
# A larger answer is no answer of a gateway.
MOST_BYTES = 1024 * 1024


class Order(NamedTuple):
    """What is to be paid, and until when. The same `payment_id` is the same order, however often it is opened.

    `description` is read by the patient, the gateway and their bank: it holds no word of why somebody sees a doctor.
    """

    payment_id: UUID
    amount: Money
    description: str
    expires_at: datetime
    return_url: str


class Checkout(NamedTuple):
    """Where the patient pays. `ref` is the gateway's id of the order."""

    ref: str
    url: str


class Charge(NamedTuple):
    """Money that the gateway has taken from a patient. `payment_id` is None where the gateway knows none of ours."""

    id: str
    payment_id: UUID | None
    amount: Money
    captured_at: datetime


class RefundState(StrEnum):
    """How far a refund is."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


class Refund(NamedTuple):
    """Money on its way back. `ref` is the gateway's id of it."""

    ref: str
    amount: Money
    state: RefundState


class Notice(NamedTuple):
    """A webhook, once its signature is checked: which event it is, and which payment it is about, if one of ours."""

    event_id: str
    payment_id: UUID | None


class GatewayAway(Exception):
    """The gateway cannot be reached, is busy, or answers what nobody can read; try again. Names nobody, no secret."""


class GatewayRefused(Exception):
    """The gateway refuses this for good. The message is its own code, as `BAD_REQUEST_ERROR`."""


class NotSigned(Exception):
    """A webhook that does not come from the gateway."""


class PaymentGateway(Protocol):
    """One provider. Each call may be repeated; each raises GatewayAway, GatewayRefused."""

    name: str

    async def open(self, order: Order) -> Checkout:
        """Have an order there, once for each payment, and say where it is paid."""
        ...

    async def close(self, ref: str) -> None:
        """Take no payment for the order any more. One that is closed or paid already stays as it is."""
        ...

    async def charges(self, ref: str) -> Sequence[Charge]:
        """All that was captured for an order; what was declined or only authorised is no charge."""
        ...

    def captured(self, since: datetime, until: datetime) -> AsyncIterator[Charge]:
        """All that was captured within a time, whatever it was for, page by page."""
        ...

    async def refund(self, charge_id: str, refund_id: UUID, amount: Money) -> Refund:
        """Give back some of a charge: once for each `refund_id`, however often it is asked for. Tells how far it is."""
        ...

    def notice(self, body: bytes, headers: Mapping[str, str]) -> Notice:
        """What a webhook is about. `headers` have lower-case names. Raises NotSigned; its body is never believed."""
        ...

    async def aclose(self) -> None:
        """Give up its connections."""
        ...
