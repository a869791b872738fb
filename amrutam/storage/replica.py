"""A streaming replica, and how far it has come: asked all the time in the background, so that a read need not ask."""

import asyncio
import time
from collections import deque
from datetime import datetime
from typing import NamedTuple

import asyncpg
import structlog

from amrutam.storage.pool import Database, DatabaseUnavailable
from amrutam.telemetry import REPLICA_FAILURES, REPLICA_LAG_BYTES, REPLICA_LAG_SECONDS, REPLICA_SERVES

# So often each node is asked, in seconds.
ASK_SECONDS = 0.1
# An answer is good for this long: a replica that has not been heard for longer is not read.
FRESH_SECONDS = 1.0
# A replica that failed a read is left out for this long, in seconds.
REST_SECONDS = 5.0
# The primary's positions of so many rounds are remembered, by which a lag in bytes becomes one in seconds.
ROUNDS = 600

# It is away, lets this role not in, or cancelled the read so that it can go on replaying. Anything else is the read's.
_TROUBLE = (DatabaseUnavailable, asyncpg.TransactionRollbackError, asyncpg.InvalidAuthorizationSpecificationError)

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

    def note(self, position: int, asked: float) -> None:
        """The primary stood here, or was beyond, when it was asked."""
        self._marks.append(_Heard(position, asked))

    def behind(self, position: int, now: float) -> float:
        """Seconds since the primary was found beyond this position for the first time; 0 when it was not."""
        return next((now - mark.at for mark in self._marks if mark.position > position), 0.0)

    def bytes_behind(self, position: int) -> int:
        """What lies between this position and where the primary stood when it was last heard."""
        return max(self._marks[-1].position - position, 0) if self._marks else 0

    def belies(self, position: int, heard: float) -> bool:
        """Whether the primary, asked after something was heard of this position, had not come so far."""
        return bool(self._marks) and self._marks[-1].at > heard and self._marks[-1].position < position


class Replica:
    """One replica by its pool. Its position is only ever too low."""

    def __init__(self, name: str, db: Database, most_lag: float) -> None:
        self.db = db
        self._name = name
        self._most_lag = most_lag
        self._trouble = "not heard yet"
        self._lag_seconds = 0.0
        self._heard = _Heard(0, 0.0)
        self._rests_until = 0.0
        self._served: bool | None = None

    @property
    def position(self) -> int:
        """The log position up to which it had replayed when it was last heard, in bytes."""
        return self._heard.position

    def may_serve(self, at_least: int, now: float) -> bool:
        """Whether it is known to have come so far, and nothing speaks against it."""
        return self._heard.position >= at_least and self.words(now) == "ok"

    def words(self, now: float) -> str:
        """`ok`, or why it is left out."""
        if self._trouble:
            return self._trouble
        if now - self._heard.at >= FRESH_SECONDS:
            return "away: silent"
        if now < self._rests_until:
            return "left out: a read has failed"
        return f"left out: {self._lag_seconds:.1f} s behind" if self._lag_seconds > self._most_lag else "ok"

    def failed(self, error: BaseException) -> None:
        """A read failed on it; where that is its own trouble, leave it out for a while."""
        REPLICA_FAILURES.labels(self._name).inc()
        log.warning("replica.failed", replica=self._name, error=type(error).__name__)
        if isinstance(error, _TROUBLE):
            self._rests_until = time.monotonic() + REST_SECONDS

    async def ask(self, clock: Clock, born_at: datetime) -> None:
        """Find out how it stands. `born_at` is the primary's own, by which another installation is told apart."""
        try:
            async with asyncio.timeout(FRESH_SECONDS), self.db.connection() as db:
                row = await db.fetchrow(_STATE)
        except (DatabaseUnavailable, asyncpg.PostgresError, TimeoutError) as error:
            self._trouble = f"away: {type(error).__name__}"
        else:
            self._trouble = self._trouble_of(row, clock, born_at)
        self._lag_seconds = clock.behind(self.position, time.monotonic())
        self._tell(clock.bytes_behind(self.position))

    def _trouble_of(self, row: asyncpg.Record | None, clock: Clock, born_at: datetime) -> str:
        """Note where it stands, and say for what it cannot be read at all; empty for nothing."""
        if row is None or not row["follows"]:
            return "is no replica: it takes writes of its own"
        if row["born_at"] != born_at:
            return "is a replica of another installation"
        before, self._heard = self._heard, _Heard(row["position"], time.monotonic())
        if clock.belies(*before):
            return "is ahead of the primary: it follows another one"
        return ""

    def _tell(self, lag_bytes: int) -> None:
        words = self.words(time.monotonic())
        serves = words == "ok"
        REPLICA_LAG_SECONDS.labels(self._name).set(self._lag_seconds)
        REPLICA_LAG_BYTES.labels(self._name).set(lag_bytes)
        REPLICA_SERVES.labels(self._name).set(serves)
        if serves is not self._served:
            log.info("replica.stands", replica=self._name, state=words)
        self._served = serves
