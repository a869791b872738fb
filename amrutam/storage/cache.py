"""Ready answers, cache-aside: in this process's memory, and in Redis. The truth is in PostgreSQL: without Redis all is
right, and slower.

An entry belongs to a group, such as `slots/<doctor's id>`. In Redis the group's version is a random token; an entry
carries the token under which it was filled and is a hit only while that token stands. Hence:

- a hit is one MGET, and no script; what is asked in one turn of the event loop shares it;
- dropping the token drops every entry of the group at once, and the news of it every memory's (`memory.py`);
- a fill notes the token before it reads the database, and is refused when another one stands afterwards;
- a token that is lost, by a restart or by its time, is never made again: a group can lose entries, not regain old ones.

With replicas a version also holds a floor: the primary's log position, asked after the token was made. A change that
was dropped before the token was made lies below it, and only a node that has come so far may fill an entry: a replica
that lags cannot put back what a drop has taken away. Each entry names the position of the node it was read from, and
who has written is served only by entries that are at least as new.

Entries are listed in Redis with their sizes, and the list is kept under a bound, so that the server never has to evict
anything: locks, limits and markers of sessions live beside them. No clinical text comes here.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

import structlog
from prometheus_client import Counter
from redis.asyncio import Redis

from amrutam.storage.breaker import RedisAway
from amrutam.storage.entries import MOST_BYTES, Entries, Stored, Version
from amrutam.storage.line import Line
from amrutam.storage.memory import Entry, Memory, Remembered
from amrutam.storage.nodes import Nodes
from amrutam.storage.pool import Connection, DatabaseUnavailable
from amrutam.telemetry import CACHE_FILLS, CACHE_READS

__all__ = ["SEARCH_GROUP", "Cache", "Entry", "Fill", "doctor_group", "groups_of", "slots_group"]

Fill = Callable[[Connection], Awaitable[bytes | None]]
"""Makes the body from the database; None when there is no such thing."""

# That there is nothing is remembered for this long, in seconds.
NEGATIVE_TTL = 5.0
# Of its whole time an entry may spend this share, and at most so many seconds, in a process's memory.
MEMORY_SHARE = 0.25
MEMORY_TTL = 5.0

log = structlog.get_logger()

SEARCH_GROUP = "doctors"


def doctor_group(doctor_id: UUID | str) -> str:
    """The doctor's profile."""
    return f"doctor/{doctor_id}"


def slots_group(doctor_id: UUID | str) -> str:
    """The doctor's slots, in every range and zone."""
    return f"slots/{doctor_id}"


def reviews_group(doctor_id: UUID | str) -> str:
    """What patients thought of the doctor, in every page."""
    return f"reviews/{doctor_id}"


def groups_of(event_type: str, subject: UUID, data: str) -> Sequence[str]:
    """What a fact makes stale. Hours hold the zone that profile and search show."""
    match event_type.partition(".")[0]:
        case "doctor":
            return (doctor_group(subject), slots_group(subject), reviews_group(subject), SEARCH_GROUP)
        case "availability":
            return (doctor_group(subject), slots_group(subject), SEARCH_GROUP)
        case "review":  # the rating is in the profile and in search
            doctor_id = json.loads(data)["doctor_id"]
            return (reviews_group(doctor_id), doctor_group(doctor_id), SEARCH_GROUP)
        case "booking":
            return (slots_group(json.loads(data)["doctor_id"]),)
        case _:
            return ()


class Cache:
    """Reads through memory and Redis. Without a line there is no memory, as in a process that only drops."""

    def __init__(self, redis: Redis, nodes: Nodes, line: Line | None = None, *, most_bytes: int = MOST_BYTES) -> None:
        self._nodes = nodes
        self._memory = Memory(line or Line(redis))  # which was not started
        self._entries = Entries(redis, most_bytes)
        self._flights: dict[tuple[str, str, bytes, int], asyncio.Task[Remembered]] = {}

    async def get(self, group: str, key: str, ttl: float, fill: Fill, at_least: int = 0) -> Entry | None:
        """What `fill` makes, from a state of the database that is at most `ttl` seconds old.

        It is never from before the group was last invalidated, nor from a node that has not come to the log position
        `at_least`. Concurrent misses in this process share one fill. Raises what `fill` raises.
        """
        known = self._memory.find(group, key)
        if known and known.position >= at_least:
            _count(CACHE_READS, group, "memory")
            return known.entry
        watch = self._memory.watch(group)
        try:
            found = await self._fetch(group, key, ttl, fill, at_least)
            self._memory.keep(watch, key, found)
            return found.entry
        finally:
            self._memory.unwatch(watch)

    async def invalidate(self, *groups: str) -> None:
        """Drop every entry of these groups. With Redis away nothing happens: the relay does it once it is back."""
        self.forget(*groups)
        try:
            await self._entries.drop_if_there(groups)
        except RedisAway:
            log.debug("cache.not_invalidated", groups=groups)

    async def invalidate_surely(self, *groups: str) -> None:
        """Drop every entry of these groups. Raises RedisError."""
        self.forget(*groups)
        await self._entries.drop(groups)

    def forget(self, *groups: str) -> None:
        """Forget what this process remembers of these groups: for who had them changed elsewhere, and was told so."""
        for group in groups:
            self._memory.drop(group)

    async def ping(self) -> None:
        """Raises RedisError while Redis is away."""
        await self._entries.ping()

    async def close(self) -> None:
        """Give up what is being filled, and the connections."""
        for flight in self._flights.values():
            flight.cancel()
        await asyncio.gather(*self._flights.values(), return_exceptions=True)
        await self._entries.close()

    async def _fetch(self, group: str, key: str, ttl: float, fill: Fill, at_least: int) -> Remembered:
        """From Redis, else filled."""
        try:
            version, stored = await self._entries.find(group, key)
            if stored and stored.position >= at_least:
                _count(CACHE_READS, group, "hit")
                return _remembered(stored.entry, stored.position, ttl)
            version = await self._with_floor(group, version or await self._entries.begin(group))
        except RedisAway:
            _count(CACHE_READS, group, "away")
            return await self._filled(fill, at_least, ttl)
        _count(CACHE_READS, group, "stale" if stored else "miss")
        if version is None:  # dropped within this call: nothing can be said of a fill that is under way
            return await self._filled(fill, at_least, 0)
        standing = version

        async def fill_and_store() -> Remembered:
            filled = await self._filled(fill, max(at_least, standing.floor), ttl)
            whole = _life(filled.entry, ttl)
            result = await self._store(group, key, standing, filled, whole - _memory_life(whole))
            _count(CACHE_FILLS, group, result)
            return filled if result == "stored" else filled._replace(until=0)

        return await self._share((group, key, standing.token, at_least), fill_and_store)

    async def _with_floor(self, group: str, version: Version | None) -> Version | None:
        """The version with its floor, where replicas may fill it. None where it stands no more, or nobody knows.

        The position is asked after the token is seen to stand: what was dropped before lies below it, and what is
        dropped later takes the token away. Raises RedisAway.
        """
        if version is None or version.floor or not self._nodes.replicated:
            return version
        try:
            floor = await self._nodes.position()
        except DatabaseUnavailable:  # the primary; a replica may still answer, and nothing is kept of it
            return None
        return await self._entries.raise_floor(group, version, floor)

    async def _filled(self, fill: Fill, at_least: int, ttl: float) -> Remembered:
        """Read now, to be good for `ttl` seconds in memory and Redis together."""
        read = await self._nodes.read(fill, at_least)
        return _remembered(_entry(read.value), read.position, ttl)

    async def _store(self, group: str, key: str, version: Version, filled: Remembered, life: float) -> str:
        """The result's name in the metrics."""
        try:
            return await self._entries.store(group, key, version, Stored(filled.entry, filled.position), life)
        except RedisAway:
            return "away"

    async def _share(
        self, place: tuple[str, str, bytes, int], lead: Callable[[], Coroutine[Any, Any, Remembered]]
    ) -> Remembered:
        """Join the fill that is under way for the same version, or lead one.

        A fill is nobody's: it goes on when the caller who led it is gone. Who joined one that failed tries once more.
        """
        joined = self._flights.get(place)
        if joined is None:
            return await asyncio.shield(self._lead(place, lead))
        try:
            return await asyncio.shield(joined)
        except Exception:  # noqa: BLE001 - whatever it was, it was another's failure
            return await asyncio.shield(self._flights.get(place) or self._lead(place, lead))

    def _lead(
        self, place: tuple[str, str, bytes, int], lead: Callable[[], Coroutine[Any, Any, Remembered]]
    ) -> "asyncio.Task[Remembered]":
        flight = self._flights[place] = asyncio.create_task(lead())

        def landed(done: "asyncio.Task[Remembered]") -> None:
            del self._flights[place]
            if not done.cancelled():
                done.exception()  # it may be that nobody waits any more

        flight.add_done_callback(landed)
        return flight


def _entry(body: bytes | None) -> Entry | None:
    """The body with its tag, which is a hash: equal bytes, equal tags, in every process."""
    return None if body is None else Entry(f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"', body)


def _life(entry: Entry | None, ttl: float) -> float:
    return ttl if entry else min(ttl, NEGATIVE_TTL)


def _memory_life(whole: float) -> float:
    return min(MEMORY_TTL, whole * MEMORY_SHARE)


def _remembered(entry: Entry | None, position: int, ttl: float) -> Remembered:
    return Remembered(entry, position, time.monotonic() + _memory_life(_life(entry, ttl)))


@lru_cache(maxsize=256)
def _counter(counter: Counter, name: str, result: str) -> Counter:
    return counter.labels(name, result)


def _count(counter: Counter, group: str, result: str) -> None:
    """The group's kind is the label: `slots` of `slots/<id>`."""
    _counter(counter, group.partition("/")[0], result).inc()
