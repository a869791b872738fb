"""The gateway's memory: one SQLite file, which outlives a `kill -9`."""

import asyncio
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

_SCHEMA = Path(__file__).with_name("schema.sql")
# Clocks are set now and then, which no timer hears of.
_LONGEST_REST = 30.0


class Store:
    """The database, for the one thread that everything here runs in. A change is on the disk before it is answered."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.db = sqlite3.connect(folder / "sandbox.sqlite3", isolation_level=None)
        self.db.row_factory = sqlite3.Row
        for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self.db.execute(f"PRAGMA {setting}")
        self.db.executescript(_SCHEMA.read_text())
        self._bells: list[asyncio.Event] = []

    @contextmanager
    def change(self) -> Generator[sqlite3.Connection]:
        """A transaction: all of it or nothing. Nobody may wait for anything within."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield self.db
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise
        for bell in self._bells:
            bell.set()

    def bell(self) -> asyncio.Event:
        """One that rings after every change."""
        bell = asyncio.Event()
        self._bells.append(bell)
        return bell

    def close(self) -> None:
        """Give the file back."""
        self.db.close()


def now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


def text(moment: datetime) -> str:
    """A moment as the database has it."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


async def rest(bell: asyncio.Event, until: str | None) -> None:
    """Until the bell rings or a moment of the database has come; some seconds at most."""
    left = (datetime.fromisoformat(until) - now()).total_seconds() if until else _LONGEST_REST
    with suppress(TimeoutError):
        await asyncio.wait_for(bell.wait(), min(max(left, 0), _LONGEST_REST))
    bell.clear()
