"""The database's nodes: the primary, and streaming replicas, which are read where they have come far enough.

A log position (LSN, as a number of bytes) says how much of the primary's history a node has. Whoever must not be
answered from before something asks for a node that has come at least so far; nobody waits for a replica to catch up.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

import asyncpg
import structlog

from amrutam.storage.pool import Connection, Database, DatabaseUnavailable, Row
from amrutam.storage.replica import ASK_SECONDS, FRESH_SECONDS, Clock, Replica
from amrutam.telemetry import NODE_READS

T = TypeVar("T")

log = structlog.get_logger()

_PRIMARY = """
SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS position,
       (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint AS flushed, (SELECT born_at FROM deployment) AS born_at"""


class Read(NamedTuple, Generic[T]):
    """What was read, and the log position up to which its node saw everything.

    The position is 0 where there are no replicas and the caller named none: then nobody has asked the primary.
    """

    value: T
    position: int


class Nodes:
    """Where to read from. Without replicas: the primary, always, and nothing runs in the background."""

    def __init__(self, primary: Database, replicas: Sequence[Database], most_lag_seconds: float = 10.0) -> None:
        self._primary = primary
        self._replicas = [Replica(str(number), db, most_lag_seconds) for number, db in enumerate(replicas, 1)]
        self._clock = Clock()
        self._turn = 0
        self._born_at: datetime | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def replicated(self) -> bool:
        """Whether there are replicas."""
        return bool(self._replicas)

    def start(self) -> None:
        """Begin to follow how the replicas stand; before that none is read.

        Each node by a task of its own, so that one that is silent does not keep us from hearing the others.
        """
        if self._replicas:
            asks = [self._hear_primary, *(self._hearing(each) for each in self._replicas)]
            self._tasks = [asyncio.create_task(_repeat(ask)) for ask in asks]

    async def close(self) -> None:
        """Stop that, and give the replicas' connections back."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for replica in self._replicas:
            await replica.db.close()

    def state(self) -> dict[str, str]:
        """Each replica in words, for a health check."""
        now = time.monotonic()
        return {f"replica {number}": each.words(now) for number, each in enumerate(self._replicas, 1)}

    async def position(self) -> int:
        """The primary's log position: everything committed by now lies below it. Raises DatabaseUnavailable."""
        return (await self._ask_primary())["position"]

    async def read(self, block: Callable[[Connection], Awaitable[T]], at_least: int = 0) -> Read[T]:
        """What `block` reads, in autocommit, from a node that has come to the log position `at_least`.

        When a replica fails it, it is run again on the primary: a replica may be away, cancel what is in the way of
        its replaying, or not have come to a migration yet. Raises DatabaseUnavailable, and what the block raises.
        """
        replica = self._next(at_least)
        if replica:
            position = replica.position
            try:
                async with replica.db.connection() as db:
                    value = await block(db)
            except (DatabaseUnavailable, asyncpg.PostgresError) as error:
                replica.failed(error)
            else:
                NODE_READS.labels("replica").inc()
                return Read(value, position)
        position = await self._seen_on_primary() if self._replicas or at_least else 0
        async with self._primary.connection() as db:
            value = await block(db)
        NODE_READS.labels("primary").inc()
        return Read(value, position)

    def _next(self, at_least: int) -> Replica | None:
        """The replicas take turns, as far as they may."""
        now = time.monotonic()
        able = [each for each in self._replicas if each.may_serve(at_least, now)]
        if not able:
            return None
        self._turn += 1
        return able[self._turn % len(able)]

    async def _seen_on_primary(self) -> int:
        """Up to where a read that begins now sees everything.

        A commit stands in the log some time before others see it, so the last one in it may not be seen yet. Whoever
        asks for the position once it is seen is told this one at the least; hence this is one short of it.
        """
        return await self.position() - 1

    async def _hear_primary(self) -> None:
        asked = time.monotonic()
        async with asyncio.timeout(FRESH_SECONDS):
            row = await self._ask_primary()
        self._born_at = row["born_at"]
        self._clock.note(row["flushed"], asked)  # a replica is sent no more than that

    def _hearing(self, replica: Replica) -> Callable[[], Coroutine[Any, Any, None]]:
        async def hear() -> None:
            if self._born_at:
                await replica.ask(self._clock, self._born_at)

        return hear

    async def _ask_primary(self) -> Row:
        async with self._primary.connection() as db:
            row = await db.fetchrow(_PRIMARY)
        assert row is not None  # noqa: S101 - a SELECT without FROM has one row
        return row


async def _repeat(ask: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Ask a node, all the time. Without the primary replicas may be read, as far as they have come."""
    while True:
        try:
            await ask()
        except (DatabaseUnavailable, asyncpg.PostgresError, TimeoutError) as error:
            log.debug("node.not_heard", error=type(error).__name__)
        await asyncio.sleep(ASK_SECONDS)
