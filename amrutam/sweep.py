"""The sweep: a loop in the worker that keeps the free times which searches read, one process at a time.

The relay marks the calendars of which it has news; here they are read. Time itself is news, too: what starts too soon
to be booked is passed over, by SQL alone, and each calendar is read once a day for the days that have come nearer.
"""

import asyncio
import time
from datetime import UTC, datetime

import structlog

from amrutam.storage import events, free_times
from amrutam.storage.pool import Connection, Database
from amrutam.telemetry import FREE_TIMES_OVERDUE_SECONDS

# Between two looks, so that news reaches searches within a second.
PAUSE_SECONDS = 0.5
RETRY_SECONDS = 1.0
# Many at once, as the clock strikes for all: some 0.1 s.
PASSING = 2000
# Calendars read in one transaction, for which the relay may have to wait: some 0.1 s.
CALENDARS = 20
_NAME = "sweep.free_times"

log = structlog.get_logger()


class Sweep:
    """Brings what is due up to date, the longest overdue first."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                started = time.monotonic()
                more = await self.pass_once()
            except Exception as error:  # noqa: BLE001 - whatever is away comes back; the loop must be there then
                log.warning("sweep.delayed", error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                # With much to do, half of the time is left to the bookings that this process works on.
                await asyncio.sleep(time.monotonic() - started if more else PAUSE_SECONDS)

    async def pass_once(self) -> bool:
        """One batch of each kind; whether there is more to do. Nothing while another process sweeps."""
        async with self._db.transaction() as db:
            if not await events.become_only_reader(db, _NAME):
                return False
            passed = await free_times.advance_passed(db, PASSING)
        return await self._read_calendars() or passed == PASSING

    async def _read_calendars(self) -> bool:
        async with self._db.transaction() as db:
            if not await events.become_only_reader(db, _NAME):
                return False
            read = await free_times.recompute_due(db, datetime.now(UTC), CALENDARS)
            await _note_overdue(db)
        return read == CALENDARS


async def _note_overdue(db: Connection) -> None:
    FREE_TIMES_OVERDUE_SECONDS.set(await free_times.overdue_seconds(db))
