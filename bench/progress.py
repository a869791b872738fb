"""How far a long piece of work is: one line on stderr that rewrites itself, plain lines where it cannot."""

import sys
import time
from typing import TextIO

# Where lines cannot rewrite themselves, one this often.
QUIET_SECONDS = 10.0
WIDTH = 30


class Progress:
    """Of some work that is counted in parts, with the rows that were written meanwhile."""

    def __init__(self, what: str, parts: int, out: TextIO = sys.stderr) -> None:
        self._what = what
        self._parts = parts
        self._out = out
        self._terminal = out.isatty()
        self._began = self._last = time.monotonic()
        self._done = self._rows = 0

    def add(self, parts: int, rows: int) -> None:
        """So much more is done."""
        self._done += parts
        self._rows += rows
        now = time.monotonic()
        if self._terminal:
            self._out.write(f"\r\x1b[2K{self._line(now)}")
            self._out.flush()
        elif now - self._last >= QUIET_SECONDS:
            self._last = now
            self._say(self._line(now))

    def end(self) -> None:
        """The last line stays."""
        line = self._line(time.monotonic())
        self._out.write("\r\x1b[2K" if self._terminal else "")
        self._say(line)

    def _say(self, line: str) -> None:
        self._out.write(f"{line}\n")
        self._out.flush()

    def _line(self, now: float) -> str:
        share, seconds = self._done / self._parts, now - self._began
        filled = round(share * WIDTH)
        left = f"{seconds / share - seconds:,.0f} s left" if 0 < share < 1 else f"{seconds:,.0f} s"
        rows = f"{self._rows:,} rows, {self._rows / seconds:,.0f} a second, " if self._rows and seconds else ""
        bar = "█" * filled + "░" * (WIDTH - filled)
        return f"{self._what} {bar} {share:4.0%}  {rows}{left}"
