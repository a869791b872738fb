"""Calling bookings off, each through its own workflow: nobody else changes a booking's status."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from temporalio import activity
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.service import RPCError, RPCStatusCode

from amrutam.domain.calling_off import Ahead, CallOff
from amrutam.storage import booking as bookings
from amrutam.storage import verification as verifications
from amrutam.storage.pool import Database

# Bookings in one list.
PAGE = 100
# Under the activity's own time, so that its last word is ours.
ANSWER = timedelta(seconds=8)


class CallingOffActivities:
    """Needs PostgreSQL and Temporal."""

    def __init__(self, db: Database, temporal: Client) -> None:
        self._db = db
        self._temporal = temporal

    @activity.defn(name="calling_off.bookings_ahead")
    async def bookings_ahead(self, ahead: Ahead) -> Sequence[UUID]:
        """The ids of up to 100 bookings that stand."""
        async with self._db.connection() as db:
            if ahead.while_barred and await verifications.may_practise(db, ahead.doctor_id):
                return []
            return await bookings.ahead(db, ahead, PAGE)

    @activity.defn(name="calling_off.call_off")
    async def call_off(self, command: CallOff) -> bool:
        """Ask the booking's workflow to end it. False for one that is over already, or has begun."""
        handle = self._temporal.get_workflow_handle(f"booking/{command.booking_id}")
        try:
            await handle.execute_update("call_off", command, id=f"call-off/{command.cause_id}", rpc_timeout=ANSWER)
        except WorkflowUpdateFailedError:
            return False  # refused: it has moved on
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False  # its workflow has ended, and so has the booking
            raise
        return True
