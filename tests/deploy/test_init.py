"""deploy/postgres/init.sh, run on a real PostgreSQL."""

import re
from collections.abc import AsyncGenerator

import asyncpg
import pytest

from amrutam import migrations
from amrutam.stack.ports import LOOPBACK
from tests.deploy.postgres import DEPLOY, REPLICATION, DeployedPostgres, run_init, running


@pytest.fixture
async def postgres() -> AsyncGenerator[DeployedPostgres, None]:
    """As `databases` finds it at the first start."""
    async with running() as postgres:
        yield postgres


async def _enter(postgres: DeployedPostgres, role: str, password: str, database: str) -> asyncpg.Connection:
    return await asyncpg.connect(
        host=LOOPBACK, port=postgres.port, user=role, password=password, database=database, timeout=5
    )


async def test_the_script_makes_roles_and_databases_that_the_migrations_run_on(postgres: DeployedPostgres) -> None:
    said = await run_init(postgres)
    assert "ready" in said
    url = f"postgresql://amrutam_owner:owner%271@{LOOPBACK}:{postgres.port}/amrutam"
    await migrations.apply(url, "production", migrations.read(), lambda _: None)

    app = await _enter(postgres, "amrutam_app", "app1", "amrutam")
    try:
        assert await app.fetchval("SELECT mode FROM deployment") == "production"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute("CREATE TABLE mine (id integer)")
        assert not await app.fetchval("SELECT bool_or(rolsuper) FROM pg_roles WHERE rolname !~ '^(pg_|postgres$)'")
    finally:
        await app.close()


async def test_a_second_run_changes_passwords_and_nothing_else(postgres: DeployedPostgres) -> None:
    await run_init(postgres)
    await run_init(postgres, AMRUTAM_APP_PASSWORD="app2")

    with pytest.raises(asyncpg.InvalidPasswordError):
        await _enter(postgres, "amrutam_app", "app1", "amrutam")
    await (await _enter(postgres, "amrutam_app", "app2", "amrutam")).close()


async def test_no_role_enters_the_database_of_another(postgres: DeployedPostgres) -> None:
    await run_init(postgres)
    await (await _enter(postgres, "temporal", "temporal1", "temporal_visibility")).close()
    for role, password, database in (("temporal", "temporal1", "amrutam"), ("amrutam_app", "app1", "temporal")):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await _enter(postgres, role, password, database)


async def test_the_role_of_the_replicas_may_copy_and_nothing_else(postgres: DeployedPostgres) -> None:
    await run_init(postgres)
    root = await postgres.connect()
    try:
        role = await root.fetchrow("SELECT * FROM pg_roles WHERE rolname = $1", REPLICATION)
        assert await root.fetchval("SELECT array_agg(rolname::text) FROM pg_roles WHERE rolreplication") == [
            "postgres",
            REPLICATION,
        ]
    finally:
        await root.close()
    assert role
    assert not [right for right in ("rolsuper", "rolcreaterole", "rolcreatedb", "rolbypassrls") if role[right]]


async def test_each_replica_has_its_slot_and_a_fresh_one_when_it_was_away_for_too_long(
    postgres: DeployedPostgres,
) -> None:
    await run_init(postgres)
    root = await postgres.connect()
    try:
        assert await _slots(root) == {"replica_1": None, "replica_2": None}
        await root.execute("SELECT pg_drop_replication_slot('replica_1')")
        await root.execute("SELECT pg_create_physical_replication_slot('replica_1', immediately_reserve => true)")
        assert (await _slots(root))["replica_1"] == "reserved"
        await run_init(postgres)
        assert (await _slots(root))["replica_1"] == "reserved"  # one that keeps something is left alone

        await root.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        await root.execute("SELECT pg_reload_conf()")
        for _ in range(3):
            await root.execute("SELECT pg_logical_emit_message(false, 'test', ''), pg_switch_wal()")
        await root.execute("CHECKPOINT")
        assert (await _slots(root))["replica_1"] == "lost"
        await run_init(postgres)
        assert await _slots(root) == {"replica_1": None, "replica_2": None}
    finally:
        await root.close()


async def _slots(root: asyncpg.Connection) -> dict[str, str | None]:
    """What each one keeps; None for a fresh one."""
    rows = await root.fetch("SELECT slot_name, wal_status FROM pg_replication_slots ORDER BY slot_name")
    return {row["slot_name"]: row["wal_status"] for row in rows}


def test_the_roles_that_migrations_speak_of_are_those_that_the_script_makes() -> None:
    script = (DEPLOY / "postgres" / "init.sh").read_text()
    granted = {role for one in migrations.read() for role in re.findall(r"\bTO (\w+);", one.sql)}
    assert granted == {"amrutam_app"}
    assert all(f"'{role}'" in script for role in granted)
