"""The lock before a busy doctor: one holder at a time, nobody undoes another's, and nothing depends on it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from amrutam.domain.availability import Span
from amrutam.ids import new_id
from amrutam.settings import Settings
from amrutam.stack.ports import LOOPBACK, free_port
from amrutam.stack.servers import Servers
from amrutam.storage import claims
from amrutam.storage.breaker import CONNECTION
from amrutam.storage.lock import LIFE_MS, Lock
from amrutam.storage.pool import Connection, Database
from tests.polling import until
from tests.storage.waiting import someone_waits


class Undone(Exception):
    """Rolls a transaction back."""


@pytest.fixture
def name() -> str:
    """Of a lock that nobody else takes."""
    return f"doctor/{new_id()}"


@pytest.fixture(scope="module")
async def client(settings: Settings) -> AsyncGenerator[Redis, None]:
    """As the worker's own, which connects again, with patience for a busy machine."""
    patient: dict[str, Any] = CONNECTION | {"socket_timeout": 5, "socket_connect_timeout": 5}
    client: Redis = Redis.from_url(settings.redis_url.get_secret_value(), **patient)
    yield client
    await client.aclose()


@pytest.fixture(scope="module")
def lock(client: Redis) -> Lock:
    """As the worker takes them."""
    return Lock(client)


async def _expire(client: Redis, name: str) -> None:
    """Let the lock's life end now."""
    await client.pexpire(f"lock/{name}", 1)

    async def gone() -> bool:
        return not await client.exists(f"lock/{name}")

    await until(gone)


async def test_one_holds_it_at_a_time_and_another_follows(lock: Lock, name: str) -> None:
    inside, most = 0, 0

    async def work() -> bool:
        nonlocal inside, most
        async with lock(name) as held:
            inside += held
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= held
        return held

    assert sum(await asyncio.gather(*(work() for _ in range(10)))) > 1
    assert most == 1


async def test_it_is_free_again_after_its_block_however_that_ends(lock: Lock, client: Redis, name: str) -> None:
    async with lock(name) as held:
        assert held
        assert await client.exists(f"lock/{name}")
    assert not await client.exists(f"lock/{name}")
    with pytest.raises(Undone):
        async with lock(name):
            raise Undone
    assert not await client.exists(f"lock/{name}")


async def test_two_names_do_not_wait_for_each_other(lock: Lock, name: str) -> None:
    async with lock(name) as one, lock(f"{name}/other") as other:
        assert (one, other) == (True, True)


async def test_whoever_waited_long_enough_goes_on_without_it_and_leaves_it_alone(
    lock: Lock, client: Redis, name: str
) -> None:
    async with lock(name) as first:
        token = await client.get(f"lock/{name}")
        async with lock(name) as second:
            assert (first, second) == (True, False)
        assert await client.get(f"lock/{name}") == token


async def test_every_holder_has_a_token_of_its_own(lock: Lock, client: Redis, name: str) -> None:
    tokens: list[object] = []
    for _ in range(20):
        async with lock(name):
            tokens.append(await client.get(f"lock/{name}"))
    assert len(set(tokens)) == 20


async def test_a_late_owner_does_not_release_the_lock_of_whoever_came_after(
    lock: Lock, client: Redis, name: str
) -> None:
    async with lock(name):
        await _expire(client, name)
        after = lock(name)
        assert await after.__aenter__()
        token = await client.get(f"lock/{name}")
    assert await client.get(f"lock/{name}") == token
    await after.__aexit__(None, None, None)
    assert not await client.exists(f"lock/{name}")


@pytest.mark.parametrize("theirs", ["another token", ""], ids=["longer", "empty"])
async def test_a_lock_with_another_token_is_never_released(lock: Lock, client: Redis, name: str, theirs: str) -> None:
    async with lock(name):
        await client.set(f"lock/{name}", theirs, px=LIFE_MS)
    assert await client.get(f"lock/{name}") == theirs.encode()


async def test_its_life_is_longer_than_a_transaction_and_a_late_owner_does_not_renew_it(
    lock: Lock, client: Redis, db: Database, name: str
) -> None:
    async with db.connection() as connection:
        transaction_ms = await connection.fetchval(
            "SELECT extract(epoch FROM current_setting('transaction_timeout')::interval) * 1000"
        )
    async with lock(name):
        assert transaction_ms < await client.pttl(f"lock/{name}") <= LIFE_MS
        await client.pexpire(f"lock/{name}", 1000)
        async with lock(name) as second:
            assert not second
        assert await client.pttl(f"lock/{name}") <= 1000


async def test_without_redis_the_work_goes_on_without_a_lock(name: str) -> None:
    nowhere: Redis = Redis.from_url(f"redis://{LOOPBACK}:{free_port()}", **CONNECTION)
    async with Lock(nowhere)(name) as held:
        assert not held
    await nowhere.aclose()


async def test_redis_may_go_away_while_the_lock_is_held(lock: Lock, servers: Servers, redis: Redis, name: str) -> None:
    try:
        async with lock(name) as held:
            assert held
            await servers.valkey.kill()
    finally:
        await servers.valkey.start()
        await redis.connection_pool.disconnect()  # the other tests' client does not connect again by itself
    async with lock(name) as held:
        assert held


@pytest.mark.parametrize("commits", [True, False], ids=["the first commits", "the first rolls back"])
@pytest.mark.parametrize(
    ("queue", "waits_at"),
    [(True, "pg_advisory_xact_lock"), (False, "INSERT INTO claims")],
    ids=["in the queue", "at the constraint"],
)
async def test_a_lock_that_runs_out_in_mid_transaction_doubles_nothing(
    lock: Lock, client: Redis, db: Database, now: datetime, commits: bool, queue: bool, waits_at: str
) -> None:
    doctor, span = new_id(), Span(now, now + timedelta(minutes=15))

    async def claim(connection: Connection) -> bool:
        if queue:
            await claims.queue_for(connection, [doctor])
        return not await claims.take(connection, new_id(), {doctor: span}, None)

    async def second() -> bool:
        async with lock(f"doctor/{doctor}") as held, db.transaction() as connection:
            assert held
            return await claim(connection)

    followers: list[asyncio.Task[bool]] = []
    with suppress(Undone):
        async with lock(f"doctor/{doctor}") as held, db.transaction() as connection:
            assert held
            assert await claim(connection)
            await _expire(client, f"doctor/{doctor}")
            followers.append(asyncio.create_task(second()))
            await someone_waits(db, waits_at)
            if not commits:
                raise Undone
    assert await asyncio.gather(*followers) == [not commits]
    async with db.connection() as connection:
        assert len(await connection.fetch("DELETE FROM claims WHERE resource_id = $1 RETURNING 1", doctor)) == 1
