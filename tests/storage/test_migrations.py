"""The migration runner on databases of its own, and the rights and partitions that the schema gives."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from amrutam import migrations
from amrutam.ids import first_id_at, new_id
from amrutam.migrations import Migration, MigrationError
from amrutam.stack.postgres import APP, OWNER
from amrutam.stack.servers import Servers
from amrutam.storage import partitions
from amrutam.storage.pool import Database

FILES = migrations.read()
MILLISECOND = timedelta(milliseconds=1)
HOT = ("audit", "bookings", "consultations", "events")
BAD = Migration("9999_half_done.sql", "CREATE TABLE half_done (id uuid); SELECT 1 / 0;")
GOOD = Migration("9999_half_done.sql", "CREATE TABLE half_done (id uuid);")


class Fresh:
    """An empty database, and connections to it that close with the test."""

    def __init__(self, servers: Servers, name: str) -> None:
        self._servers = servers
        self._open: list[asyncpg.Connection[asyncpg.Record]] = []
        self.name = name
        self.url = servers.postgres.url(OWNER, name)
        self.said: list[str] = []

    async def migrate(self, files: list[Migration] = FILES, mode: str = "demo") -> list[str]:
        """Apply; returns what was said."""
        self.said = []
        await migrations.apply(self.url, mode, files, self.said.append)
        return self.said

    async def as_(self, role: str) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection in this role."""
        connection = await asyncpg.connect(self._servers.postgres.url(role, self.name))
        self._open.append(connection)
        return connection

    async def close(self) -> None:
        for connection in self._open:
            await connection.close()


@pytest.fixture
async def fresh(servers: Servers) -> AsyncGenerator[Fresh, None]:
    """A database that the owner owns and nobody has migrated. Dropped at the end."""
    database = Fresh(servers, f"fresh_{new_id().hex}")
    superuser = await servers.postgres.connect()
    await superuser.execute(f"CREATE DATABASE {database.name} OWNER {OWNER}")
    yield database
    await database.close()
    await superuser.execute(f"DROP DATABASE {database.name} WITH (FORCE)")
    await superuser.close()


@pytest.fixture
async def app(fresh: Fresh) -> "asyncpg.Connection[asyncpg.Record]":
    """The application's connection to a migrated database."""
    await fresh.migrate()
    return await fresh.as_(APP)


def _month(ahead: int) -> datetime:
    """When the month begins that is so many from now."""
    first = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    count = first.year * 12 + first.month - 1 + ahead
    return first.replace(year=count // 12, month=count % 12 + 1)


def _partition(table: str, ahead: int) -> str:
    return f"{table}_{_month(ahead):%Y_%m}"


async def _exists(db: "asyncpg.Connection[asyncpg.Record]", table: str) -> bool:
    return await db.fetchval("SELECT to_regclass($1) IS NOT NULL", table)


async def test_an_empty_database_gets_every_file_in_order_and_its_partitions(fresh: Fresh) -> None:
    said = await fresh.migrate()
    assert said[: len(FILES)] == [f"applied {file.name}" for file in FILES]
    made = {line.removeprefix("made partition ") for line in said[len(FILES) :]}
    assert made == {_partition(table, ahead) for table in HOT for ahead in range(-1, 4)}
    owner = await fresh.as_(OWNER)
    ledger = await owner.fetch("SELECT name, checksum FROM migrations ORDER BY name")
    assert [tuple(row) for row in ledger] == [(file.name, file.checksum) for file in FILES]


async def test_applying_again_does_nothing(fresh: Fresh) -> None:
    await fresh.migrate()
    assert await fresh.migrate() == []


async def test_what_is_new_is_applied_after_what_was_there(fresh: Fresh) -> None:
    await fresh.migrate()
    assert await fresh.migrate([*FILES, GOOD]) == [f"applied {GOOD.name}"]


async def test_a_file_that_was_changed_after_it_was_applied_is_refused_by_name(fresh: Fresh) -> None:
    await fresh.migrate()
    for position, file in enumerate(FILES):
        changed = [*FILES, GOOD]
        changed[position] = Migration(file.name, file.sql + " ")
        with pytest.raises(MigrationError, match=f"{file.name} was changed"):
            await fresh.migrate(changed)
    assert not await _exists(await fresh.as_(OWNER), "half_done")


async def test_a_database_that_is_ahead_is_refused(fresh: Fresh) -> None:
    await fresh.migrate()
    with pytest.raises(MigrationError, match=f"{FILES[-1].name}.*older version"):
        await fresh.migrate(FILES[:-1])


async def test_a_file_that_slips_in_before_an_applied_one_is_refused(fresh: Fresh) -> None:
    await fresh.migrate()
    with pytest.raises(MigrationError, match=FILES[1].name):
        await fresh.migrate([FILES[0], Migration("0001_later.sql", "SELECT 1"), *FILES[1:]])


async def test_a_file_that_fails_leaves_nothing_of_itself_and_can_be_mended(fresh: Fresh) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        await fresh.migrate([*FILES, BAD])
    assert fresh.said == [f"applied {file.name}" for file in FILES]
    owner = await fresh.as_(OWNER)
    assert not await _exists(owner, "half_done")
    assert await owner.fetchval("SELECT count(*) FROM migrations") == len(FILES)
    assert f"applied {GOOD.name}" in await fresh.migrate([*FILES, GOOD])
    assert await _exists(owner, "half_done")


async def test_two_runners_at_once_apply_each_file_once(fresh: Fresh) -> None:
    said: list[str] = []
    both = (migrations.apply(fresh.url, "demo", FILES, said.append) for _ in range(2))
    await asyncio.gather(*both)
    assert len(said) == len(set(said)) == len(FILES) + len(HOT) * 5


async def test_a_migration_gives_up_on_a_lock_rather_than_stop_the_bookings_behind_it(fresh: Fresh) -> None:
    alter = Migration("9999_limits.sql", "CREATE TABLE limits AS SELECT name, setting FROM pg_settings;")
    await fresh.migrate([*FILES, alter])
    owner = await fresh.as_(OWNER)
    query = "SELECT name, setting FROM limits WHERE name IN ('lock_timeout', 'statement_timeout')"
    assert {row["name"]: row["setting"] for row in await owner.fetch(query)} == {
        "lock_timeout": "3000",
        "statement_timeout": "60000",
    }


@pytest.mark.parametrize("mode", ["production", "demo"])
async def test_the_mode_in_which_a_database_is_born_is_written_into_it_once(fresh: Fresh, mode: str) -> None:
    await fresh.migrate(mode=mode)
    await fresh.migrate([*FILES, GOOD], mode="demo" if mode == "production" else "production")
    app = await fresh.as_(APP)
    assert [row["mode"] for row in await app.fetch("SELECT mode FROM deployment")] == [mode]
    for change in ("UPDATE deployment SET mode = 'demo'", "DELETE FROM deployment"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute(change)


async def test_a_mode_that_does_not_exist_makes_no_database(fresh: Fresh) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await fresh.migrate(mode="staging")
    assert not await _exists(await fresh.as_(OWNER), "deployment")


def test_a_file_that_has_no_number_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "0001_first.sql").touch()
    (tmp_path / "2-second.sql").touch()
    with pytest.raises(MigrationError, match=r"2-second\.sql"):
        migrations.read(tmp_path)


async def test_a_row_of_each_month_from_the_last_to_three_ahead_finds_its_partition(
    app: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    for ahead in range(-1, 4):
        for moment in (_month(ahead), _month(ahead + 1) - MILLISECOND):
            event = first_id_at(moment)
            await app.execute("INSERT INTO events (id, type, subject, data) VALUES ($1, 'x.y', $1, '{}')", event)
            where = await app.fetchval("SELECT tableoid::regclass::text FROM events WHERE id = $1", event)
            assert where == _partition("events", ahead)
    for moment in (_month(4), _month(-1) - MILLISECOND):
        with pytest.raises(asyncpg.CheckViolationError, match="no partition"):
            await app.execute("INSERT INTO consultations VALUES ($1, 'scheduled', $1, $1)", first_id_at(moment))


@pytest.mark.parametrize(
    "statement",
    [
        *(f"{verb} {table}" for table in ("events", "audit") for verb in ("DELETE FROM", "TRUNCATE", "DROP TABLE")),
        "UPDATE events SET type = 'x.y'",
        "UPDATE audit SET action = 'nothing'",
        "DELETE FROM bookings",
        f"TRUNCATE {_partition('audit', 0)}",
        f"TABLE {_partition('audit', 0)}",
        f"ALTER TABLE audit DETACH PARTITION {_partition('audit', 0)}",
        "CREATE TABLE mine (id uuid)",
        "CREATE FUNCTION ensure_partitions(x text) RETURNS text LANGUAGE sql AS 'SELECT x'",
        "CREATE SCHEMA mine",
        "UPDATE migrations SET checksum = ''",
        "SET ROLE amrutam_owner",
    ],
)
async def test_the_application_may_not(db: Database, statement: str) -> None:
    async with db.transaction() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)


async def test_the_application_makes_partitions_by_the_owners_function_alone(
    fresh: Fresh, app: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    lost = [_partition("events", 0), _partition("bookings", 1)]
    owner = await fresh.as_(OWNER)
    await owner.execute(f"DROP TABLE {', '.join(lost)}")
    assert sorted(await partitions.missing(app)) == sorted(lost)
    assert sorted(await partitions.ensure(app)) == sorted(lost)
    assert await partitions.missing(app) == []
    assert await partitions.ensure(app) == []
    assert await owner.fetchval("SELECT tableowner FROM pg_tables WHERE tablename = $1", lost[0]) == OWNER
    await app.execute("INSERT INTO events (type, subject, data) VALUES ('x.y', $1, '{}')", new_id())


async def test_a_partition_that_was_detached_is_missing_where_this_month_or_the_next_needs_it(
    fresh: Fresh, app: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    owner = await fresh.as_(OWNER)
    for ahead in range(-1, 4):
        await owner.execute(f"ALTER TABLE audit DETACH PARTITION {_partition('audit', ahead)}")
    assert sorted(await partitions.missing(app)) == [_partition("audit", 0), _partition("audit", 1)]
