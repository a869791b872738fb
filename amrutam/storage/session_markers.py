"""Markers: what Redis knows of a session, so that checking an access token costs no database read.

`session/<id>` holds the version of the session's good access tokens, or `0` once it has ended. A marker that is missing
means that nothing is known, and PostgreSQL is asked. A marker only ever rises, and `0` is final, so that the order in
which a slow fill, a change of roles and an end arrive does not matter. Markers outlive every access token that they
speak of. Who ends a session writes its row first and the marker after; the relay repeats it until it is done. What
raises a marker tells every process that remembers it (`session_memory.py`).
"""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from amrutam.domain.errors import TokenExpired, Unauthenticated
from amrutam.domain.sessions import Standing, stand
from amrutam.storage import sessions
from amrutam.storage.breaker import RedisAway
from amrutam.storage.line import CHANNEL
from amrutam.storage.pool import Database
from amrutam.storage.scripts import Scripts
from amrutam.storage.session_memory import NEWS, SessionMemory

# Over the longest that a request may take to write what it has read.
MARGIN = timedelta(seconds=60)

RAISE = """
local known, version = redis.call('GET', KEYS[1]), ARGV[1]
if known ~= '0' and (not known or version == '0' or tonumber(known) < tonumber(version)) then
    redis.call('SET', KEYS[1], version, 'PX', ARGV[2])
    redis.call('PUBLISH', ARGV[3], ARGV[4])
end
return 1
"""


def marker_key(session_id: UUID) -> str:
    """Where the marker of a session lies in Redis."""
    return f"session/{session_id}"


class SessionMarkers:
    """Checks that sessions are live, and says so when they are not any more."""

    def __init__(
        self, scripts: Scripts, db: Database, token_life: timedelta, memory: SessionMemory | None = None
    ) -> None:
        self._scripts = scripts
        self._db = db
        self._memory = memory
        self._life = round((token_life + MARGIN).total_seconds() * 1000)

    async def check(self, session_id: UUID, version: int, marker: bytes | None) -> None:
        """Whether an access token of this session and version is good, by the marker that was read (None: none was).

        Raises Unauthenticated when the session has ended, TokenExpired when the token must be exchanged, and
        DatabaseUnavailable when the marker does not tell and PostgreSQL cannot be asked.
        """
        standing = stand(version, marker)
        if standing is Standing.UNKNOWN:
            standing = stand(version, b"%d" % await self._ask_database(session_id))
        if standing is Standing.OUTDATED:
            raise TokenExpired
        if standing is not Standing.LIVE:
            raise Unauthenticated("The session has ended; sign in again.")

    async def note(self, versions: Mapping[UUID, int]) -> None:
        """Say which version of tokens is good for each session. With Redis away nothing happens: the relay does it."""
        try:
            await self.note_surely(versions)
        except RedisAway:
            return

    async def note_surely(self, versions: Mapping[UUID, int]) -> None:
        """The same. Raises RedisAway."""
        if self._memory:
            for session_id, version in versions.items():
                self._memory.note(session_id, version)
        for session_id, version in versions.items():
            news = f"{NEWS} {session_id} {version}"
            await self._scripts.run(RAISE, [marker_key(session_id)], version, self._life, CHANNEL, news)

    async def _ask_database(self, session_id: UUID) -> int:
        async with self._db.connection() as db:
            version = await sessions.token_version(db, session_id)
        await self.note({session_id: version})
        return version
