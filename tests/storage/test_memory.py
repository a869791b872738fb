"""What a process remembers beside Redis: dropped by news, forgotten when news may be missing, never without bound."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from amrutam.ids import new_id
from amrutam.settings import Settings
from amrutam.storage.breaker import redis_client
from amrutam.storage.cache import Cache, Entry
from amrutam.storage.line import CHANNEL, Line
from amrutam.storage.memory import OVERHEAD_BYTES, Memory, Remembered
from amrutam.storage.nodes import Nodes
from amrutam.storage.pool import Connection, Database
from amrutam.storage.session_memory import SessionMemory
from tests.polling import until
from tests.tcp_proxy import Behaviour, TcpProxy

LONG = 60.0
# The shortest that a busy machine keeps: a line is lost when nothing is heard for so long.
TRUSTED = 1.0

Process = Callable[[], Awaitable[Cache]]


@pytest.fixture
async def process(settings: Settings, db: Database) -> AsyncGenerator[Process]:
    """Makes caches as processes have them, each with a line that stands."""
    url, made = settings.redis_url.get_secret_value(), list[tuple[Line, Cache]]()

    async def make() -> Cache:
        line = Line(redis_client(url, connections=1, seconds=10))
        cache = Cache(redis_client(url, seconds=10), Nodes(db, []), line)
        made.append((line, cache))
        line.start()
        await until(_standing(line))
        return cache

    yield make
    for line, cache in made:
        await line.close()
        await cache.close()


@pytest.fixture
async def line(settings: Settings) -> AsyncGenerator[Line]:
    """A line that stands."""
    line = Line(redis_client(settings.redis_url.get_secret_value(), connections=1, seconds=10))
    line.start()
    await until(_standing(line))
    yield line
    await line.close()


def _standing(line: Line) -> Callable[[], Awaitable[bool]]:
    async def stands() -> bool:
        return line.stands

    return stands


class Source:
    """Stands for the database."""

    def __init__(self) -> None:
        self.value, self.reads = 1, 0

    async def fill(self, _: Connection) -> bytes:
        self.reads += 1
        return b"%d" % self.value


@pytest.fixture
def group() -> str:
    """Nobody else's."""
    return f"{new_id()}/x"


async def _body(cache: Cache, group: str, source: Source) -> bytes | None:
    entry = await cache.get(group, "k", LONG, source.fill)
    return entry.body if entry else None


async def test_what_was_read_is_answered_again_without_redis(process: Process, redis: Redis, group: str) -> None:
    cache, source = await process(), Source()
    await _body(cache, group, source)
    await redis.unlink(f"cache:{{{group}}}", f"cache:{{{group}}}:k")
    assert await _body(cache, group, source) == b"1"
    assert source.reads == 1


async def test_a_change_is_dropped_from_every_process(process: Process, group: str) -> None:
    here, there, source = await process(), await process(), Source()
    assert [await _body(cache, group, source) for cache in (here, there)] == [b"1", b"1"]
    source.value = 2
    await here.invalidate(group)
    assert await _body(here, group, source) == b"2"  # at once, where the change was made

    async def heard() -> bool:
        return await _body(there, group, source) == b"2"

    await until(heard)


async def test_what_is_dropped_while_it_is_fetched_is_not_remembered(line: Line, redis: Redis) -> None:
    memory = Memory(line)
    one = Remembered(Entry('"t"', b"1"), 0, time.monotonic() + LONG)
    watch, other = memory.watch("slots/a"), memory.watch("slots/b")
    await redis.publish(CHANNEL, "drop slots/a slots/c")

    async def heard() -> bool:
        return not watch.good

    await until(heard)
    memory.keep(watch, "k", one)
    memory.keep(other, "k", one)
    assert memory.find("slots/a", "k") is None
    assert memory.find("slots/b", "k") == one


async def test_a_line_that_was_cut_and_is_joined_anew_means_that_all_is_forgotten(line: Line, redis: Redis) -> None:
    memory, forgotten = Memory(line), asyncio.Event()
    line.listen("test", lambda _: None, forgotten.set)
    memory.keep(memory.watch("slots/a"), "k", Remembered(None, 0, time.monotonic() + LONG))
    assert len(memory) == 1
    await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    async with asyncio.timeout(10):
        await forgotten.wait()
    assert len(memory) == 0
    await until(_standing(line))


async def test_a_line_that_falls_silent_is_not_relied_on(settings: Settings) -> None:
    upstream = urlsplit(settings.redis_url.get_secret_value()).port or 6379
    proxy = TcpProxy(upstream, seed=6)
    await proxy.turn(Behaviour.OPEN)
    url = settings.redis_url.get_secret_value().replace(f":{upstream}", f":{proxy.port}")
    line = Line(redis_client(url, connections=1, seconds=10), ask_seconds=0.1, trusted=TRUSTED)
    memory = Memory(line)
    line.start()
    await until(_standing(line))
    memory.keep(memory.watch("slots/a"), "k", Remembered(None, 0, time.monotonic() + LONG))
    await proxy.turn(Behaviour.HANG)

    async def lost() -> bool:
        return not line.stands

    await until(lost)
    assert memory.find("slots/a", "k") is None
    await line.close()
    await proxy.close()


def _fill(memory: Memory, numbers: range, body: bytes) -> None:
    for number in numbers:
        watch = memory.watch(f"slots/{number}")
        memory.keep(watch, "k", Remembered(Entry('"t"', body), 0, time.monotonic() + LONG))


async def test_memory_is_bounded_in_entries_and_in_bytes_and_the_oldest_leave_first(line: Line) -> None:
    few = Memory(line, most_entries=10)
    _fill(few, range(10), b"1")
    assert few.find("slots/0", "k")  # used again: slots/1 is the oldest now
    _fill(few, range(10, 15), b"1")
    assert [number for number in range(15) if few.find(f"slots/{number}", "k")] == [0, *range(6, 15)]
    small = Memory(line, most_bytes=10 * (OVERHEAD_BYTES + 100))
    _fill(small, range(50), b"x" * 100)
    assert len(small) == 10


async def test_an_entry_in_memory_ends_with_its_time(line: Line) -> None:
    memory = Memory(line)
    memory.keep(memory.watch("slots/a"), "k", Remembered(None, 0, time.monotonic() + 0.05))

    async def ended() -> bool:
        return memory.find("slots/a", "k") is None

    await until(ended)
    assert len(memory) == 0


async def test_without_a_line_nothing_is_remembered() -> None:
    memory = Memory(Line(Redis()))
    memory.keep(memory.watch("slots/a"), "k", Remembered(None, 0, time.monotonic() + LONG))
    assert memory.find("slots/a", "k") is None


async def test_the_end_of_a_session_is_heard_and_no_later_answer_undoes_it(line: Line, redis: Redis) -> None:
    memory, session_id = SessionMemory(line), new_id()
    ticket = memory.ticket
    memory.keep(session_id, b"3", ticket)
    assert memory.find(session_id) == b"3"
    await redis.publish(CHANNEL, f"session {session_id} 0")

    async def heard() -> bool:
        return memory.find(session_id) == b"0"

    await until(heard)
    memory.keep(session_id, b"3", ticket)  # an answer that was under way
    memory.note(session_id, 4)
    assert memory.find(session_id) == b"0"


async def test_of_two_versions_the_higher_one_stands(line: Line) -> None:
    memory, session_id = SessionMemory(line), new_id()
    for version in (2, 5, 3):
        memory.note(session_id, version)
    assert memory.find(session_id) == b"5"


async def test_an_answer_that_was_asked_before_the_line_was_lost_is_not_remembered(line: Line, redis: Redis) -> None:
    memory, forgotten, session_id = SessionMemory(line), asyncio.Event(), new_id()
    line.listen("test", lambda _: None, forgotten.set)
    ticket = memory.ticket
    await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    async with asyncio.timeout(10):
        await forgotten.wait()
    await until(_standing(line))
    memory.keep(session_id, b"3", ticket)
    assert memory.find(session_id) is None
