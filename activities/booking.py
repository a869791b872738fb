"""The steps of a booking's life: each one transaction, with its fact, its audit row and what the client is told."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from temporalio import activity

from activities import paid
from activities.once import once
from amrutam.crypto import SealingKeys
from amrutam.domain.audit import Actor
from amrutam.domain.availability import Span, claimed_span
from amrutam.domain.booking import (
    MOVABLE,
    NEXT,
    Booking,
    BookingMoved,
    CancelBooking,
    ClaimTime,
    ExtendHold,
    HoldExtended,
    HoldLimits,
    MoveBooking,
    Status,
    check_free,
    check_transition,
    fact,
    fee_for,
)
from amrutam.domain.calling_off import CallOff, Cause
from amrutam.domain.cancel_day import MoveOffered, OfferMove
from amrutam.domain.common import Role
from amrutam.domain.errors import DoctorUnavailable, DomainError, HoldExpired, NotFound
from amrutam.domain.payment import PaymentNoticed, PaymentStatus, RefundRules
from amrutam.domain.reminders import LATE, ReminderDue, next_reminder
from amrutam.ids import first_id_at
from amrutam.storage import audit, availability, claims, events
from amrutam.storage import booking as bookings
from amrutam.storage.availability import Bookable
from amrutam.storage.cache import Cache, slots_group
from amrutam.storage.lock import Lock
from amrutam.storage.pool import Connection, Database
from amrutam.telemetry import BOOKINGS


async def _always(_: Connection) -> bool:
    return True


class Rules(NamedTuple):
    """What the clinic has set: what goes back of a fee, how many minutes before a visit its patient is reminded, and
    how much tax is in a fee.
    """

    refunds: RefundRules
    reminders: Sequence[int]
    tax_permille: int


class BookingActivities:
    """Needs PostgreSQL; Redis only to be quick."""

    def __init__(
        self,
        db: Database,
        lock: Lock,
        cache: Cache,
        operation_keys: SealingKeys,
        limits: HoldLimits,
        rules: Rules,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._db = db
        self._lock = lock
        self._cache = cache
        self._keys = operation_keys
        self._limits = limits
        self._refunds, self._reminders, self._tax_permille = rules
        self._now = now

    @activity.defn(name="booking.claim")
    async def claim(self, claim: ClaimTime) -> Booking:
        """Hold the time, or for a free one confirm it. Raises the refusal, which is noted for all who wait."""
        async with self._lock(f"doctor/{claim.doctor_id}"):
            return await self._once(claim.booking_id, lambda db: self._take(db, claim))

    @activity.defn(name="booking.extend")
    async def extend(self, command: ExtendHold) -> Booking:
        """Hold it for longer. Raises HoldExpired, InvalidState, which is noted for all who wait."""

        async def hold(db: Connection) -> Booking:
            before = await bookings.lock(db, command.booking_id)
            until = self._limits.extended(before, self._now())
            if not await claims.extend(db, before.id, until):
                raise HoldExpired
            await bookings.extend(db, before.id, until)
            booking = await bookings.lock(db, before.id)
            extended = HoldExtended(
                subject=booking.id, doctor_id=booking.doctor_id, patient_id=booking.patient_id, expires_at=until
            )
            await events.append(db, extended)
            await audit.append(db, command.actor, "booking.extend_hold", booking.id, patient_id=booking.patient_id)
            return booking

        return await self._once(command.operation_id, hold, told="extended")

    @activity.defn(name="booking.settle")
    async def settle(self, booking_id: UUID) -> Booking:
        """Say what was captured for it is for: it confirms the booking, where its time is to be had, or goes back."""
        async with self._db.transaction() as db:
            found = await bookings.find(db, booking_id)
            if found is None:
                raise NotFound
            await claims.queue_for(db, (found.doctor_id, found.patient_id))
            calendar = await _calendar(db, found)  # before the booking, as by everybody who needs both
            before = await bookings.lock(db, booking_id)
            confirmed = await paid.decide(
                db, before, lambda: self._retake(db, before, calendar), self._tax_permille, self._now()
            )
            booking = await bookings.lock(db, booking_id)
            if not confirmed:
                return self._to_be_reminded(booking)
            await events.append(db, fact(booking))
            await audit.append_system(db, "booking.confirm", booking_id, patient_id=booking.patient_id)
        await self._tell(booking)
        return self._to_be_reminded(booking)

    @activity.defn(name="booking.remind")
    async def remind(self, booking_id: UUID, moment: datetime) -> Booking:
        """Have its patient reminded, once for each moment, if the visit stands and is still for that time."""
        async with self._db.transaction() as db:
            booking = await bookings.lock(db, booking_id)
            minutes = int((booking.starts_at - moment).total_seconds() // 60)
            stands = booking.status is Status.CONFIRMED and booking.move_by is None and minutes in self._reminders
            if stands and self._now() - moment < LATE and await bookings.remind(db, booking_id, moment):
                due = ReminderDue(
                    subject=booking.id,
                    doctor_id=booking.doctor_id,
                    patient_id=booking.patient_id,
                    starts_at=booking.starts_at,
                    minutes=minutes,
                )
                await events.append(db, due)
        return self._to_be_reminded(booking, moment)

    def _to_be_reminded(self, booking: Booking, after: datetime | None = None) -> Booking:
        """The booking, with the moment of its next reminder; a clock that goes after is not sent there twice."""
        now = max(self._now(), after) if after else self._now()
        return booking.model_copy(update={"remind_at": next_reminder(booking.starts_at, now, self._reminders)})

    async def _retake(self, db: Connection, booking: Booking, doctor: Bookable | None) -> bool:
        """Claim the times of a booking for good whose hold has run out, if its slot is still offered and free."""
        if doctor is None:
            return False
        try:
            async with db.transaction():
                slot = doctor.slot_at(booking.starts_at, booking.mode, now=self._now())
                if slot.ends_at != booking.ends_at:  # the doctor's slots are of another length by now
                    return False
                await claims.release(db, booking.id)
                wanted = {
                    booking.doctor_id: claimed_span(doctor.availability, slot),
                    booking.patient_id: Span(slot.starts_at, slot.ends_at),
                }
                check_free(booking, await claims.take(db, booking.id, wanted, None))
        except DomainError:
            return False
        return True

    @activity.defn(name="booking.cancel")
    async def cancel(self, command: CancelBooking) -> Booking:
        """Give the time back. Raises InvalidState, which is noted for all who wait."""

        async def give_back(db: Connection) -> Booking:
            before = await bookings.lock(db, command.booking_id)
            check_transition(before.status, Status.CANCELLED)
            await bookings.cancel(db, command)
            booking = await self._let_go(db, before.id, before.cancelled_as(command.actor.role))
            await audit.append(db, command.actor, "booking.cancel", booking.id, patient_id=booking.patient_id)
            return booking

        return await self._once(command.operation_id, give_back)

    @activity.defn(name="booking.move")
    async def move(self, command: MoveBooking) -> Booking:
        """Have it at another time, or leave it where it is. Raises the refusal, which is noted for all who wait."""
        return await self._once(command.operation_id, lambda db: self._move(db, command), told="moved")

    @activity.defn(name="booking.offer_move")
    async def offer_move(self, command: OfferMove) -> Booking:
        """Ask the patient to choose another time. One that has ended, or was asked already, stays as it is."""
        async with self._db.transaction() as db:
            closed = await availability.keep_given_up(db, command.cause_id)
            booking = await bookings.lock(db, command.booking_id)
            if not closed or booking.status not in MOVABLE or booking.move_by == command.answer_by:
                return self._to_be_reminded(booking)
            await bookings.ask_to_move(db, booking.id, command.answer_by, command.cause_id)
            offered = MoveOffered(
                subject=booking.id,
                doctor_id=booking.doctor_id,
                patient_id=booking.patient_id,
                answer_by=command.answer_by,
            )
            await events.append(db, offered)
            await audit.append(db, command.actor, "booking.offer_move", booking.id, patient_id=booking.patient_id)
            return self._to_be_reminded(await bookings.lock(db, booking.id))

    @activity.defn(name="booking.call_off")
    async def call_off(self, command: CallOff) -> Booking:
        """Give the time back because the clinic calls the visit off. One that has ended stays as it is.

        So does one on a day that its doctor has opened again meanwhile.
        """

        async def stands(db: Connection) -> bool:
            return command.cause is not Cause.DOCTOR_AWAY or await availability.keep_given_up(db, command.cause_id)

        return await self._end(
            command.booking_id,
            Status.CANCELLED,
            "booking.call_off",
            lambda db, _: bookings.call_off(db, command),
            actor=command.actor,
            stands=stands,
        )

    @activity.defn(name="booking.expire")
    async def expire(self, booking_id: UUID) -> Booking:
        """Free the time of a booking that was not paid for."""
        return await self._end(booking_id, Status.EXPIRED, "booking.expire", bookings.expire)

    @activity.defn(name="booking.withdraw")
    async def withdraw(self, booking_id: UUID) -> Booking:
        """Cancel because an operator ended the workflow."""
        return await self._end(booking_id, Status.CANCELLED, "booking.withdraw", bookings.withdraw)

    async def _once(
        self, operation_id: UUID, work: Callable[[Connection], Awaitable[Booking]], *, told: str | None = None
    ) -> Booking:
        """As `once` does it, counted by the state that was reached, or as `told`."""
        try:
            booking = await once(self._db, self._keys, operation_id, Booking, work)
        except DomainError as refusal:
            BOOKINGS.labels(refusal.code).inc()
            raise
        await self._tell(booking, told)
        return booking

    async def _end(
        self,
        booking_id: UUID,
        status: Status,
        action: str,
        change: Callable[[Connection, UUID], Awaitable[None]],
        *,
        actor: Actor | None = None,
        stands: Callable[[Connection], Awaitable[bool]] = _always,
    ) -> Booking:
        """End a booking that nobody waits for, if the reason stands. One that moved on meanwhile stays as it is."""
        async with self._db.transaction() as db:
            is_to_end = await stands(db)
            booking = await bookings.lock(db, booking_id)
            if not is_to_end or status not in NEXT[booking.status]:
                return booking
            await change(db, booking_id)
            booking = await self._let_go(db, booking_id)
            if actor:
                await audit.append(db, actor, action, booking_id, patient_id=booking.patient_id)
            else:
                await audit.append_system(db, action, booking_id, patient_id=booking.patient_id)
        await self._tell(booking)
        return booking

    async def _take(self, db: Connection, claim: ClaimTime) -> Booking:
        """Check everything afresh under the doctor's calendar, then claim doctor and patient."""
        now = self._now()
        await claims.queue_for(db, (claim.doctor_id, claim.patient_id))
        doctor = await availability.for_booking(db, claim.doctor_id, claim.starts_at)
        slot = doctor.slot_at(claim.starts_at, claim.mode, now=now)
        fee = fee_for(doctor.fees, claim.mode)
        expires_at = min(await self._hold_until(db, claim.patient_id, now), slot.starts_at) if fee.amount else None
        wanted = {
            claim.doctor_id: claimed_span(doctor.availability, slot),
            claim.patient_id: Span(slot.starts_at, slot.ends_at),
        }
        check_free(claim, await claims.take(db, claim.booking_id, wanted, expires_at))
        status = Status.HELD if expires_at else Status.CONFIRMED
        await bookings.insert(db, claim, status, slot.ends_at, fee, expires_at)
        if status is Status.CONFIRMED:
            await bookings.insert_consultation(db, claim.booking_id, claim.doctor_id, claim.patient_id)
        booking = await bookings.lock(db, claim.booking_id)
        await events.append(db, fact(booking))
        await audit.append(db, claim.actor, "booking.create", booking.id, patient_id=booking.patient_id)
        return self._to_be_reminded(booking)

    async def _move(self, db: Connection, command: MoveBooking) -> Booking:
        """As `_take`, with the claims that the booking has. Its own start does not count against a full day."""
        found = await bookings.find(db, command.booking_id)
        if found is None:
            raise NotFound
        await claims.queue_for(db, (found.doctor_id, found.patient_id))
        doctor = await availability.for_booking(db, found.doctor_id, command.starts_at)
        before, now = await bookings.lock(db, command.booking_id), self._now()
        before.check_movable(command.starts_at, now)
        slot = doctor.without(before.starts_at).slot_at(command.starts_at, before.mode, now=now)
        wanted = {
            before.doctor_id: claimed_span(doctor.availability, slot),
            before.patient_id: Span(slot.starts_at, slot.ends_at),
        }
        check_free(before, await claims.move(db, before.id, wanted))
        is_late = before.move_by is None and self._refunds.is_late(before.starts_at, now)
        await bookings.move(
            db, before.id, slot.starts_at, slot.ends_at, before.notice_from if is_late else before.refund_from
        )
        booking = await bookings.lock(db, before.id)
        moved = BookingMoved(
            subject=booking.id,
            doctor_id=booking.doctor_id,
            patient_id=booking.patient_id,
            starts_at=booking.starts_at,
            was_at=before.starts_at,
        )
        await events.append(db, moved)
        await audit.append(db, command.actor, "booking.move", booking.id, patient_id=booking.patient_id)
        return self._to_be_reminded(booking)

    async def _hold_until(self, db: Connection, patient_id: UUID, now: datetime) -> datetime:
        """When an unpaid hold that begins now ends. Raises TooManyHolds."""
        since = first_id_at(now - timedelta(days=1))
        self._limits.check(*await bookings.unpaid_and_expired(db, patient_id, since))
        return now + timedelta(seconds=self._limits.seconds)

    async def _let_go(self, db: Connection, booking_id: UUID, by: Role | None = None) -> Booking:
        """Free the times of a booking that has just ended, tell the fact, and release its money, as cancelled `by`."""
        await claims.release(db, booking_id)
        booking = await bookings.lock(db, booking_id)
        await events.append(db, fact(booking))
        if booking.cancellation:
            await paid.release(db, booking, by or booking.cancellation.by, self._refunds, self._now())
        if booking.payment and booking.payment.status is PaymentStatus.REQUIRES_ACTION:
            await events.append(db, PaymentNoticed(subject=booking.payment.id))  # its checkout is to be closed
        return await bookings.lock(db, booking_id)

    async def _tell(self, booking: Booking, told: str | None = None) -> None:
        """Count it, and shorten the wait for the relay, which invalidates the cache in any case."""
        BOOKINGS.labels(told or booking.status).inc()
        await self._cache.invalidate(slots_group(booking.doctor_id))


async def _calendar(db: Connection, booking: Booking) -> Bookable | None:
    """What stands in the doctor's calendar near the booking, until the transaction ends; None for one who is barred."""
    try:
        return await availability.for_booking(db, booking.doctor_id, booking.starts_at)
    except DoctorUnavailable:
        return None
