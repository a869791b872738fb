"""Bookings by the steps that workflows call, with nothing around them: no request, no workflow, no lock in Redis."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from uuid import UUID

from redis.asyncio import Redis

from activities.booking import BookingActivities, Rules
from amrutam.crypto import OPERATIONS, Keyring
from amrutam.domain.audit import Actor
from amrutam.domain.booking import Booking, CancelBooking, ClaimTime, HoldLimits, MoveBooking
from amrutam.domain.common import Mode, Role
from amrutam.domain.errors import InvalidState
from amrutam.domain.payment import RefundRule, RefundRules
from amrutam.ids import new_id
from amrutam.storage import operations
from amrutam.storage.cache import Cache
from amrutam.storage.lock import Lock
from amrutam.storage.nodes import Nodes
from amrutam.storage.pool import Database

RULES = RefundRules(patient=[RefundRule(hours=24, percent=100), RefundRule(hours=2, percent=50)])


class _NoLock(Lock):
    """What the system falls back to without Redis: the database alone keeps people apart."""

    @asynccontextmanager
    async def __call__(self, name: str) -> AsyncGenerator[bool, None]:  # noqa: ARG002 - nothing is locked
        yield False


class Desk:
    """Books, moves and cancels at the moment that `now` tells. What is left in the end, `clear` cancels."""

    def __init__(self, db: Database, redis: Redis, keyring: Keyring, now: Callable[[], datetime]) -> None:
        self._db, self._keys = db, keyring.master.sealing(OPERATIONS)
        limits = HoldLimits(unpaid=3, expired=5, seconds=600)
        self.steps = BookingActivities(
            db, _NoLock(redis), Cache(redis, Nodes(db, [])), self._keys, limits, Rules(RULES, [1440, 60, 10], 0), now
        )
        self._live: dict[UUID, UUID] = {}

    async def book(self, patient_id: UUID, doctor_id: UUID, starts_at: datetime, mode: Mode = Mode.VIDEO) -> Booking:
        """Raises the refusal."""
        operation_id = await self._record(patient_id)
        actor = Actor(id=patient_id, role=Role.PATIENT, request_id="desk")
        claim = ClaimTime(
            booking_id=operation_id, doctor_id=doctor_id, patient_id=patient_id, starts_at=starts_at, mode=mode,
            reason=None, actor=actor,
        )  # fmt: skip
        booking = await self.steps.claim(claim)
        self._live[booking.id] = patient_id
        return booking

    async def cancel(self, booking_id: UUID, by: UUID) -> Booking:
        """Raises the refusal."""
        operation_id = await self._record(by)
        actor = Actor(id=by, role=Role.PATIENT, request_id="desk")
        command = CancelBooking(operation_id=operation_id, booking_id=booking_id, reason=None, actor=actor)
        booking = await self.steps.cancel(command)
        del self._live[booking_id]
        return booking

    async def move(self, booking_id: UUID, by: UUID, starts_at: datetime) -> Booking:
        """Raises the refusal."""
        operation_id = await self._record(by)
        actor = Actor(id=by, role=Role.PATIENT, request_id="desk")
        command = MoveBooking(operation_id=operation_id, booking_id=booking_id, starts_at=starts_at, actor=actor)
        return await self.steps.move(command)

    async def clear(self) -> None:
        """Cancel what stands: a live booking without a workflow would be a finding of `verify`."""
        for booking_id, patient_id in list(self._live.items()):
            with suppress(InvalidState):  # it has expired
                await self.cancel(booking_id, patient_id)

    async def _record(self, user_id: UUID) -> UUID:
        operation_id = new_id()
        async with self._db.connection() as db:
            await operations.begin(db, self._keys, user_id, str(operation_id), "desk", b"", operation_id)
        return operation_id
