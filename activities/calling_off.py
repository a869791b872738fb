"""Calling bookings off, each through its own workflow: nobody else changes a booking's status."""

from collections.abc import Sequence
from uuid import UUID

from temporalio import activity
from temporalio.client import Client

from activities.asking import ask_booking
from amrutam.domain.calling_off import Ahead, CallOff
from amrutam.storage import booking as bookings
from amrutam.storage import verification as verifications
from amrutam.storage.pool import Database

# Bookings in one list.
PAGE = 100


class CallingOffActivities:
    """Needs PostgreSQL and Temporal."""

    def __init__(self, db: Database, temporal: Client) -> None:
        self._db = db
        self._temporal = temporal

    @activity.defn(name="calling_off.bookings_ahead")
    async def bookings_ahead(self, ahead: Ahead) -> Sequence[UUID]:
        """The ids of up to 100 bookings that stand; none as soon as the doctor may practise again."""
        async with self._db.connection() as db:
            if await verifications.may_practise(db, ahead.doctor_id):
                return []
            return await bookings.ahead(db, ahead, PAGE)

    @activity.defn(name="calling_off.call_off")
    async def call_off(self, command: CallOff) -> bool:
        """Ask the booking's workflow to end it. False for one that is over already, or has begun."""
        return await ask_booking(
            self._temporal, command.booking_id, "call_off", command, f"call-off/{command.cause_id}"
        )
