"""The cache: a hit is fresh, a miss is shared, and without Redis everything is right all the same."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from amrutam.ids import new_id
from amrutam.settings import Settings
from amrutam.stack.folders import Folders
from amrutam.stack.ports import LOOPBACK
from amrutam.stack.valkey import Valkey
from amrutam.storage.breaker import CONNECTION
from amrutam.storage.cache import Cache, Fill, groups_of
from amrutam.storage.entries import MOST_ENTRY_BYTES
from amrutam.storage.nodes import Nodes
from amrutam.storage.pool import Connection, Database
from tests.polling import until

LONG = 60.0
# On a busy machine Redis may seem away for a moment. Only the tests that take it away want to see that.
PATIENT: dict[str, Any] = {**CONNECTION, "socket_timeout": 10, "socket_connect_timeout": 10}


class Source:
    """Stands for the database: a number, and how often it was read."""

    def __init__(self) -> None:
        self.value = 1
        self.reads = 0
        self.open = asyncio.Event()
        self.open.set()

    async def fill(self, _: Connection) -> bytes:
        """Read now, answer when the gate is open."""
        self.reads += 1
        value = self.value
        await asyncio.sleep(0)
        await self.open.wait()
        return b"%d" % value

    async def is_read(self) -> bool:
        return self.reads > 0


@pytest.fixture
def nodes(db: Database) -> Nodes:
    """The primary alone."""
    return Nodes(db, [])


@pytest.fixture
async def cache(settings: Settings, nodes: Nodes) -> AsyncGenerator[Cache, None]:
    """As a process has it that remembers nothing itself."""
    cache = Cache(Redis.from_url(settings.redis_url.get_secret_value(), **PATIENT), nodes)
    yield cache
    await cache.close()


@pytest.fixture
async def neighbour(settings: Settings, nodes: Nodes) -> AsyncGenerator[Cache, None]:
    """As another process has it."""
    cache = Cache(Redis.from_url(settings.redis_url.get_secret_value(), **PATIENT), nodes)
    yield cache
    await cache.close()


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncGenerator[Valkey, None]:
    """A Valkey of the test's own, that it may stop."""
    folders = Folders(tmp_path)
    folders.make()
    valkey = Valkey(folders, 0)
    await valkey.start()
    yield valkey
    await valkey.stop()


@pytest.fixture
def group() -> str:
    """Nobody else's; its name is also the label of its metrics."""
    return f"{new_id()}/x"


async def _body(cache: Cache, group: str, fill: Fill, key: str = "k") -> bytes | None:
    entry = await cache.get(group, key, LONG, fill)
    return entry.body if entry else None


def _count(metric: str, group: str, result: str) -> float:
    labels = {"cache": group.partition("/")[0], "result": result}
    return REGISTRY.get_sample_value(f"amrutam_cache_{metric}_total", labels) or 0


async def _until_missed(group: str, times: int) -> None:
    """Until so many callers found nothing: each leads a fill then, or has joined one."""

    async def missed() -> bool:
        return _count("reads", group, "miss") == times

    await until(missed)


async def test_a_hit_reads_no_database_and_keeps_its_tag(cache: Cache, neighbour: Cache, group: str) -> None:
    source = Source()
    first = await cache.get(group, "k", LONG, source.fill)
    again = await neighbour.get(group, "k", LONG, source.fill)
    assert first == again
    assert first is not None
    assert (first.body, source.reads) == (b"1", 1)


async def test_an_invalidation_drops_every_entry_of_its_group_and_no_other(
    cache: Cache, neighbour: Cache, group: str
) -> None:
    source, other = Source(), f"{group}y"
    for place, key in ((group, "a"), (group, "b"), (other, "a")):
        await _body(cache, place, source.fill, key)
    source.value = 2
    await neighbour.invalidate(group)
    assert await _body(cache, group, source.fill, "a") == b"2"
    assert await _body(cache, group, source.fill, "b") == b"2"
    assert await _body(cache, other, source.fill, "a") == b"1"


async def test_a_fill_that_read_before_an_invalidation_is_refused(cache: Cache, neighbour: Cache, group: str) -> None:
    source = Source()
    source.open.clear()
    slow = asyncio.create_task(_body(cache, group, source.fill))
    await until(source.is_read)
    source.value = 2
    await neighbour.invalidate(group)
    source.open.set()
    assert await slow == b"1"  # asked before the change, answered as it was then
    assert _count("fills", group, "refused") == 1
    assert await _body(cache, group, source.fill) == b"2"


async def test_who_asks_after_an_invalidation_does_not_join_a_fill_from_before(
    cache: Cache, neighbour: Cache, group: str
) -> None:
    source = Source()
    source.open.clear()
    slow = asyncio.create_task(_body(cache, group, source.fill))
    await until(source.is_read)
    source.value = 2
    await neighbour.invalidate(group)
    late = asyncio.create_task(_body(cache, group, source.fill))

    async def both_read() -> bool:
        return source.reads == 2

    await until(both_read)
    source.open.set()
    assert (await slow, await late) == (b"1", b"2")


async def test_a_storm_of_changes_never_shows_what_was_invalidated_before_the_read(
    cache: Cache, neighbour: Cache, group: str
) -> None:
    source, settled, caches = Source(), 1, (cache, neighbour)

    async def write() -> None:
        nonlocal settled
        for round_ in range(60):
            source.value += 1
            written = source.value
            await caches[round_ % 2].invalidate_surely(group)
            settled = max(settled, written)

    async def read(through: Cache) -> None:
        for _ in range(60):
            at_least = settled
            body = await _body(through, group, source.fill)
            assert body is not None
            assert int(body) >= at_least

    await asyncio.gather(write(), write(), *(read(caches[reader % 2]) for reader in range(6)))


async def test_concurrent_misses_share_one_fill(cache: Cache, group: str) -> None:
    source = Source()
    source.open.clear()
    asking = [asyncio.create_task(_body(cache, group, source.fill)) for _ in range(50)]
    await _until_missed(group, 50)
    source.open.set()
    assert (set(await asyncio.gather(*asking)), source.reads) == ({b"1"}, 1)


async def test_a_fill_goes_on_when_the_caller_who_began_it_is_gone(cache: Cache, group: str) -> None:
    source = Source()
    source.open.clear()
    leader = asyncio.create_task(_body(cache, group, source.fill))
    await until(source.is_read)
    follower = asyncio.create_task(_body(cache, group, source.fill))
    await _until_missed(group, 2)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    source.open.set()
    assert (await follower, source.reads) == (b"1", 1)


async def test_a_fill_that_fails_fails_only_the_caller_who_began_it(cache: Cache, group: str) -> None:
    source = Source()

    async def fails_once(db: Connection) -> bytes:
        body = await source.fill(db)
        if source.reads == 1:
            raise LookupError("the database went away")
        return body

    source.open.clear()
    asking = [asyncio.create_task(_body(cache, group, fails_once)) for _ in range(5)]
    await _until_missed(group, 5)
    source.open.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(each) for each in answers].count(LookupError) == 1
    assert (answers.count(b"1"), source.reads) == (4, 2)


async def test_that_there_is_nothing_is_remembered_until_there_is_something(cache: Cache, group: str) -> None:
    reads, there = 0, False

    async def fill(_: Connection) -> bytes | None:
        nonlocal reads
        reads += 1
        return b"here" if there else None

    assert [await _body(cache, group, fill), await _body(cache, group, fill), reads] == [None, None, 1]
    there = True
    await cache.invalidate(group)
    assert await _body(cache, group, fill) == b"here"


async def test_who_has_written_is_not_served_what_was_read_before(cache: Cache, group: str, db: Database) -> None:
    source, nodes = Source(), Nodes(db, [])
    await _body(cache, group, source.fill)
    source.value, wrote_at = 2, await nodes.position()
    assert await _body(cache, group, source.fill) == b"1"
    async with db.connection() as connection:  # others write meanwhile: what is read now lies beyond `wrote_at`
        await connection.execute("SELECT pg_logical_emit_message(false, 'test', '')")
    entry = await cache.get(group, "k", LONG, source.fill, wrote_at)
    again = await cache.get(group, "k", LONG, source.fill, wrote_at)
    assert entry == again
    assert entry is not None
    assert (entry.body, source.reads) == (b"2", 2)
    assert await _body(cache, group, source.fill) == b"2"
    assert _count("reads", group, "stale") == 1


async def test_entries_in_redis_keep_under_their_bound(valkey: Valkey, nodes: Nodes, group: str) -> None:
    redis = Redis.from_url(valkey.url, **PATIENT)
    cache = Cache(redis, nodes, most_bytes=20_000)

    async def fill(_: Connection) -> bytes:
        return b"x" * 1_000

    for number in range(100):
        await cache.get(group, f"k{number}", LONG, fill)
    held = cast("list[bytes]", await redis.keys(f"cache:{{{group}}}:*"))
    assert 8 <= len(held) <= 14
    assert await redis.zcard("cache:entries") == len(held)
    assert int(await redis.get("cache:bytes") or 0) <= 20_000
    await cache.close()


async def test_a_body_that_is_too_large_is_answered_and_not_kept(cache: Cache, group: str) -> None:
    async def fill(_: Connection) -> bytes:
        return b"x" * (MOST_ENTRY_BYTES + 1)

    assert len(await _body(cache, group, fill) or b"") == MOST_ENTRY_BYTES + 1
    assert _count("fills", group, "too_large") == 1


async def test_an_entry_ends_with_its_time(cache: Cache, group: str) -> None:
    source = Source()
    await cache.get(group, "k", 0.05, source.fill)
    source.value = 2

    async def renewed() -> bool:
        entry = await cache.get(group, "k", 0.05, source.fill)
        return entry is not None and entry.body == b"2"

    await until(renewed)


async def test_without_redis_each_read_is_fresh_and_the_log_says_so_once(
    valkey: Valkey, nodes: Nodes, group: str
) -> None:
    cache, source = Cache(Redis.from_url(valkey.url, **CONNECTION), nodes), Source()
    await _body(cache, group, source.fill)
    await valkey.stop()
    with capture_logs() as logs:
        for value in range(2, 40):
            source.value = value
            await cache.invalidate(group)
            assert await _body(cache, group, source.fill) == b"%d" % value
        with pytest.raises(RedisError):
            await cache.invalidate_surely(group)
    assert [line["event"] for line in logs if line["log_level"] != "debug"] == ["redis.away"]
    await valkey.start()

    async def hit_again() -> bool:
        before = source.reads
        return await _body(cache, group, source.fill) == b"39" and source.reads == before

    await until(hit_again)
    await cache.close()


async def test_a_redis_that_accepts_and_never_answers_is_away_too(nodes: Nodes, group: str) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    mute = await asyncio.start_server(say_nothing, LOOPBACK)
    port: int = mute.sockets[0].getsockname()[1]
    cache, source = Cache(Redis(host=LOOPBACK, port=port, **CONNECTION), nodes), Source()
    assert await _body(cache, group, source.fill) == b"1"
    source.value = 2
    assert await _body(cache, group, source.fill) == b"2"
    await cache.close()
    mute.close()
    await mute.wait_closed()


@pytest.mark.parametrize(
    ("event", "data", "stale"),
    [
        ("doctor.changed", "{{}}", {"doctor/{id}", "slots/{id}", "reviews/{id}", "doctors"}),
        ("availability.changed", "{{}}", {"doctor/{id}", "slots/{id}", "doctors"}),
        ("booking.cancelled", '{{"doctor_id": "{id}"}}', {"slots/{id}"}),
        ("review.changed", '{{"doctor_id": "{id}"}}', {"reviews/{id}", "doctor/{id}", "doctors"}),
        ("account.registered", "{{}}", set[str]()),
    ],
)
def test_a_fact_makes_stale_what_shows_it(event: str, data: str, stale: set[str], some_id: UUID) -> None:
    assert set(groups_of(event, some_id, data.format(id=some_id))) == {group.format(id=some_id) for group in stale}
