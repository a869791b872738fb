"""The database's nodes: the primary, and streaming replicas, which are read where they have come far enough.

A log position (LSN, as a number of bytes) says how much of the primary's history a node has. Whoever must not be
answered from before something asks for a node that has come at least so far; nobody waits for a replica to catch up.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

import asyncpg

from amrutam.storage.pool import Connection, Database, DatabaseUnavailable
from amrutam.storage.replica import ASK_SECONDS, FRESH_SECONDS, Clock, Replica
from amrutam.telemetry import NODE_READS

T = TypeVar("T")

_PRIMARY = """
SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS position, (SELECT born_at FROM deployment) AS born_at"""


class Read(NamedTuple, Generic[T]):
    """What was read, and the log position up to which its node saw everything.

    The position is 0 where there are no replicas: then the primary is read, and nobody has asked it.
    """

    value: T
    position: int


class Nodes:
    """Where to read from. Without replicas: the primary, always, and nothing runs in the background."""

    def __init__(self, primary: Database, replicas: Sequence[Database], most_lag_seconds: float = 10.0) -> None:
        self._primary = primary
        self._replicas = [Replica(str(number), db) for number, db in enumerate(replicas, 1)]
        self._most_lag = most_lag_seconds
        self._clock = Clock()
        self._turn = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def replicated(self) -> bool:
        """Whether there are replicas."""
        return bool(self._replicas)

    def start(self) -> None:
        """Begin to follow how the replicas stand; before that none is read."""
        if self._replicas:
            self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stop that, and give the replicas' connections back."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for replica in self._replicas:
            await replica.db.close()

    def state(self) -> dict[str, str]:
        """Each replica in words, for a health check."""
        now = time.monotonic()
        return {
            f"replica {each.name}": "ok" if each.may_serve(0, self._most_lag, now) else each.words
            for each in self._replicas
        }

    async def position(self) -> int:
        """The primary's log position: everything committed by now lies below it. Raises DatabaseUnavailable."""
        position, _ = await self._ask_primary()
        return position

    async def read(self, block: Callable[[Connection], Awaitable[T]], at_least: int = 0) -> Read[T]:
        """What `block` reads, in autocommit, from a node that has come to the log position `at_least`.

        When a replica fails it, it is run again on the primary. Raises DatabaseUnavailable, and what it raises.
        """
        replica = self._next(at_least)
        if replica:
            position = replica.position
            try:
                async with replica.db.connection() as db:
                    value = await block(db)
            except (DatabaseUnavailable, asyncpg.SerializationError) as error:
                replica.rest(error)  # the latter is how it cancels a read, so that it can go on replaying
            else:
                NODE_READS.labels("replica").inc()
                return Read(value, position)
        position = await self.position() if self._replicas else 0
        async with self._primary.connection() as db:
            value = await block(db)
        NODE_READS.labels("primary").inc()
        return Read(value, position)

    def _next(self, at_least: int) -> Replica | None:
        """The replicas take turns, as far as they may."""
        now = time.monotonic()
        able = [each for each in self._replicas if each.may_serve(at_least, self._most_lag, now)]
        if not able:
            return None
        self._turn += 1
        return able[self._turn % len(able)]

    async def _follow(self) -> None:
        born_at: datetime | None = None
        while True:
            try:
                async with asyncio.timeout(FRESH_SECONDS):
                    position, born_at = await self._ask_primary()
                self._clock.note(position, time.monotonic())
            except (DatabaseUnavailable, TimeoutError):
                pass  # replicas may be read meanwhile, as far as they have come
            if born_at:
                await asyncio.gather(*(each.ask(self._clock, born_at) for each in self._replicas))
            await asyncio.sleep(ASK_SECONDS)

    async def _ask_primary(self) -> tuple[int, datetime | None]:
        async with self._primary.connection() as db:
            row = await db.fetchrow(_PRIMARY)
        return (row["position"], row["born_at"]) if row else (0, None)
