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
from amrutam.storage.pool import Connection, Database, DatabaseUnavailable
from amrutam.storage.replica import Clock
from tests.conftest import System
from tests.polling import until
from tests.replica import Standby, standby_of
from tests.tcp_proxy import Behaviour, TcpProxy

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
    assert read.position >= wrote_at
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


async def test_a_replica_that_is_far_behind_is_left_out(db: Database, standby: Standby) -> None:
    replica = await Database.connect(standby.url(APP, DATABASE), size=2, application="tests", replica=True)
    nodes = Nodes(db, [replica], most_lag_seconds=0.3)
    nodes.start()
    await until(_reads_the_replica(nodes))
    await standby.hold()
    await _tell(db)

    async def left_out() -> bool:
        return not (await nodes.read(_on_replica)).value

    await until(left_out)
    assert "behind" in nodes.state()["replica 1"]
    await standby.let_go()
    await until(_reads_the_replica(nodes))
    assert nodes.state() == {"replica 1": "ok"}
    await nodes.close()


async def test_reads_go_on_from_the_primary_when_a_replica_dies(db: Database, nodes: Nodes, standby: Standby) -> None:
    told = await _tell(db)
    await standby.kill()
    for _ in range(20):
        assert (await nodes.read(_sees(told), await nodes.position())).value

    async def away() -> bool:
        return nodes.state()["replica 1"].startswith("away")

    await until(away)
    await standby.start()
    await until(_reads_the_replica(nodes))


async def test_a_node_that_is_no_replica_is_not_read(db: Database, system: System) -> None:
    primary_again = await Database.connect(system.servers.postgres.url(APP), size=2, application="tests", replica=True)
    nodes = Nodes(db, [primary_again])
    nodes.start()

    async def told() -> bool:
        return "is no replica" in nodes.state()["replica 1"]

    await until(told)
    assert (await nodes.read(_on_replica)).value is False
    await nodes.close()


async def test_without_replicas_nobody_is_asked_for_a_position(db: Database) -> None:
    nodes = Nodes(db, [])
    assert not nodes.replicated
    assert await nodes.read(_on_replica) == (False, 0)
    assert nodes.state() == {}
    await nodes.close()


async def test_with_the_primary_away_a_replica_that_has_come_far_enough_is_read(
    system: System, standby: Standby
) -> None:
    """Reads go on; only who wants what no replica has is told that the database is away."""
    proxy = TcpProxy(system.servers.postgres.port, seed=9)
    await proxy.turn(Behaviour.OPEN)
    url = system.servers.postgres.url(APP).replace(f":{system.servers.postgres.port}/", f":{proxy.port}/")
    primary = await Database.connect(url, size=2, application="tests")
    replica = await Database.connect(standby.url(APP, DATABASE), size=2, application="tests", replica=True)
    nodes = Nodes(primary, [replica])
    nodes.start()
    await until(_reads_the_replica(nodes))
    now = await nodes.position()
    await proxy.turn(Behaviour.REFUSE)
    assert (await nodes.read(_on_replica)).value
    with pytest.raises(DatabaseUnavailable):
        await nodes.read(_on_replica, now + 10**9)
    await nodes.close()
    await primary.close()
    await proxy.close()


def test_a_lag_in_seconds_is_the_time_since_the_primary_went_on() -> None:
    clock = Clock()
    for at, position in ((1.0, 100), (2.0, 100), (3.0, 250), (4.0, 300)):
        clock.note(position, at)
    assert [clock.behind(position, 5.0) for position in (99, 100, 249, 250, 300)] == [4.0, 2.0, 2.0, 1.0, 0.0]
