"""Bookings: their states, the commands that move them and the facts that follow."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from pydantic import Field

from amrutam.domain.audit import Actor
from amrutam.domain.common import Instant, Message, Mode, Money, Role
from amrutam.domain.errors import DoctorUnavailable, HoldExpired, InvalidState, PatientBusy, SlotTaken, TooManyHolds
from amrutam.domain.events import Event
from amrutam.domain.payment import PaymentRef


class Status(StrEnum):
    """Where a booking stands."""

    HELD = "held"
    AWAITING_PAYMENT = "awaiting_payment"
    CONFIRMED = "confirmed"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    NO_SHOW = "no_show"


NEXT: Mapping[Status, frozenset[Status]] = {
    Status.HELD: frozenset({Status.AWAITING_PAYMENT, Status.CONFIRMED, Status.EXPIRED, Status.CANCELLED}),
    Status.AWAITING_PAYMENT: frozenset({Status.CONFIRMED, Status.EXPIRED, Status.CANCELLED}),
    Status.CONFIRMED: frozenset({Status.COMPLETED, Status.CANCELLED, Status.NO_SHOW}),
    Status.COMPLETED: frozenset(),
    Status.EXPIRED: frozenset({Status.CONFIRMED}),  # money came late, and the time was still free
    Status.CANCELLED: frozenset(),
    Status.NO_SHOW: frozenset(),
}

UNPAID = frozenset({Status.HELD, Status.AWAITING_PAYMENT})


def check_transition(now: Status, then: Status) -> None:
    """Raises InvalidState when a booking may not go from `now` to `then`."""
    if now is then:
        raise InvalidState(f"The booking is {now} already.")
    if then not in NEXT[now]:
        raise InvalidState(f"The booking is {now}; it cannot become {then}.")


class Action(StrEnum):
    """What a person may do with a booking now."""

    PAY = "pay"
    EXTEND_HOLD = "extend_hold"
    CANCEL = "cancel"
    RESCHEDULE = "reschedule"


class Cancellation(Message):
    """Who cancelled, when, and the words that were given, sealed with the patient's key."""

    by: Role
    at: Instant
    reason: bytes | None


class Booking(Message):
    """A booking as rows and workflows know it. `reason` is sealed with the patient's key."""

    id: UUID
    status: Status
    doctor_id: UUID
    doctor_name: str
    patient_id: UUID
    booked_by: UUID
    starts_at: Instant
    ends_at: Instant
    mode: Mode
    reason: bytes | None
    fee: Money
    expires_at: Instant | None
    confirmed_at: Instant | None
    cancellation: Cancellation | None
    move_by: Instant | None = Field(
        default=None, description="until when another time is to be chosen, else it is called off"
    )
    payment: PaymentRef | None = None
    money_until: Instant | None = Field(default=None, description="until when a gateway may still capture its fee")
    refund_from: Instant | None = Field(
        default=None, description="the time that a late move left: cancelling gives back what it would have then"
    )
    remind_at: Instant | None = Field(default=None, description="when its patient is to be reminded next")
    version: int
    created_at: Instant

    def side_of(self, user_id: UUID, roles: Collection[Role]) -> Role | None:
        """In which role somebody may see this booking, if in any. Who booked as support sees it as support."""
        booked = user_id == self.booked_by and Role.SUPPORT not in roles
        if Role.PATIENT in roles and (booked or user_id == self.patient_id):
            return Role.PATIENT
        if Role.DOCTOR in roles and user_id == self.doctor_id:
            return Role.DOCTOR
        return Role.SUPPORT if Role.SUPPORT in roles else None

    def actions(self, role: Role, now: datetime) -> list[Action]:
        """What somebody who may see this booking may do with it at `now`."""
        try:
            self.check_cancellable(now)
        except InvalidState:
            return []
        pays = [Action.PAY, Action.EXTEND_HOLD] if role in PAYERS and self.is_payable(now) else []
        cancels = [Action.CANCEL] if role in CANCELLERS else []
        return [*pays, *cancels, *([Action.RESCHEDULE] if role in MOVERS else [])]

    def is_payable(self, now: datetime) -> bool:
        """Whether its time is held, lies ahead, and is to be paid for."""
        is_held = self.status in UNPAID and self.expires_at is not None and now < self.expires_at
        return is_held and now < self.starts_at

    def cancelled_as(self, role: Role) -> Role:
        """By whom a cancellation counts as made: a patient whose doctor has given up the day is not the cause of it."""
        return Role.DOCTOR if self.move_by else role

    @property
    def notice_from(self) -> datetime:
        """The time from which the notice of a cancellation counts."""
        return min(self.starts_at, self.refund_from or self.starts_at)

    def check_payable(self, now: datetime) -> None:
        """Raises InvalidState, HoldExpired where there is nothing to pay, or not any more."""
        if self.status not in UNPAID:
            raise InvalidState(f"A booking that is {self.status.replace('_', ' ')} is not to be paid for.")
        if not self.is_payable(now):
            raise HoldExpired

    def check_cancellable(self, now: datetime) -> None:
        """Raises InvalidState when the booking has ended, or its visit has begun."""
        check_transition(self.status, Status.CANCELLED)
        if self.starts_at <= now:
            raise InvalidState("The visit has begun; it cannot be cancelled any more.")

    def check_is_for(self, starts_at: datetime | None) -> None:
        """Raises InvalidState when the booking was moved to another time; None is any."""
        if starts_at not in {None, self.starts_at}:
            raise InvalidState("The booking is for another time by now.")

    def check_movable(self, starts_at: datetime, now: datetime) -> None:
        """Raises InvalidState when the booking has ended, its visit has begun, or that is its time already."""
        if self.status not in MOVABLE:
            raise InvalidState(f"A booking that is {self.status.replace('_', ' ')} cannot be moved.")
        if self.starts_at <= now:
            raise InvalidState("The visit has begun; it cannot be moved any more.")
        if self.starts_at == starts_at:
            raise InvalidState("The booking is for this time already.")


PAYERS = frozenset({Role.PATIENT})
CANCELLERS = frozenset({Role.PATIENT, Role.DOCTOR, Role.SUPPORT})
# A doctor offers another time at most: whose visit it is decides when it is.
MOVERS = frozenset({Role.PATIENT})
MOVABLE = frozenset({Status.HELD, Status.AWAITING_PAYMENT, Status.CONFIRMED})


class ClaimTime(Message):
    """Hold a time for a patient, or refuse. `booking_id` is also the operation's id."""

    booking_id: UUID
    doctor_id: UUID
    patient_id: UUID
    starts_at: Instant
    mode: Mode
    reason: bytes | None = Field(description="sealed with the patient's key")
    actor: Actor


def fee_for(fees: Mapping[Mode, Money], mode: Mode) -> Money:
    """What a visit in this mode costs. Raises DoctorUnavailable where the doctor does not offer it."""
    if mode not in fees:
        raise DoctorUnavailable(f"This doctor does not offer {mode}.", pointer="/mode")
    return fees[mode]


def check_free(wanted: ClaimTime | Booking, taken: Collection[UUID]) -> None:
    """Raises SlotTaken, PatientBusy when somebody else holds the time of one of `taken`."""
    if wanted.doctor_id in taken:
        raise SlotTaken(pointer="/starts_at")
    if wanted.patient_id in taken:
        raise PatientBusy(pointer="/starts_at")


class CancelBooking(Message):
    """Give a time back. `operation_id` names the request, so that asking twice cancels once."""

    operation_id: UUID
    booking_id: UUID
    reason: bytes | None = Field(description="sealed with the patient's key")
    actor: Actor


class MoveBooking(Message):
    """Have a booking at another time of the same doctor, in the same mode and at the fee that it was booked for."""

    operation_id: UUID
    booking_id: UUID
    starts_at: Instant
    actor: Actor


class ExtendHold(Message):
    """Keep a time for longer while its patient pays."""

    operation_id: UUID
    booking_id: UUID
    actor: Actor


class HoldLimits(Message):
    """How much unpaid time one patient may keep from others. `most_seconds` is of one hold, all extensions included."""

    unpaid: int
    expired: int
    seconds: int
    most_seconds: int = 1800

    def extended(self, booking: Booking, now: datetime) -> datetime:
        """When a hold that is extended now ends. Raises HoldExpired, InvalidState."""
        booking.check_payable(now)
        longest = booking.created_at + timedelta(seconds=self.most_seconds)
        until = min(now + timedelta(seconds=self.seconds), longest, booking.starts_at)
        if booking.expires_at is None or until <= booking.expires_at:
            raise InvalidState("This time is held for as long as it can be; pay for it, or cancel it.")
        return until

    def check(self, unpaid: int, expired_today: int) -> None:
        """Raises TooManyHolds."""
        if unpaid >= self.unpaid:
            raise TooManyHolds(f"You already hold {unpaid} unpaid times; pay for one or cancel one first.")
        if expired_today >= self.expired:
            raise TooManyHolds(f"You let {expired_today} holds run out in the last 24 hours; try again tomorrow.")


class BookingHeld(Event):
    """A time is kept from others while the patient pays."""

    type: ClassVar[str] = "booking.held"
    doctor_id: UUID
    patient_id: UUID
    starts_at: Instant
    expires_at: Instant


class HoldExtended(Event):
    """A time is kept from others for longer while the patient pays."""

    type: ClassVar[str] = "booking.hold_extended"
    doctor_id: UUID
    patient_id: UUID
    expires_at: Instant


class BookingConfirmed(Event):
    """Doctor and patient will meet."""

    type: ClassVar[str] = "booking.confirmed"
    doctor_id: UUID
    patient_id: UUID
    starts_at: Instant


class BookingExpired(Event):
    """The time for paying passed; the time is free again."""

    type: ClassVar[str] = "booking.expired"
    doctor_id: UUID
    patient_id: UUID
    starts_at: Instant


class BookingCancelled(Event):
    """The time was given back."""

    type: ClassVar[str] = "booking.cancelled"
    doctor_id: UUID
    patient_id: UUID
    starts_at: Instant
    by: Role


class BookingMoved(Event):
    """The booking is for another time."""

    type: ClassVar[str] = "booking.moved"
    doctor_id: UUID
    patient_id: UUID
    starts_at: Instant
    was_at: Instant


def fact(booking: Booking) -> Event:
    """What happened, told from the state that the booking has just reached."""
    who = {"subject": booking.id, "doctor_id": booking.doctor_id, "patient_id": booking.patient_id}
    when = {"starts_at": booking.starts_at}
    match booking.status:
        case Status.HELD:
            return BookingHeld.model_validate({**who, **when, "expires_at": booking.expires_at})
        case Status.CONFIRMED:
            return BookingConfirmed.model_validate({**who, **when})
        case Status.EXPIRED:
            return BookingExpired.model_validate({**who, **when})
        case Status.CANCELLED if booking.cancellation:
            return BookingCancelled.model_validate({**who, **when, "by": booking.cancellation.by})
        case _:
            raise ValueError(f"no fact is told of a booking that is {booking.status}")
