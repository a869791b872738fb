"""The entries of the cache in Redis: versions of groups, what was filled under them, and the list that bounds them.

A group's version is a random token and a floor. An entry carries its version's token, the log position of the node it
was read from, and, where there is something, its tag and its body.
"""

import random
import secrets
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple, cast

from redis.asyncio import Redis

from amrutam.storage.breaker import Breaker
from amrutam.storage.line import CHANNEL
from amrutam.storage.memory import NEWS, Entry
from amrutam.storage.together import Together

# Entries live up to a fifth shorter than asked, so that those made together do not end together.
JITTER = 0.2
# A version outlives its entries by this: the longest that a fill may take, in seconds.
FILL_SECONDS = 60
# What all entries may take together, and one of them.
MOST_BYTES = 192 * 1024 * 1024
MOST_ENTRY_BYTES = 1024 * 1024
# Beside its body an entry takes about this: its key twice, its place in the list.
OVERHEAD_BYTES = 400

_TOKEN = 16
_POSITION = 8
_HEAD = _TOKEN + _POSITION
_ETAG = 26
_LIST = "cache:entries"
_USED = "cache:bytes"

_BEGIN = """
redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2])
return redis.call('GET', KEYS[1])
"""

# A floor for a version that has none; the version that stands afterwards, if it is still of the same token.
_RAISE_FLOOR = """
local version = redis.call('GET', KEYS[1])
if not version or string.sub(version, 1, 16) ~= string.sub(ARGV[1], 1, 16) then return false end
if string.sub(version, 17) == string.rep('\\0', 8) then
  redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')
  return ARGV[1]
end
return version
"""

# Each member of the list is an entry's size, a space and its key; its score is the end of its time. What has ended
# leaves first, then what would end the soonest. An entry that was filled again is listed twice until then: the bound
# is never passed, only met a little early.
_STORE = """
local version = redis.call('GET', KEYS[1])
if not version or string.sub(version, 1, 16) ~= ARGV[1] then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local size, life = tonumber(ARGV[5]), tonumber(ARGV[3])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
local used = tonumber(redis.call('GET', KEYS[4]) or 0)
if redis.call('ZADD', KEYS[3], now + life, size .. ' ' .. KEYS[2]) == 1 then used = used + size end
local function strike(member, early)
  local gap = string.find(member, ' ', 1, true)
  if early then redis.call('UNLINK', string.sub(member, gap + 1)) end
  redis.call('ZREM', KEYS[3], member)
  used = used - tonumber(string.sub(member, 1, gap - 1))
end
for _, member in ipairs(redis.call('ZRANGE', KEYS[3], '-inf', now, 'BYSCORE', 'LIMIT', 0, 16)) do strike(member) end
while used > tonumber(ARGV[6]) do
  local first = redis.call('ZRANGE', KEYS[3], 0, 0)
  if #first == 0 then used = 0 break end
  strike(first[1], true)
end
redis.call('SET', KEYS[4], string.format('%.0f', used))
return 1
"""

_DROP = """
redis.call('UNLINK', unpack(KEYS))
redis.call('PUBLISH', ARGV[1], ARGV[2])
return 1
"""


class Version(NamedTuple):
    """What stands for a group: a random token, and the position below which no node may fill it, 0 while unknown."""

    token: bytes
    floor: int


class Stored(NamedTuple):
    """What is kept: an entry, None where it is known that there is nothing, and the position it was read at."""

    entry: Entry | None
    position: int


class Found(NamedTuple):
    """The version that stands for the group, and the entry if it was filled under that version; each may be missing."""

    version: Version | None
    stored: Stored | None


class Entries:
    """Entries in Redis. Where nothing else is said, RedisAway is raised while Redis is away."""

    def __init__(self, redis: Redis, most_bytes: int = MOST_BYTES) -> None:
        self._redis = redis
        self._most_bytes = most_bytes
        self._begin = redis.register_script(_BEGIN)
        self._raise_floor = redis.register_script(_RAISE_FLOOR)
        self._store = redis.register_script(_STORE)
        self._drop = redis.register_script(_DROP)
        self._breaker = Breaker()
        self._reads = Together(self._read)

    async def find(self, group: str, key: str) -> Found:
        """What there is."""
        version, stored = await self._reads.ask(_keys(group, key))
        if version is None:
            return Found(None, None)
        good = stored is not None and stored.startswith(version[:_TOKEN])
        return Found(_version(version), _stored(stored) if stored and good else None)

    async def begin(self, group: str) -> Version | None:
        """The group's version, made if it has none. None when it was dropped at this very moment."""
        fresh = secrets.token_bytes(_TOKEN) + bytes(_POSITION)
        stored = await self._breaker.ask(lambda: self._begin(keys=[_version_key(group)], args=[fresh, FILL_SECONDS]))
        return _version(stored) if stored else None

    async def raise_floor(self, group: str, version: Version, floor: int) -> Version | None:
        """The version with a floor: this one, or one that another process gave it. None when it stands no more."""
        raised = version.token + floor.to_bytes(_POSITION)
        stored = await self._breaker.ask(lambda: self._raise_floor(keys=[_version_key(group)], args=[raised]))
        return _version(stored) if stored else None

    async def store(self, group: str, key: str, version: Version, what: Stored, ttl: float) -> str:
        """Keep it for `ttl` seconds if the version still stands: `stored`, else `refused` or `too_large`."""
        entry = what.entry
        body = version.token + what.position.to_bytes(_POSITION) + (entry.etag.encode() + entry.body if entry else b"")
        if len(body) > MOST_ENTRY_BYTES:
            return "too_large"
        life = round(ttl * 1000 * random.uniform(1 - JITTER, 1))  # noqa: S311 - spreads ends, guards nothing
        size = len(body) + OVERHEAD_BYTES
        keys = [*_keys(group, key), _LIST, _USED]
        arguments = [version.token, body, life, life + FILL_SECONDS * 1000, size, self._most_bytes]
        stored = await self._breaker.ask(lambda: self._store(keys=keys, args=arguments))
        return "stored" if stored else "refused"

    async def drop(self, groups: Sequence[str]) -> None:
        """Drop groups here and, by the news of it, in every process's memory. Raises RedisError."""
        news = f"{NEWS} {' '.join(groups)}"
        await self._drop(keys=[_version_key(group) for group in groups], args=[CHANNEL, news])

    async def drop_if_there(self, groups: Sequence[str]) -> None:
        """The same; at once RedisAway while Redis was away a moment ago."""
        await self._breaker.ask(lambda: self.drop(groups))

    async def ping(self) -> None:
        """Raises RedisError while Redis is away."""
        await self._redis.execute_command("PING")

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()

    async def _read(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[bytes | None, bytes | None]]:
        """Version and entry of each pair of keys. Different groups in one MGET: it takes one server, not a cluster."""
        keys = list(chain.from_iterable(pairs))
        values = cast("list[bytes | None]", await self._breaker.ask(lambda: self._redis.mget(keys)))
        return list(zip(values[::2], values[1::2], strict=True))


def _version_key(group: str) -> str:
    """Its entries' keys begin with it, so that a group is seen together."""
    return f"cache:{{{group}}}"


def _keys(group: str, key: str) -> tuple[str, str]:
    version_key = _version_key(group)
    return version_key, f"{version_key}:{key}"


def _version(stored: bytes) -> Version:
    return Version(stored[:_TOKEN], int.from_bytes(stored[_TOKEN:_HEAD]))


def _stored(stored: bytes) -> Stored:
    position = int.from_bytes(stored[_TOKEN:_HEAD])
    if len(stored) == _HEAD:
        return Stored(None, position)
    etag = stored[_HEAD : _HEAD + _ETAG].decode("ascii")
    return Stored(Entry(etag, stored[_HEAD + _ETAG :]), position)
