"""Lines of the log, written once for each turn of the event loop: a busy process writes many, and each write costs.

A process that is killed loses the lines of one turn at most. Outside a loop, and from other threads, a line is written
at once.
"""

import asyncio
import atexit
import threading
from datetime import UTC, datetime
from typing import Any, TextIO

from pydantic_core import to_json


class Lines:
    """A file that gathers what is written to it. It can stand where structlog or logging want a file."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._gathered: list[str] = []
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        atexit.register(self._leave)

    def isatty(self) -> bool:
        """Whether a person reads along."""
        return self._out.isatty()

    def write(self, text: str) -> None:
        """Take text; it leaves at the end of this turn."""
        loop = self._turning()
        with self._guard:
            first = not self._gathered
            self._gathered.append(text)
        if loop is None:
            self._leave()
        elif first:
            loop.call_soon(self._leave)

    def flush(self) -> None:
        """Nothing: what was written leaves by itself."""

    def _turning(self) -> asyncio.AbstractEventLoop | None:
        """The loop that runs in this thread. Looked up once, as that asks the system for the process each time."""
        if self._thread == threading.get_ident() and self._loop and self._loop.is_running():
            return self._loop
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return None
        self._loop, self._thread = loop, threading.get_ident()
        return loop

    def _leave(self) -> None:
        with self._guard:
            gathered, self._gathered = self._gathered, []
            if gathered:
                self._out.write("".join(gathered))
                self._out.flush()


def json_line(event: str, level: str, fields: dict[str, Any]) -> str:
    """The line that structlog would write of this event, for the one that every request writes."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return f"{to_json({'event': event, **fields, 'level': level, 'timestamp': now}, fallback=repr).decode()}\n"
