"""What a process remembers of Redis, as long as the line stands that tells of every change.

It is bounded in entries and bytes, and every entry has its end. An answer from here costs no round trip.
"""

import time
from collections import OrderedDict
from typing import NamedTuple

from amrutam.storage.line import Line

MOST_ENTRIES = 20_000
MOST_BYTES = 64 * 1024 * 1024
# Of an entry beside its body: keys, numbers, places in dictionaries.
OVERHEAD_BYTES = 500

NEWS = "drop"


class Entry(NamedTuple):
    """A ready body and its entity tag."""

    etag: str
    body: bytes


class Remembered(NamedTuple):
    """An entry, None where it is known that there is nothing, and the log position of the node it was read from."""

    entry: Entry | None
    position: int
    until: float
    """By the monotonic clock, in seconds."""


class Watch:
    """Held while something is fetched; not good any more once its group was dropped."""

    __slots__ = ("good", "group")

    def __init__(self, group: str, *, good: bool) -> None:
        self.group = group
        self.good = good


class Memory:
    """Entries by group and key. Dropped by group: here, and by news on the line."""

    def __init__(self, line: Line, most_entries: int = MOST_ENTRIES, most_bytes: int = MOST_BYTES) -> None:
        self._line = line
        self._most_entries = most_entries
        self._most_bytes = most_bytes
        self._bytes = 0
        self._entries: OrderedDict[tuple[str, str], Remembered] = OrderedDict()
        self._keys: dict[str, set[str]] = {}
        self._watches: dict[str, set[Watch]] = {}
        line.listen(NEWS, self._hear, self.forget)

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, group: str, key: str) -> Remembered | None:
        """What is remembered and good still."""
        place = (group, key)
        found = self._entries.get(place)
        if found is None:
            return None
        if found.until <= time.monotonic() or not self._line.stands:
            self._remove(place)
            return None
        self._entries.move_to_end(place)
        return found

    def watch(self, group: str) -> Watch:
        """Begin to fetch something of this group. `keep` or `unwatch` ends it."""
        watch = Watch(group, good=self._line.stands)
        self._watches.setdefault(group, set()).add(watch)
        return watch

    def unwatch(self, watch: Watch) -> None:
        """The fetching is over. May be called again."""
        watches = self._watches.get(watch.group)
        if watches:
            watches.discard(watch)
            if not watches:
                del self._watches[watch.group]

    def keep(self, watch: Watch, key: str, remembered: Remembered) -> None:
        """Remember what was fetched under this watch, unless its group was dropped since, or news may be missing."""
        self.unwatch(watch)
        if not (watch.good and self._line.stands) or remembered.until <= time.monotonic():
            return
        place = (watch.group, key)
        self._remove(place)
        self._entries[place] = remembered
        self._keys.setdefault(watch.group, set()).add(key)
        self._bytes += _size(remembered)
        while len(self._entries) > self._most_entries or self._bytes > self._most_bytes:
            self._remove(next(iter(self._entries)))

    def drop(self, group: str) -> None:
        """Forget a group; what is being fetched of it will not be kept."""
        for watch in self._watches.get(group, ()):
            watch.good = False
        for key in list(self._keys.get(group, ())):
            self._remove((group, key))

    def forget(self) -> None:
        """Forget everything: news may have been missed."""
        for watches in self._watches.values():
            for watch in watches:
                watch.good = False
        self._entries.clear()
        self._keys.clear()
        self._bytes = 0

    def _hear(self, news: bytes) -> None:
        for group in news.decode().split(" "):
            self.drop(group)

    def _remove(self, place: tuple[str, str]) -> None:
        removed = self._entries.pop(place, None)
        if removed is None:
            return
        self._bytes -= _size(removed)
        keys = self._keys[place[0]]
        keys.discard(place[1])
        if not keys:
            del self._keys[place[0]]


def _size(remembered: Remembered) -> int:
    return OVERHEAD_BYTES + (len(remembered.entry.body) if remembered.entry else 0)
