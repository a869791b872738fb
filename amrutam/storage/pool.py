"""Connections to PostgreSQL: one pool a process, transactions with bounded time."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from amrutam.telemetry import DB_ACQUIRE_SECONDS, DB_IN_USE

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
Row: TypeAlias = asyncpg.Record

# A reader waits this long for a free connection before the caller answers 503.
ACQUIRE_SECONDS = 2.0

# Bounds on the server's side, so that nothing that this process forgets can hold a lock or the relay's horizon.
_BOUNDS = {
    "statement_timeout": "4s",
    "lock_timeout": "3s",
    "transaction_timeout": "6s",
    "idle_in_transaction_session_timeout": "5s",
}


# The server is away, starting or stopping, has no connection left, or did not answer within the bounds above.
_AWAY = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.InvalidTransactionStateError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class DatabaseUnavailable(Exception):
    """PostgreSQL cannot be reached or does not answer in time. What was not committed did not happen."""


async def _nothing_to_reset(_: Connection) -> None:
    """A connection comes back as it went: settings and locks here are a transaction's, and none listens.

    The driver has rolled back what was left open by then. Its own reset would cost a round trip for each loan.
    """


class Database:
    """Lends connections. Everything that reads or writes rows is given one of these connections first."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    @classmethod
    async def connect(cls, url: str, *, size: int, application: str, replica: bool = False) -> "Database":
        """A pool of up to `size` connections. Connects lazily, so that a process starts while PostgreSQL is away.

        Only the primary's is shown by the gauge of connections in use.
        """
        pool = await asyncpg.create_pool(
            url,
            min_size=0,
            max_size=size,
            max_inactive_connection_lifetime=300,
            timeout=3,
            command_timeout=8,
            reset=_nothing_to_reset,
            server_settings={**_BOUNDS, "application_name": application, "timezone": "UTC"},
        )
        if not replica:
            DB_IN_USE.set_function(lambda: pool.get_size() - pool.get_idle_size())
        return cls(pool)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection, None]:
        """A connection in autocommit: one statement, one transaction. Raises DatabaseUnavailable."""
        started = time.perf_counter()
        try:
            connection = await self._pool.acquire(timeout=ACQUIRE_SECONDS)
        except _AWAY as error:
            raise DatabaseUnavailable(type(error).__name__) from error
        DB_ACQUIRE_SECONDS.observe(time.perf_counter() - started)
        try:
            yield connection
        except _AWAY as error:
            raise DatabaseUnavailable(type(error).__name__) from error
        finally:
            await self._pool.release(connection, timeout=1)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection, None]:
        """A connection in one READ COMMITTED transaction: commits when the block ends, rolls back when it raises."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def close(self) -> None:
        """Wait for lent connections, then close all."""
        await self._pool.close()
