"""Reads by log position: from a real replica, that follows, is held back, and dies."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest
from redis.asyncio import Redis

from amrutam.domain.events import Event
from amrutam.ids import new_id
from amrutam.stack.postgres import APP, DATABASE
from amrutam.storage import events
from amrutam.storage.cache import Cache
from amrutam.storage.nodes import Nodes
from amrutam.storage.pool import Connection, Database
from tests.conftest import System
from tests.polling import until
from tests.replica import Standby, standby_of

LONG = 60.0


@pytest.fixture(scope="module")
async def standby(system: System) -> AsyncGenerator[Standby]:
    """A replica that each test leaves following."""
    async with standby_of(system) as standby:
        yield standby


@pytest.fixture
async def nodes(db: Database, standby: Standby) -> AsyncGenerator[Nodes]:
    """The primary and the replica, once the replica is read."""
    replica = await Database.connect(standby.url(APP, DATABASE), size=2, application="tests", replica=True)
    nodes = Nodes(db, [replica], most_lag_seconds=30)
    nodes.start()
    await until(_reads_the_replica(nodes))
    yield nodes
    await nodes.close()


@pytest.fixture
async def held(standby: Standby, nodes: Nodes) -> AsyncGenerator[Standby]:
    """The replica, which stays where it is until the test is over."""
    assert nodes.replicated
    await standby.hold()
    yield standby
    await standby.let_go()


class Told(Event):
    """Something that is written, so that it can be seen."""

    type = "test.told"


async def _tell(db: Database) -> Told:
    told = Told(subject=new_id())
    async with db.transaction() as connection:
        await events.append(connection, told)
    return told


async def _on_replica(connection: Connection) -> bool:
    return await connection.fetchval("SELECT pg_is_in_recovery()")


def _reads_the_replica(nodes: Nodes) -> Callable[[], Awaitable[bool]]:
    async def reads() -> bool:
        return (await nodes.read(_on_replica)).value

    return reads


def _sees(told: Told) -> Callable[[Connection], Awaitable[bool]]:
    async def sees(connection: Connection) -> bool:
        return await connection.fetchval("SELECT EXISTS (SELECT FROM events WHERE subject = $1)", told.subject)

    return sees


async def test_who_wrote_is_served_by_a_node_that_has_it(db: Database, nodes: Nodes, held: Standby) -> None:
    told = await _tell(db)
    wrote_at = await nodes.position()
    assert not (await nodes.read(_sees(told))).value  # the replica serves whom it suits
    read = await nodes.read(_sees(told), wrote_at)
    assert read.value
    assert read.position >= wrote_at - 1  # one short, on the primary
    await held.let_go()

    async def the_replica_has_it() -> bool:
        read = await nodes.read(_on_replica, wrote_at)
        return read.value and (await nodes.read(_sees(told), wrote_at)).value

    await until(the_replica_has_it)


async def test_the_position_of_a_read_is_never_beyond_what_it_saw(db: Database, nodes: Nodes) -> None:
    """Whatever was committed at or before the position that a read tells, that read has seen."""
    written: list[tuple[int, Told]] = []

    async def write() -> None:
        for _ in range(60):
            told = await _tell(db)
            written.append((await nodes.position(), told))

    async def read() -> None:
        while len(written) < 60:
            seen = await nodes.read(_subjects)
            missing = [told for at, told in written if at <= seen.position and told.subject not in seen.value]
            assert not missing
            await asyncio.sleep(0)

    await asyncio.gather(write(), read(), read())


async def _subjects(connection: Connection) -> set[object]:
    return {row["subject"] for row in await connection.fetch("SELECT subject FROM events WHERE type = 'test.told'")}


async def test_a_replica_that_lags_cannot_put_back_into_the_cache_what_was_dropped(
    db: Database, nodes: Nodes, held: Standby, redis: Redis
) -> None:
    """The race that a token alone does not win: dropped, then filled from a node that does not know yet why."""
    cache, group, told = Cache(redis, nodes), f"{new_id()}/x", Told(subject=new_id())

    async def fill(connection: Connection) -> bytes:
        return b"%d" % await _sees(told)(connection)

    async def body() -> bytes | None:
        entry = await cache.get(group, "k", LONG, fill)
        return entry.body if entry else None

    assert await body() == b"0"
    async with db.transaction() as connection:
        await events.append(connection, told)
    assert await body() == b"0"  # nobody has dropped it yet
    await cache.invalidate_surely(group)
    assert not (await nodes.read(_sees(told))).value  # the replica would still answer as before
    assert await body() == b"1"
    assert await body() == b"1"
    await held.let_go()
    assert await body() == b"1"


async def test_who_wrote_sees_it_though_nothing_was_dropped(
    db: Database, nodes: Nodes, held: Standby, redis: Redis
) -> None:
    assert held
    cache, group, told = Cache(redis, nodes), f"{new_id()}/x", Told(subject=new_id())

    async def fill(connection: Connection) -> bytes:
        return b"%d" % await _sees(told)(connection)

    first = await cache.get(group, "k", LONG, fill)
    async with db.transaction() as connection:
        await events.append(connection, told)
    wrote_at = await nodes.position()
    theirs = await cache.get(group, "k", LONG, fill, wrote_at)
    everybodys = await cache.get(group, "k", LONG, fill)
    assert first is not None
    assert first.body == b"0"
    assert theirs == everybodys
    assert theirs is not None
    assert theirs.body == b"1"


async def test_a_position_that_is_asked_after_a_read_lies_beyond_what_the_read_tells(db: Database) -> None:
    """The newest commit of the log may not be seen by others yet, but is before anybody who made it asks."""
    nodes = Nodes(db, [])
    for _ in range(20):
        read = await nodes.read(_subjects, 1)
        assert 0 < read.position < await nodes.position()


async def test_without_replicas_nobody_is_asked_for_a_position(db: Database) -> None:
    nodes = Nodes(db, [])
    assert not nodes.replicated
    assert await nodes.read(_on_replica) == (False, 0)
    assert nodes.state() == {}
    await nodes.close()
