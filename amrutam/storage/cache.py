"""Ready answers in Redis, cache-aside. The truth is in PostgreSQL: without Redis all is right, and slower.

An entry belongs to a group, such as `slots/<doctor's id>`. The group's version is a random token; an entry carries the
token under which it was filled and is a hit only while that token stands. Hence:

- a hit is one MGET, and no script; what is asked in one turn of the event loop shares it;
- dropping the token drops every entry of the group at once; their memory goes with their time to live;
- a fill notes the token before it reads the database, and is refused when another one stands afterwards;
- a token that is lost, by eviction or a restart, is never made again: a group can lose entries, not regain old ones.

No clinical text comes here.
"""

import asyncio
import hashlib
import json
import random
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeVar, cast
from uuid import UUID

import structlog
from redis.asyncio import Redis

from amrutam.storage.breaker import Breaker, RedisAway
from amrutam.storage.together import Together
from amrutam.telemetry import CACHE_FILLS, CACHE_READS

T = TypeVar("T")

Fill = Callable[[], Awaitable[bytes | None]]
"""Makes the body from the database; None when there is no such thing."""

# Entries live up to a fifth shorter than asked, so that those made together do not end together.
JITTER = 0.2
# That there is nothing is remembered for this long, in seconds.
NEGATIVE_TTL = 5.0
# A version outlives its entries by this: the longest that a fill may take, in seconds.
FILL_SECONDS = 60

_TOKEN = 16
_ETAG = 26

_STORE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return 1
"""

log = structlog.get_logger()

SEARCH_GROUP = "doctors"


def doctor_group(doctor_id: UUID | str) -> str:
    """The doctor's profile."""
    return f"doctor/{doctor_id}"


def slots_group(doctor_id: UUID | str) -> str:
    """The doctor's slots, in every range and zone."""
    return f"slots/{doctor_id}"


def groups_of(event_type: str, subject: UUID, data: str) -> Sequence[str]:
    """What a fact makes stale. Hours hold the zone that profile and search show."""
    match event_type.partition(".")[0]:
        case "doctor" | "availability":
            return (doctor_group(subject), slots_group(subject), SEARCH_GROUP)
        case "booking":
            return (slots_group(json.loads(data)["doctor_id"]),)
        case _:
            return ()


class Entry(NamedTuple):
    """A ready body and its entity tag."""

    etag: str
    body: bytes


class Cache:
    """Reads through Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._store_script = redis.register_script(_STORE)
        self._breaker = Breaker()
        self._reads = Together(self._read)
        self._flights: dict[tuple[str, bytes], asyncio.Task[Entry | None]] = {}

    async def get(self, group: str, key: str, ttl: float, fill: Fill) -> Entry | None:
        """What `fill` makes, from at most `ttl` seconds ago, and never from before the group was last invalidated.

        Concurrent misses in this process share one fill. Raises what `fill` raises.
        """
        name = group.partition("/")[0]
        version_key, entry_key = _keys(group, key)
        try:
            version, stored = await self._reads.ask((version_key, entry_key))
            if version and stored and stored.startswith(version):
                CACHE_READS.labels(name, "hit").inc()
                return _unpack(stored)
            version = version or await self._breaker.ask(lambda: self._begin(version_key))
        except RedisAway:
            CACHE_READS.labels(name, "away").inc()
            return _entry(await fill())
        CACHE_READS.labels(name, "miss").inc()
        if version is None:  # dropped twice within this call: nothing can be said of a fill that is under way
            return _entry(await fill())

        async def fill_and_store() -> Entry | None:
            entry = _entry(await fill())
            life = ttl if entry else min(ttl, NEGATIVE_TTL)
            CACHE_FILLS.labels(name, await self._store(version_key, entry_key, version, entry, life)).inc()
            return entry

        return await self._share((entry_key, version), fill_and_store)

    async def invalidate(self, *groups: str) -> None:
        """Drop every entry of these groups. With Redis away nothing happens: the relay does it once it is back."""
        try:
            await self._breaker.ask(lambda: self._drop(groups))
        except RedisAway:
            log.debug("cache.not_invalidated", groups=groups)

    async def invalidate_surely(self, *groups: str) -> None:
        """Drop every entry of these groups. Raises RedisError."""
        await self._drop(groups)

    async def ping(self) -> None:
        """Raises RedisError while Redis is away."""
        await self._redis.execute_command("PING")

    async def close(self) -> None:
        """Give up what is being filled, and the connections."""
        for flight in self._flights.values():
            flight.cancel()
        await asyncio.gather(*self._flights.values(), return_exceptions=True)
        await self._redis.aclose()

    async def _read(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[bytes | None, bytes | None]]:
        """Version and entry of each pair of keys. Different groups in one MGET: it takes one server, not a cluster.

        Raises RedisAway.
        """
        keys = list(chain.from_iterable(pairs))
        values = cast("list[bytes | None]", await self._breaker.ask(lambda: self._redis.mget(keys)))
        return list(zip(values[::2], values[1::2], strict=True))

    async def _begin(self, version_key: str) -> bytes | None:
        """The group's version, made if it has none. None when it was dropped at this very moment."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(version_key, secrets.token_bytes(_TOKEN), nx=True, ex=FILL_SECONDS)
        pipe.get(version_key)
        return (await pipe.execute())[1]

    async def _store(self, version_key: str, entry_key: str, version: bytes, entry: Entry | None, ttl: float) -> str:
        """Keep the entry if its version still stands; returns the result's name in the metrics."""
        body = version + (entry.etag.encode() + entry.body if entry else b"")
        life = round(ttl * 1000 * random.uniform(1 - JITTER, 1))  # noqa: S311 - spreads ends, guards nothing
        arguments = [version, body, life, life + FILL_SECONDS * 1000]
        try:
            stored = await self._breaker.ask(lambda: self._store_script(keys=[version_key, entry_key], args=arguments))
        except RedisAway:
            return "away"
        return "stored" if stored else "refused"

    async def _drop(self, groups: Sequence[str]) -> None:
        await self._redis.unlink(*(_version_key(group) for group in groups))

    async def _share(
        self, place: tuple[str, bytes], lead: Callable[[], Coroutine[Any, Any, Entry | None]]
    ) -> Entry | None:
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
        self, place: tuple[str, bytes], lead: Callable[[], Coroutine[Any, Any, Entry | None]]
    ) -> "asyncio.Task[Entry | None]":
        flight = self._flights[place] = asyncio.create_task(lead())

        def landed(done: "asyncio.Task[Entry | None]") -> None:
            del self._flights[place]
            if not done.cancelled():
                done.exception()  # it may be that nobody waits any more

        flight.add_done_callback(landed)
        return flight


def _version_key(group: str) -> str:
    """Its entries' keys begin with it, so that a group is seen together."""
    return f"cache:{{{group}}}"


def _keys(group: str, key: str) -> tuple[str, str]:
    version_key = _version_key(group)
    return version_key, f"{version_key}:{key}"


def _entry(body: bytes | None) -> Entry | None:
    """The body with its tag, which is a hash: equal bytes, equal tags, in every process."""
    return None if body is None else Entry(f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"', body)


def _unpack(stored: bytes) -> Entry | None:
    """What lies after the token: nothing, or the tag and the body."""
    if len(stored) == _TOKEN:
        return None
    return Entry(stored[_TOKEN : _TOKEN + _ETAG].decode("ascii"), stored[_TOKEN + _ETAG :])
