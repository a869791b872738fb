"""Administrators who take each other's role away, in a database with nobody else in it."""

import asyncio
from collections.abc import AsyncGenerator
from uuid import UUID

import pytest

from amrutam.domain.common import Role
from amrutam.domain.errors import InvalidState
from amrutam.domain.staff import AccountStatus
from amrutam.ids import new_id
from amrutam.stack.servers import Servers
from amrutam.storage import staff
from amrutam.storage.pool import Database
from tests.audit_trails import OwnTrail, make_template


@pytest.fixture
async def alone(servers: Servers) -> AsyncGenerator[Database, None]:
    """A database of its own."""
    trail = OwnTrail(servers, await make_template(servers))
    await trail.open()
    yield trail.app
    await trail.close()


async def _administrator(db: Database, *, confirmed: bool = True) -> UUID:
    user_id = new_id()
    async with db.connection() as connection:
        await connection.execute(
            """INSERT INTO users (id, email, password_hash, full_name, roles, time_zone, locale, email_verified_at)
               VALUES ($1, $2, 'none', 'Ada Rao', '{admin}', 'UTC', 'en', CASE WHEN $3 THEN now() END)""",
            user_id, user_id.hex, confirmed,
        )  # fmt: skip
    return user_id


async def _demote(db: Database, user_id: UUID) -> bool:
    """Whether that was done."""
    try:
        async with db.transaction() as connection:
            await staff.one_at_a_time(connection)
            await staff.find(connection, user_id, lock=True)
            await staff.change(connection, user_id, {Role.SUPPORT}, AccountStatus.ACTIVE)
    except InvalidState:
        return False
    return True


async def test_of_administrators_who_all_go_at_once_one_stays(alone: Database) -> None:
    ids = [await _administrator(alone) for _ in range(4)]
    await _administrator(alone, confirmed=False)  # who could not sign in, and so does not count
    done = await asyncio.gather(*(_demote(alone, each) for each in ids))
    assert sorted(done) == [False, True, True, True]
    async with alone.connection() as connection:
        assert await staff.administrators(connection) == 1
