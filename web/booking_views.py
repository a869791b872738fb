"""Bookings as clients see them."""

from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from pydantic import Field, RootModel

from amrutam.crypto import place
from amrutam.domain.access import may_read_clinical_text
from amrutam.domain.booking import Action, Booking, Status
from amrutam.domain.common import Instant, Message, Mode, Money, Role
from amrutam.domain.errors import DomainError
from amrutam.domain.payment import PaymentRef
from web.context import Call
from web.errors import problem


class CancellationView(Message):
    """Who cancelled, and when."""

    by: Role
    at: Instant


class BookingSummary(Message):
    """A booking without clinical text: as support sees it, and its doctor a while after the visit."""

    id: UUID
    status: Status
    doctor_id: UUID
    doctor_name: str
    patient_id: UUID
    booked_by: UUID
    starts_at: Instant
    ends_at: Instant
    mode: Mode
    fee: Money
    expires_at: Instant | None = Field(description="until when an unpaid time is held")
    payment: PaymentRef | None = Field(default=None, description="null until a payment exists")
    consultation_id: UUID | None = Field(description="the visit, once the booking is confirmed")
    version: int
    cancellation: CancellationView | None
    move_by: Instant | None = Field(
        description="the doctor has given up that day: until when another time is to be chosen; then it is called off"
    )
    actions: list[Action] = Field(description="what you may do now")
    created_at: Instant


class BookingView(BookingSummary):
    """A booking as its patient and its doctor see it."""

    reason: str | None
    cancellation_reason: str | None = None


class BookingPage(Message):
    """A page of bookings."""

    items: list[BookingView | BookingSummary]
    next_cursor: str | None


class Pending(Message):
    """The outcome is not known yet; ask again at `Location`."""

    id: UUID
    status: Literal["pending"] = "pending"


class RefusedView(Message):
    """It could not be booked."""

    id: UUID
    status: Literal["refused"] = "refused"
    problem: dict[str, Any]


class BookingAnswer(RootModel[BookingView | BookingSummary | RefusedView]):
    """The booking as the caller may see it, without clinical text for support, and for its doctor a while after the
    visit; or why there is none.
    """


def refused(call: Call, booking_id: UUID, refusal: DomainError) -> RefusedView:
    """Why there is no such booking."""
    return RefusedView(id=booking_id, problem=problem(refusal, call.request.path, call.request_id))


def outcome_time(booking: Booking) -> datetime:
    """The moment for which a stored outcome is told, so that it reads the same however often it is asked for."""
    return booking.cancellation.at if booking.cancellation else booking.created_at


async def seen(call: Call, booking: Booking, side: Role, *, now: datetime) -> BookingSummary:
    """The booking as somebody on this side sees it at `now`, with clinical text where they may read it."""
    after_visit = timedelta(days=call.services.settings.doctor_access_days)
    if not may_read_clinical_text(side, booking.ends_at, now, after_visit):
        return _summary(booking, side, now)
    cancellation = booking.cancellation
    return BookingView(
        **dict(_summary(booking, side, now)),
        reason=await _opened(call, booking, "reason", booking.reason),
        cancellation_reason=await _opened(
            call, booking, "cancellation_reason", cancellation.reason if cancellation else None
        ),
    )


def _summary(booking: Booking, side: Role, now: datetime) -> BookingSummary:
    cancellation = booking.cancellation
    return BookingSummary(
        id=booking.id,
        status=booking.status,
        doctor_id=booking.doctor_id,
        doctor_name=booking.doctor_name,
        patient_id=booking.patient_id,
        booked_by=booking.booked_by,
        starts_at=booking.starts_at,
        ends_at=booking.ends_at,
        mode=booking.mode,
        fee=booking.fee,
        expires_at=booking.expires_at,
        payment=booking.payment,
        consultation_id=booking.id if booking.confirmed_at else None,
        version=booking.version,
        cancellation=CancellationView(by=cancellation.by, at=cancellation.at) if cancellation else None,
        move_by=booking.move_by,
        actions=booking.actions(side, now),
        created_at=booking.created_at,
    )


async def _opened(call: Call, booking: Booking, column: str, sealed: bytes | None) -> str | None:
    if sealed is None:
        return None
    async with call.services.db.connection() as db:
        key = await call.services.person_keys.of(db, booking.patient_id)
    return key.open(sealed, place("bookings", booking.id, column))
