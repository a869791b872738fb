"""The steps of giving up a day: close it, see what stands on it, ask each booking's own workflow."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from temporalio import activity
from temporalio.client import Client

from activities.asking import ask_booking
from activities.once import once
from amrutam.crypto import SealingKeys
from amrutam.domain.cancel_day import Appointment, CancelDay, DayCancelled, OfferMove, check_date
from amrutam.domain.exceptions import AddException, AvailabilityChanged, Kind
from amrutam.domain.wallclock import moments_of
from amrutam.storage import audit, availability, events
from amrutam.storage import booking as bookings
from amrutam.storage.cache import SEARCH_GROUP, Cache, doctor_group, slots_group
from amrutam.storage.pool import Connection, Database


class CancelDayActivities:
    """Needs PostgreSQL and Temporal, and Redis where it is there."""

    def __init__(
        self,
        db: Database,
        cache: Cache,
        temporal: Client,
        operation_keys: SealingKeys,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._db = db
        self._cache = cache
        self._temporal = temporal
        self._keys = operation_keys
        self._now = now

    @activity.defn(name="cancel_day.close")
    async def close(self, command: CancelDay) -> DayCancelled:
        """Add a leave over the date on the doctor's calendar: from now on nobody books it.

        Raises NotFound, InvalidState with too many exceptions, ValidationFailed for a date that is over or too far.
        """
        closed = await once(self._db, self._keys, command.id, DayCancelled, lambda db: self._close(db, command))
        groups = (slots_group(command.doctor_id), doctor_group(command.doctor_id), SEARCH_GROUP)
        await self._cache.invalidate(*groups)
        return closed

    @activity.defn(name="cancel_day.appointments")
    async def appointments(self, day: DayCancelled) -> Sequence[Appointment]:
        """What stands on the day and has not begun, the earliest first; nothing once the doctor has opened it again."""
        async with self._db.connection() as db:
            return await bookings.on_closed_day(db, day.id, self._now())

    @activity.defn(name="cancel_day.offer_move")
    async def offer_move(self, command: OfferMove) -> bool:
        """Have the booking's workflow ask its patient. False for one that has moved on."""
        return await ask_booking(
            self._temporal, command.booking_id, "offer_move", command, f"offer-move/{command.cause_id}"
        )

    async def _close(self, db: Connection, command: CancelDay) -> DayCancelled:
        calendar, now = await availability.lock(db, command.doctor_id), self._now()
        zone = calendar.availability.zone
        check_date(command.date, now.astimezone(zone).date())
        since, until = moments_of(command.date, command.date, zone)
        leave = AddException(kind=Kind.LEAVE, starts_at=since, ends_at=until)
        ahead = await availability.exceptions_ahead(db, command.doctor_id, now)
        leave.check(now, calendar.availability.slot_minutes, ahead)
        await availability.give_up(db, command.id, command.doctor_id, command.date, leave)
        await audit.append(db, command.actor, "availability.cancel_day", command.id)
        await events.append(db, AvailabilityChanged(subject=command.doctor_id))
        standing = await bookings.on_closed_day(db, command.id, now)
        return DayCancelled(
            id=command.id,
            date=command.date,
            time_zone=zone.key,
            starts_at=since,
            ends_at=until,
            way=command.way,
            asked_at=now,
            bookings=[each.id for each in standing],
        )
