"""`make demo`, where the demo's administrator does not sign in as when the demo was made."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator

import pytest

from amrutam.demo import ADMIN
from amrutam.stack.applications import CHECKOUT
from amrutam.stack.ports import free_port
from amrutam.storage import auth, mfa
from amrutam.storage.pool import Database
from tests.conftest import System
from tests.people import People, Person


@pytest.fixture
async def admin(db: Database) -> AsyncGenerator[Person, None]:
    """The demo's own, who is put back as they were."""
    async with db.connection() as connection:
        account = await auth.find_by_email(connection, ADMIN)
    assert account
    yield Person(account.id, ADMIN, "")
    async with db.connection() as connection:
        await mfa.remove(connection, account.id)
        await connection.execute("UPDATE users SET password_hash = $2 WHERE id = $1", account.id, account.password_hash)


async def _demo(system: System) -> tuple[int | None, str, str]:
    """Run against the system: exit status, what it told, and what went wrong."""
    told = {"PORT": str(system.api.port), "TEMPORAL_UI_PORT": str(free_port())}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "amrutam.demo", cwd=CHECKOUT, env={**os.environ, **told}, stdout=PIPE, stderr=PIPE
    )
    out, error = await process.communicate()
    return process.returncode, out.decode(), error.decode()


async def test_a_demo_whose_administrator_has_a_second_factor_says_how_to_take_it_off(
    system: System, admin: Person, people: People
) -> None:
    await people.with_factor(admin)
    status, out, error = await _demo(system)
    assert (status, error) == (1, "")
    assert f"python -m amrutam mfa remove {ADMIN}" in out.rpartition("The demo stopped:")[2]


async def test_a_demo_whose_administrator_has_another_password_says_how_to_begin_anew(
    system: System, admin: Person, db: Database
) -> None:
    async with db.connection() as connection:
        await connection.execute("UPDATE users SET password_hash = 'another' WHERE id = $1", admin.id)
    status, out, error = await _demo(system)
    assert (status, error) == (1, "")
    assert "make clean" in out.rpartition("The demo stopped:")[2]
