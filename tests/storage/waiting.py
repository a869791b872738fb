"""Waiting for somebody to wait."""

from amrutam.storage.pool import Database
from tests.polling import until


async def someone_waits(db: Database, words: str) -> None:
    """Until a statement that holds `words` waits for a lock. Raises TimeoutError before such a wait is given up."""

    async def waiting() -> bool:
        async with db.connection() as connection:
            return await connection.fetchval(
                """SELECT EXISTS (SELECT FROM pg_stat_activity
                   WHERE pid <> pg_backend_pid() AND wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%')""",
                words,
            )

    await until(waiting, seconds=2.5)
