"""Forward migrations: plain SQL files in `migrations/`, each in one transaction, with its checksum remembered.

Run by the role that owns the schema, one runner at a time. Every migration has a lock and a statement timeout, so that
it gives up rather than stop the bookings that wait behind it.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import asyncpg

FOLDER = Path(__file__).resolve().parent.parent / "migrations"


_NAME = re.compile(r"\d{4}_[a-z0-9_]+\.sql")
_LEDGER = """
CREATE TABLE IF NOT EXISTS migrations (
    name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
)"""


class MigrationError(Exception):
    """The files and the database do not fit each other."""


class Migration(NamedTuple):
    """One file."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def read(folder: Path = FOLDER) -> list[Migration]:
    """The migrations in order. Raises MigrationError for a file that is not named `0001_words.sql`."""
    files = sorted(folder.glob("*.sql"))
    if odd := [file.name for file in files if not _NAME.fullmatch(file.name)]:
        raise MigrationError(f"not named like 0001_words.sql: {', '.join(odd)}")
    return [Migration(file.name, file.read_text("utf-8")) for file in files]


async def apply(url: str, mode: str, migrations: Sequence[Migration], say: Callable[[str], None]) -> None:
    """Apply what is missing, then make the partitions of the months ahead. Raises MigrationError."""
    db = await asyncpg.connect(url, timeout=10, server_settings={"application_name": "amrutam-migrate"})
    try:
        await db.execute("SELECT pg_advisory_lock(hashtextextended('amrutam.migrations', 0))")
        await db.execute(_LEDGER)
        done = {row["name"]: row["checksum"] for row in await db.fetch("SELECT name, checksum FROM migrations")}
        _check(done, migrations)
        for migration in migrations[len(done) :]:
            await _apply_one(db, mode, migration)
            say(f"applied {migration.name}")
        for made in await db.fetch("SELECT ensure_partitions() AS name"):
            say(f"made partition {made['name']}")
    finally:
        await db.close()


def _check(done: dict[str, str], migrations: Sequence[Migration]) -> None:
    for position, name in enumerate(sorted(done)):
        if position >= len(migrations) or migrations[position].name != name:
            raise MigrationError(f"the database has {name}, which is not the next file here: is this an older version?")
        if migrations[position].checksum != done[name]:
            raise MigrationError(f"{name} was changed after it was applied; write a new migration instead")


async def _apply_one(db: "asyncpg.Connection[asyncpg.Record]", mode: str, migration: Migration) -> None:
    async with db.transaction():
        await db.execute("SET LOCAL lock_timeout = '3s'; SET LOCAL statement_timeout = '60s'")
        await db.execute("SELECT set_config('amrutam.mode', $1, true)", mode)
        await db.execute(migration.sql)
        await db.execute("INSERT INTO migrations (name, checksum) VALUES ($1, $2)", migration.name, migration.checksum)
