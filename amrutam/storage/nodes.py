"""The database's nodes: the primary, and what may be read from others, by log position."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from amrutam.storage.pool import Connection, Database


class Reading(NamedTuple):
    """A connection in autocommit, and the log position up to which it sees everything; 0 where nobody asked."""

    db: Connection
    position: int


class Nodes:
    """Where to read from."""

    def __init__(self, primary: Database, replicas: Sequence[Database]) -> None:
        self._primary = primary
        self._replicas = replicas

    @property
    def replicated(self) -> bool:
        """Whether there are replicas."""
        return bool(self._replicas)

    async def position(self) -> int:
        """The primary's log position, in bytes. Raises DatabaseUnavailable."""
        async with self._primary.connection() as db:
            return await db.fetchval("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint")

    @asynccontextmanager
    async def reading(self, at_least: int = 0) -> AsyncGenerator[Reading, None]:  # noqa: ARG002 - the primary has all
        """A node that has come to the log position `at_least`. Raises DatabaseUnavailable."""
        async with self._primary.connection() as db:
            yield Reading(db, 0)
