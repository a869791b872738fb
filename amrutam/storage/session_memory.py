"""What this process remembers of sessions' markers, as long as the line stands that tells of every change of them.

A marker only rises and its end is final (`session_markers.py`), so news, answers and ends may come in any order.
"""

import time
from collections import OrderedDict
from typing import NamedTuple
from uuid import UUID

from amrutam.domain.sessions import ENDED
from amrutam.storage.line import Line

MOST_SESSIONS = 50_000
# However well the line stands, Redis is asked again after this, in seconds.
SECONDS = 10.0

NEWS = "session"


class _Known(NamedTuple):
    version: int
    until: float


class SessionMemory:
    """Versions of good access tokens by session."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._known: OrderedDict[UUID, _Known] = OrderedDict()
        self._forgotten = 0
        line.listen(NEWS, self._hear, self._forget)

    def find(self, session_id: UUID) -> bytes | None:
        """The session's marker, None where it must be asked for."""
        known = self._known.get(session_id)
        if known is None or known.until <= time.monotonic() or not self._line.stands:
            return None
        return b"%d" % known.version

    @property
    def ticket(self) -> int | None:
        """To be taken before a marker is asked for; None when the answer cannot be remembered."""
        return self._forgotten if self._line.stands else None

    def keep(self, session_id: UUID, marker: bytes, ticket: int | None) -> None:
        """Remember an answer, unless news may have been missed since its ticket was taken."""
        if ticket == self._forgotten and self._line.stands:
            self.note(session_id, int(marker))

    def note(self, session_id: UUID, version: int) -> None:
        """A version that is said to be good; the higher one stands, and an end in any case."""
        known = self._known.pop(session_id, None)
        if known and ENDED in {version, known.version}:
            version = ENDED
        elif known:
            version = max(version, known.version)
        self._known[session_id] = _Known(version, time.monotonic() + SECONDS)
        if len(self._known) > MOST_SESSIONS:
            self._known.popitem(last=False)

    def _hear(self, news: bytes) -> None:
        session_id, _, version = news.decode().partition(" ")
        self.note(UUID(session_id), int(version))

    def _forget(self) -> None:
        self._forgotten += 1
        self._known.clear()
