"""A streaming replica, and how far it has come: asked all the time in the background, so that a read need not ask."""

import asyncio
import time
from collections import deque
from datetime import datetime
from typing import NamedTuple

import structlog

from amrutam.storage.pool import Database, DatabaseUnavailable
from amrutam.telemetry import REPLICA_LAG_SECONDS

# So often each node is asked, in seconds.
ASK_SECONDS = 0.1
# An answer is good for this long: a replica that has not been heard for longer is not read.
FRESH_SECONDS = 1.0
# A replica that failed a read is left out for this long, in seconds.
REST_SECONDS = 5.0
# The primary's positions of so many rounds are remembered, by which a lag in bytes becomes one in seconds.
ROUNDS = 600

_STATE = """
SELECT pg_is_in_recovery() AS follows, coalesce((pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint, 0) AS position,
       (SELECT born_at FROM deployment) AS born_at"""

log = structlog.get_logger()


class _Heard(NamedTuple):
    position: int
    at: float


class Clock:
    """When the primary stood where: how long ago a replica's position was the newest."""

    def __init__(self) -> None:
        self._marks: deque[_Heard] = deque(maxlen=ROUNDS)

    def note(self, position: int, now: float) -> None:
        """The primary stood here."""
        self._marks.append(_Heard(position, now))

    def behind(self, position: int, now: float) -> float:
        """Seconds since the primary was found beyond this position for the first time; 0 when it was not."""
        return next((now - mark.at for mark in self._marks if mark.position > position), 0.0)


class Replica:
    """One replica by its pool. Its position is only ever too low."""

    def __init__(self, name: str, db: Database) -> None:
        self.name = name
        self.db = db
        self.trouble = "not heard yet"
        self.lag_seconds = 0.0
        self._heard = _Heard(0, 0.0)
        self._rests_until = 0.0

    @property
    def position(self) -> int:
        """The log position up to which it had replayed when it was last heard, in bytes."""
        return self._heard.position

    def may_serve(self, at_least: int, most_lag: float, now: float) -> bool:
        """Whether it is known to have come so far, follows closely enough, and did not fail lately."""
        heard, lag = self._heard, self.lag_seconds
        fresh = now - heard.at < FRESH_SECONDS and now >= self._rests_until
        return fresh and not self.trouble and heard.position >= at_least and lag <= most_lag

    @property
    def words(self) -> str:
        """Why it is left out."""
        return self.trouble or f"left out, {self.lag_seconds:.1f} s behind"

    def rest(self, error: BaseException) -> None:
        """Leave it out for a while: a read failed on it."""
        self._rests_until = time.monotonic() + REST_SECONDS
        log.warning("replica.failed", replica=self.name, error=type(error).__name__)

    async def ask(self, clock: Clock, born_at: datetime) -> None:
        """Find out how it stands. `born_at` is the primary's own, by which another installation is told apart."""
        try:
            async with asyncio.timeout(FRESH_SECONDS), self.db.connection() as db:
                row = await db.fetchrow(_STATE)
        except (DatabaseUnavailable, TimeoutError) as error:
            self._note(f"away: {type(error).__name__}")
            return
        if row is None or not row["follows"]:
            self._note("is no replica: it takes writes of its own")
        elif row["born_at"] != born_at:
            self._note("is a replica of another installation")
        else:
            now = time.monotonic()
            self._heard = _Heard(row["position"], now)
            self.lag_seconds = clock.behind(row["position"], now)
            REPLICA_LAG_SECONDS.labels(self.name).set(self.lag_seconds)
            self._note("")

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            log.warning("replica.left_out", replica=self.name, why=trouble)
        elif self.trouble and not trouble:
            log.info("replica.serves", replica=self.name)
        self.trouble = trouble
