"""What a client may ask of a booking, and how its workflow is asked."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from pydantic import Field
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.workflow import UpdateMethodMultiParam

from amrutam.crypto import place
from amrutam.domain.availability import claimed_span
from amrutam.domain.booking import Booking, CancelBooking, ClaimTime, MoveBooking, check_free, fee_for
from amrutam.domain.common import Instant, Message, Mode, Prose, Role
from amrutam.domain.errors import DoctorUnavailable, DomainError
from amrutam.storage import availability, claims, operations
from amrutam.storage.cache import slots_group
from amrutam.storage.pool import Connection
from amrutam.temporal import BOOKINGS_QUEUE, DOCTOR_ID, PATIENT_ID, STARTS_AT
from web import commands
from web.context import Call
from workflows.booking import BookingWorkflow

C = TypeVar("C", bound=Message)


class BookSlot(Message):
    """Book a doctor's time."""

    doctor_id: UUID
    starts_at: Instant = Field(description="the beginning of a slot, with its offset")
    mode: Mode
    reason: Prose | None = Field(None, description="why the patient comes; sealed, seen by patient and doctor only")
    patient_id: UUID | None = Field(
        None, description="who is to be seen; the caller when absent; support names the patient"
    )


class CancelRequest(Message):
    """Cancel a booking."""

    reason: Prose | None = Field(None, description="sealed, seen by patient and doctor only")


class RescheduleRequest(Message):
    """Have a booking at another time."""

    starts_at: Instant = Field(description="the beginning of another slot of the same doctor, with its offset")


async def start(call: Call, command: BookSlot, patient_id: UUID, role: Role) -> Booking:
    """Start `booking/<operation id>`, or join it, and wait for its first answer. Raises as `commands.outcome` does."""
    operation = call.required_operation
    claim = ClaimTime(
        booking_id=operation.id,
        doctor_id=command.doctor_id,
        patient_id=patient_id,
        starts_at=command.starts_at,
        mode=command.mode,
        reason=await _sealed(call, patient_id, command.reason, place("bookings", operation.id, "reason")),
        actor=call.acting(call.user_id, role),
    )
    if not operation.fresh:
        return await _ask(call, claim)
    async with call.services.gate((claim.doctor_id, claim.starts_at)):  # in a storm, whoever comes later sees the claim
        await _refuse_what_is_bound_to_fail(call, claim)
        return await _ask(call, claim)


async def _ask(call: Call, claim: ClaimTime) -> Booking:
    claim = claim.model_copy(update={"actor": await commands.carried(call, claim.actor.role, claim.patient_id)})
    start = commands.Start(
        BookingWorkflow.run,
        claim,
        f"booking/{claim.booking_id}",
        BOOKINGS_QUEUE,
        f"{claim.mode} visit, {claim.starts_at:%Y-%m-%d %H:%M} UTC",
        TypedSearchAttributes(
            [
                SearchAttributePair(DOCTOR_ID, str(claim.doctor_id)),
                SearchAttributePair(PATIENT_ID, str(claim.patient_id)),
                SearchAttributePair(STARTS_AT, claim.starts_at),
            ]
        ),
    )
    try:
        return await commands.start(call, Booking, start, BookingWorkflow.outcome)
    finally:  # taken or lost: what this process remembers of the doctor's times may have changed
        call.services.cache.forget(slots_group(claim.doctor_id))


async def give_back(call: Call, booking: Booking, side: Role, command: CancelRequest) -> Booking:
    """Ask the booking's workflow to cancel. Raises as `commands.outcome` does."""
    bound_to = place("bookings", booking.id, "cancellation_reason")
    request = CancelBooking(
        operation_id=call.required_operation.id,
        booking_id=booking.id,
        reason=await _sealed(call, booking.patient_id, command.reason, bound_to),
        actor=await commands.carried(call, side, booking.patient_id),
    )
    return await _update(call, booking, BookingWorkflow.cancel, request)


async def move(call: Call, booking: Booking, side: Role, command: RescheduleRequest) -> Booking:
    """Ask the booking's workflow to have it at another time. Raises as `commands.outcome` does."""
    if call.required_operation.fresh:
        await _refuse_a_move_that_is_bound_to_fail(call, booking, command.starts_at)
    request = MoveBooking(
        operation_id=call.required_operation.id,
        booking_id=booking.id,
        starts_at=command.starts_at,
        actor=await commands.carried(call, side, booking.patient_id),
    )
    return await _update(call, booking, BookingWorkflow.reschedule, request)


async def _update(
    call: Call, booking: Booking, update: UpdateMethodMultiParam[[Any, C], Booking], command: C
) -> Booking:
    try:
        return await commands.update(call, Booking, f"booking/{booking.id}", update, command)
    finally:
        call.services.cache.forget(slots_group(booking.doctor_id))


async def _refuse_what_is_bound_to_fail(call: Call, claim: ClaimTime) -> None:
    """Spare Temporal a workflow that is bound to lose. Raises the refusal, noted in the record."""
    async with _refusals_noted(call) as db:
        doctor = await _bookable(db, claim.doctor_id, claim.starts_at)
        slot = doctor.slot_at(claim.starts_at, claim.mode, now=call.now)
        fee_for(doctor.fees, claim.mode)
        times = {claim.doctor_id: claimed_span(doctor.availability, slot), claim.patient_id: slot.span}
        check_free(claim, await claims.overlapping(db, claim.booking_id, times))


async def _refuse_a_move_that_is_bound_to_fail(call: Call, booking: Booking, starts_at: datetime) -> None:
    """Spare the booking's workflow, whose history has an end, a step in vain. Raises the refusal, which is noted."""
    async with _refusals_noted(call) as db:
        booking.check_movable(starts_at, call.now)
        doctor = await _bookable(db, booking.doctor_id, starts_at)
        slot = doctor.without(booking.starts_at).slot_at(starts_at, booking.mode, now=call.now)
        times = {booking.doctor_id: claimed_span(doctor.availability, slot), booking.patient_id: slot.span}
        check_free(booking, await claims.overlapping(db, booking.id, times))


async def _bookable(db: Connection, doctor_id: UUID, around: datetime) -> availability.Bookable:
    doctor = await availability.bookable(db, doctor_id, availability.near(around))
    if doctor is None:
        raise DoctorUnavailable(pointer="/doctor_id")
    return doctor


@asynccontextmanager
async def _refusals_noted(call: Call) -> AsyncGenerator[Connection]:
    """A connection; a refusal within goes into the operation's record.

    A copy of this request may have been quicker: then the record has its outcome, and that is the answer.
    """
    async with call.services.db.connection() as db:
        try:
            yield db
        except DomainError as refusal:
            keys, operation = call.services.operation_keys, call.required_operation
            if await operations.refuse(db, keys, operation.id, refusal.refusal()):
                raise


async def _sealed(call: Call, patient_id: UUID, text: str | None, bound_to: bytes) -> bytes | None:
    """`text` under the patient's key, bound to its place."""
    if not text:
        return None
    async with call.services.db.connection() as db:
        key = await call.services.person_keys.of(db, patient_id)
    return key.seal(text, bound_to)
