"""Payments: what is asked of a patient, what is made of what they pay, and what goes back.

For each charge: what pays for a booking + what goes back + what is kept of a late cancellation = what was captured.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from pydantic import Field

from amrutam.domain.audit import Actor
from amrutam.domain.common import Instant, Message, Money, Role
from amrutam.domain.events import Event


class PaymentStatus(StrEnum):
    """Where a payment stands."""

    REQUIRES_ACTION = "requires_action"  # the patient is to pay
    PAID = "paid"
    REFUNDING = "refunding"  # some of it is on its way back
    REFUNDED = "refunded"  # all that is to go back has gone back
    LAPSED = "lapsed"  # nothing was captured, and nothing will be


class RefundStatus(StrEnum):
    """Where a refund stands."""

    PROPOSED = "proposed"  # a second person is to agree
    DUE = "due"
    SENT = "sent"
    DONE = "done"
    FAILED = "failed"


class Cause(StrEnum):
    """Why money goes back without anybody having asked."""

    CANCELLED = "cancelled"
    LATE = "late"  # it came when the time was not to be had any more
    DUPLICATE = "duplicate"  # the booking was paid already
    AMOUNT = "amount"  # it is not what was asked for


class PaymentRef(Message):
    """A booking's payment, in short."""

    id: UUID
    status: PaymentStatus


class AskPayment(Message):
    """Have a patient pay for a booking. `payment_id` is also the operation's id."""

    payment_id: UUID
    booking_id: UUID
    gateway: str
    return_url: str
    actor: Actor


class Pursue(Message):
    """What `payment/<id>` is started with: the request, or nothing where it is only to see to what has happened."""

    payment_id: UUID
    ask: AskPayment | None = None


class CheckoutAnswer(Message):
    """Where the patient pays, and until when the time is held for it."""

    payment_id: UUID
    status: PaymentStatus
    gateway: str
    checkout_url: str
    amount: Money
    expires_at: Instant


class Payment(Message):
    """A payment as its row has it."""

    id: UUID
    booking_id: UUID
    patient_id: UUID
    gateway: str
    status: PaymentStatus
    amount: Money
    return_url: str
    gateway_ref: str | None
    checkout_url: str | None
    expires_at: Instant
    captures_until: Instant
    closed_at: Instant | None
    created_at: Instant

    def checkout(self) -> CheckoutAnswer | None:
        """The answer to whoever is to pay; None until the gateway has answered."""
        if self.checkout_url is None:
            return None
        return CheckoutAnswer(
            payment_id=self.id,
            status=PaymentStatus.REQUIRES_ACTION,
            gateway=self.gateway,
            checkout_url=self.checkout_url,
            amount=self.amount,
            expires_at=self.expires_at,
        )


class Charge(Message):
    """Money that was captured. `decision` is None until the booking's workflow has said what it is for."""

    gateway: str
    id: str
    payment_id: UUID
    amount: Money
    captured_at: Instant
    decision: str | None


class Refund(Message):
    """Money that goes back."""

    id: UUID
    payment_id: UUID
    gateway: str
    charge_id: str
    cause: str
    amount: Money
    status: RefundStatus
    gateway_ref: str | None
    asked_by: UUID | None
    reason: str | None = None
    created_at: Instant


class Standing(Message):
    """How far a payment is, for its workflow: which refunds to see to, whether to look again, and when."""

    status: PaymentStatus
    refunds: list[UUID] = Field(default_factory=list[UUID])
    look_again_at: Instant | None = None


class RefundRule(Message):
    """Cancelled at least `hours` before the visit, `percent` of the fee goes back."""

    hours: int = Field(ge=0)
    percent: int = Field(ge=0, le=100)


class Quote(Message):
    """What a cancellation gives back, and what it costs."""

    refund: Money
    kept: Money


class RefundRules(Message):
    """What goes back, by who cancels: the patient's rules from the longest notice on, and everything for all others."""

    patient: list[RefundRule]

    def quote(self, paid: Money, by: Role, starts_at: datetime, now: datetime) -> Quote:
        """For a booking for which `paid` was captured. Rounded in the patient's favour."""
        percent = 100 if by is not Role.PATIENT else self._percent(starts_at - now)
        back = -(-paid.amount * percent // 100)
        return Quote(
            refund=Money(amount=back, currency=paid.currency),
            kept=Money(amount=paid.amount - back, currency=paid.currency),
        )

    def is_late(self, starts_at: datetime, now: datetime) -> bool:
        """Whether a patient who cancelled now would not get everything back."""
        return self._percent(starts_at - now) < 100  # noqa: PLR2004 - per cent

    def _percent(self, notice: timedelta) -> int:
        fitting = [rule.percent for rule in self.patient if notice >= timedelta(hours=rule.hours)]
        return max(fitting, default=0)


class Account(StrEnum):
    """Of the ledger."""

    GATEWAY = "gateway"
    PATIENT = "patient"
    VISIT = "visit"
    KEPT = "kept"


class Movement(Message):
    """Entries that add up to nothing, in minor units; debit above zero. `cause` names what it is written for, once."""

    kind: str
    cause: str
    entries: dict[Account, int]

    def check(self) -> None:
        """Raises ValueError for entries that do not add up to nothing."""
        if sum(self.entries.values()):
            raise ValueError(f"the entries of {self.kind} {self.cause} do not add up to nothing")


def captured(charge: Charge) -> Movement:
    """The gateway holds it, and it is the patient's until it is for something."""
    return _movement(
        "captured", f"{charge.gateway}/{charge.id}", charge.amount.amount, Account.GATEWAY, Account.PATIENT
    )


def applied(charge: Charge) -> Movement:
    """It pays for a visit."""
    return _movement("applied", f"{charge.gateway}/{charge.id}", charge.amount.amount, Account.PATIENT, Account.VISIT)


def released(charge: Charge, quote: Quote) -> Movement:
    """The visit is off: of what still paid for it some is the patient's again, the rest is kept."""
    entries = {
        Account.VISIT: quote.refund.amount + quote.kept.amount,
        Account.PATIENT: -quote.refund.amount,
        Account.KEPT: -quote.kept.amount,
    }
    return Movement(
        kind="released",
        cause=f"{charge.gateway}/{charge.id}",
        entries={account: amount for account, amount in entries.items() if amount},
    )


def given_back(refund: Refund, of: Account) -> Movement:
    """Support gives back some of what pays for a visit, or of what was kept of one that is off."""
    return _movement("released", str(refund.id), refund.amount.amount, of, Account.PATIENT)


def refunded(refund: Refund) -> Movement:
    """The patient has it back."""
    return _movement("refunded", str(refund.id), refund.amount.amount, Account.PATIENT, Account.GATEWAY)


def _movement(kind: str, cause: str, amount: int, debit: Account, credit: Account) -> Movement:
    return Movement(kind=kind, cause=cause, entries={debit: amount, credit: -amount})


def settled_status(captures: Sequence[Charge], refunds: Sequence[Refund]) -> PaymentStatus:
    """Where a payment stands that has captured something."""
    if any(refund.status is not RefundStatus.DONE for refund in refunds):
        return PaymentStatus.REFUNDING
    back = sum(refund.amount.amount for refund in refunds)
    if back and not any(charge.decision == "applied" and _kept(charge, refunds) for charge in captures):
        return PaymentStatus.REFUNDED
    return PaymentStatus.PAID


def _kept(charge: Charge, refunds: Sequence[Refund]) -> bool:
    """Whether some of a charge is not gone back."""
    return charge.amount.amount > sum(refund.amount.amount for refund in refunds if refund.charge_id == charge.id)


class PaymentRequested(Event):
    """A patient was sent to a gateway to pay for a booking."""

    type: ClassVar[str] = "payment.requested"
    booking_id: UUID
    doctor_id: UUID


class PaymentNoticed(Event):
    """A gateway told of something, or a sweep saw it: somebody has to look."""

    type: ClassVar[str] = "payment.noticed"


class PaymentCaptured(Event):
    """A gateway has taken money."""

    type: ClassVar[str] = "payment.captured"
    booking_id: UUID
    amount: int
    currency: str


class RefundDue(Event):
    """Money is to go back."""

    type: ClassVar[str] = "payment.refund_due"
    booking_id: UUID
    refund_id: UUID
    amount: int
    currency: str
    cause: str


class RefundDone(Event):
    """Money went back."""

    type: ClassVar[str] = "payment.refund_done"
    booking_id: UUID
    refund_id: UUID
    amount: int
    currency: str
