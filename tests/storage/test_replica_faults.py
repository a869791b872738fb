"""Replicas that lag, die, fall silent or are none: reads go on."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable

import asyncpg
import pytest

from amrutam.stack.postgres import APP, DATABASE, Postgres
from amrutam.storage.nodes import Nodes
from amrutam.storage.pool import Connection, Database, DatabaseUnavailable
from amrutam.storage.replica import Clock
from tests.conftest import System
from tests.polling import until
from tests.replica import Standby, standby_of
from tests.tcp_proxy import Behaviour, TcpProxy, proxy_to


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


async def _on_replica(connection: Connection) -> bool:
    return await connection.fetchval("SELECT pg_is_in_recovery()")


def _reads_the_replica(nodes: Nodes) -> Callable[[], Awaitable[bool]]:
    async def reads() -> bool:
        return (await nodes.read(_on_replica)).value

    return reads


async def test_a_replica_that_is_far_behind_is_left_out(db: Database, standby: Standby) -> None:
    replica = await Database.connect(standby.url(APP, DATABASE), size=2, application="tests", replica=True)
    nodes = Nodes(db, [replica], most_lag_seconds=0.3)
    nodes.start()
    await until(_reads_the_replica(nodes))
    await standby.hold()
    async with db.connection() as connection:
        await connection.execute("SELECT pg_logical_emit_message(true, 'test', '')")

    async def left_out() -> bool:
        return not (await nodes.read(_on_replica)).value

    await until(left_out)
    assert "behind" in nodes.state()["replica 1"]
    await standby.let_go()
    await until(_reads_the_replica(nodes))
    assert nodes.state() == {"replica 1": "ok"}
    await nodes.close()


async def test_reads_go_on_from_the_primary_when_a_replica_dies(nodes: Nodes, standby: Standby) -> None:
    await standby.kill()
    for _ in range(20):
        assert (await nodes.read(_on_replica)).value is False

    async def away() -> bool:
        return nodes.state()["replica 1"].startswith("away")

    await until(away)
    await standby.start()
    await until(_reads_the_replica(nodes))


async def test_a_replica_that_is_silent_or_lets_us_not_in_takes_no_other_one_away(
    db: Database, standby: Standby
) -> None:
    """A good one serves all the time beside one behind which nothing moves and one that has another password."""
    async with proxy_to(standby.port) as proxy:
        good, silent, strange = standby.url(APP, DATABASE), _through(standby, proxy), standby.url(APP, DATABASE)
        urls = [good, silent, strange.replace(f"{APP}:", f"{APP}:x")]
        replicas = [await Database.connect(url, size=2, application="tests", replica=True) for url in urls]
        three = Nodes(db, replicas)
        three.start()

        async def stand(first: str, second: str, third: str) -> None:
            async def so() -> bool:
                states = zip(three.state().values(), (first, second, third), strict=True)
                return all(state.startswith(expected) for state, expected in states)

            await until(so)

        await stand("ok", "ok", "away: InvalidPassword")
        await proxy.turn(Behaviour.HANG)
        await stand("ok", "away", "away")
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            assert (await three.read(_on_replica)).value
            await asyncio.sleep(0.02)
        await proxy.turn(Behaviour.OPEN)
        await stand("ok", "ok", "away: InvalidPassword")
        await three.close()


async def test_a_read_that_is_in_the_way_of_replaying_is_done_by_the_primary(system: System, nodes: Nodes) -> None:
    """The replica cancels it once it has waited for a second, and is left alone for a while."""
    root = await system.servers.postgres.connect(DATABASE)
    await root.execute(f"CREATE TABLE in_the_way AS SELECT 1 AS one; GRANT SELECT ON in_the_way TO {APP}")
    created_at = await nodes.position()
    begun: list[bool] = []

    async def slow(connection: Connection) -> int:
        begun.append(await _on_replica(connection))
        return await connection.fetchval("SELECT count(pg_sleep($1)) FROM in_the_way", 3 if begun[-1] else 0)

    async def on_the_replica() -> bool:
        return (await nodes.read(_on_replica, created_at)).value

    async def there() -> bool:
        return begun == [True]

    await until(on_the_replica)
    reading = asyncio.create_task(nodes.read(slow, created_at))
    await until(there)
    await root.execute("TRUNCATE in_the_way")
    assert (await reading).value == 0
    assert begun == [True, False]
    assert nodes.state() == {"replica 1": "left out: a read has failed"}
    await root.execute("DROP TABLE in_the_way")
    await root.close()


async def test_what_a_replica_cannot_read_yet_the_primary_reads_and_no_replica_is_left_out_for_it(nodes: Nodes) -> None:
    """As with a column of a migration that the replica has not come to."""

    async def unknown_to_the_replica(connection: Connection) -> bool:
        name = "lacking" if await _on_replica(connection) else "pg_class"
        return await connection.fetchval(f"SELECT EXISTS (SELECT FROM {name})")  # noqa: S608 - our own names

    assert (await nodes.read(unknown_to_the_replica)).value
    assert (await nodes.read(_on_replica)).value
    assert nodes.state() == {"replica 1": "ok"}


async def test_a_read_that_is_wrong_fails_as_it_would_anywhere(nodes: Nodes) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await nodes.read(lambda connection: connection.fetchval("SELECT FROM lacking"))


async def test_a_node_that_is_no_replica_is_not_read(db: Database, system: System) -> None:
    primary_again = await Database.connect(system.servers.postgres.url(APP), size=2, application="tests", replica=True)
    nodes = Nodes(db, [primary_again])
    nodes.start()

    async def told() -> bool:
        return "is no replica" in nodes.state()["replica 1"]

    await until(told)
    assert (await nodes.read(_on_replica)).value is False
    await nodes.close()


def _through(part: Standby | Postgres, proxy: TcpProxy) -> str:
    return part.url(APP, DATABASE).replace(f":{part.port}/", f":{proxy.port}/")


async def test_with_the_primary_away_a_replica_that_has_come_far_enough_is_read(
    system: System, standby: Standby
) -> None:
    """Reads go on; only who wants what no replica has is told that the database is away."""
    async with proxy_to(system.servers.postgres.port) as proxy:
        primary = await Database.connect(_through(system.servers.postgres, proxy), size=2, application="tests")
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


def test_a_lag_in_seconds_is_the_time_since_the_primary_went_on() -> None:
    clock = Clock()
    for at, position in ((1.0, 100), (2.0, 100), (3.0, 250), (4.0, 300)):
        clock.note(position, at)
    assert [clock.behind(position, 5.0) for position in (99, 100, 249, 250, 300)] == [4.0, 2.0, 2.0, 1.0, 0.0]


def test_a_replica_is_known_to_follow_another_primary_when_it_is_ahead_of_ours() -> None:
    clock = Clock()
    clock.note(100, 2.0)
    assert clock.belies(150, 1.0)
    assert not clock.belies(150, 3.0)  # the primary may have gone on since it was asked
    assert not clock.belies(100, 1.0)
    assert clock.bytes_behind(60) == 40
    assert clock.bytes_behind(150) == 0
