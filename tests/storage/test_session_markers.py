"""Markers of sessions: in whatever order they arrive, an end is an end, and the database is the truth."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from amrutam.domain.errors import TokenExpired, Unauthenticated
from amrutam.domain.sessions import ENDED, Session
from amrutam.ids import new_id
from amrutam.settings import Settings
from amrutam.storage import sessions
from amrutam.storage.breaker import RedisAway
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Database, DatabaseUnavailable
from amrutam.storage.scripts import Scripts
from amrutam.storage.session_markers import SessionMarkers, marker_key
from amrutam.storage.sessions import Device
from tests.people import Person
from tests.web.accounts import MakePatient

LIFE = timedelta(minutes=10)


@pytest.fixture(scope="module")
async def scripts(settings: Settings) -> AsyncGenerator[Scripts, None]:
    """A connection for scripts."""
    scripts = Scripts(settings.redis_url.get_secret_value())
    yield scripts
    await scripts.close()


@pytest.fixture(scope="module")
def markers(scripts: Scripts, db: Database) -> SessionMarkers:
    return SessionMarkers(scripts, db, LIFE)


@pytest.fixture
async def without_database(scripts: Scripts) -> AsyncGenerator[SessionMarkers, None]:
    """Markers that can ask nobody."""
    nowhere = await Database.connect("postgresql://nobody@127.0.0.1:1/none", size=2, application="tests")
    yield SessionMarkers(scripts, nowhere, LIFE)
    await nowhere.close()


@pytest.fixture
def without_redis(db: Database) -> SessionMarkers:
    """Markers that cannot reach Redis."""
    return SessionMarkers(Scripts("redis://127.0.0.1:1/0"), db, LIFE)


async def _session(db: Database, keys: PersonKeys, person: Person) -> UUID:
    """A session of this person."""
    now = datetime.now(UTC)
    session = Session(id=new_id(), user_id=person.id, roles=frozenset(), authenticated_at=now, methods=["pwd"])
    async with db.transaction() as connection:
        device = Device(None, "tests", "192.0.2.1")
        await sessions.insert(connection, keys, session, device, now + timedelta(hours=1), session.id.bytes)
    return session.id


async def _marker(redis: Redis, session_id: UUID) -> bytes | None:
    return cast("bytes | None", await redis.get(marker_key(session_id)))


@pytest.fixture
async def session_id(db: Database, person_keys: PersonKeys, make_patient: MakePatient) -> UUID:
    """A live session."""
    return await _session(db, person_keys, await make_patient())


@hypothesis_settings(max_examples=80, deadline=None)
@given(arriving=st.lists(st.integers(min_value=ENDED, max_value=4), min_size=1, max_size=6))
async def test_in_whatever_order_markers_arrive_the_highest_stands_and_an_end_is_final(
    markers: SessionMarkers, redis: Redis, arriving: list[int]
) -> None:
    session_id = new_id()
    for version in arriving:
        await markers.note_surely({session_id: version})
    assert await _marker(redis, session_id) == b"%d" % (ENDED if ENDED in arriving else max(arriving))


async def test_a_marker_outlives_every_access_token_that_it_speaks_of(
    markers: SessionMarkers, redis: Redis, session_id: UUID
) -> None:
    await markers.note_surely({session_id: ENDED})
    assert await redis.pttl(marker_key(session_id)) > LIFE / timedelta(milliseconds=1)


async def test_a_session_is_checked_without_the_database_once_its_marker_is_there(
    markers: SessionMarkers, without_database: SessionMarkers, redis: Redis, session_id: UUID
) -> None:
    await markers.check(session_id, 1, None)
    marker = await _marker(redis, session_id)
    await without_database.check(session_id, 1, marker)


async def test_what_nobody_can_tell_is_not_let_pass(without_database: SessionMarkers, session_id: UUID) -> None:
    with pytest.raises(DatabaseUnavailable):
        await without_database.check(session_id, 1, None)


async def test_a_slow_fill_does_not_revive_a_session_that_has_ended_meanwhile(
    markers: SessionMarkers, db: Database, redis: Redis, session_id: UUID
) -> None:
    async with db.connection() as connection:
        read = await sessions.token_version(connection, session_id)  # live; the process then stands still
        user_id = await connection.fetchval("SELECT user_id FROM sessions WHERE id = $1", session_id)
        await markers.note(await sessions.end_all(connection, user_id))
    await markers.note({session_id: read})
    assert await _marker(redis, session_id) == b"0"
    with pytest.raises(Unauthenticated):
        await markers.check(session_id, 1, await _marker(redis, session_id))


async def test_a_token_that_is_newer_than_its_marker_is_asked_of_the_database(
    markers: SessionMarkers, db: Database, redis: Redis, session_id: UUID
) -> None:
    await markers.check(session_id, 1, None)
    async with db.connection() as connection:
        user_id = await connection.fetchval("SELECT user_id FROM sessions WHERE id = $1", session_id)
        await sessions.outdate_tokens(connection, user_id)
    await markers.check(session_id, 2, b"1")
    assert await _marker(redis, session_id) == b"2"
    with pytest.raises(TokenExpired):
        await markers.check(session_id, 1, b"2")


async def test_a_session_that_never_was_or_has_run_out_is_over(
    markers: SessionMarkers, db: Database, session_id: UUID, some_id: UUID
) -> None:
    async with db.connection() as connection:
        await connection.execute("UPDATE sessions SET expires_at = now() WHERE id = $1", session_id)
    for each in (session_id, some_id):
        with pytest.raises(Unauthenticated):
            await markers.check(each, 1, None)


async def test_without_redis_the_database_is_asked_and_noting_is_left_to_the_relay(
    without_redis: SessionMarkers, session_id: UUID
) -> None:
    await without_redis.check(session_id, 1, None)
    await without_redis.note({session_id: ENDED})
    with pytest.raises(RedisAway):
        await without_redis.note_surely({session_id: ENDED})


async def test_ending_all_but_one_leaves_that_one(
    db: Database, person_keys: PersonKeys, make_patient: MakePatient
) -> None:
    person = await make_patient()
    kept, *_ = ids = [await _session(db, person_keys, person) for _ in range(3)]
    async with db.transaction() as connection:
        ended = await sessions.end_all(connection, person.id, but=kept)
        assert set(ids) - {kept} <= ended.keys()
        assert kept not in ended
        assert await sessions.token_version(connection, kept) == 1
        assert await sessions.end_all(connection, person.id, but=kept) == {}
