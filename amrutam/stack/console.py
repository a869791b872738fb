"""How the stack speaks to the person who started it."""

import sys
import time
from contextlib import suppress
from typing import TextIO

# Where lines cannot rewrite themselves (a log file, CI), progress is repeated no more often than this.
QUIET_SECONDS = 20.0


class Console:
    """Lines with the seconds since the start; progress that rewrites its line on a terminal."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._began = time.monotonic()
        self._last_progress = self._began
        self._open_line = False

    def say(self, text: str) -> None:
        """One lasting line, stamped."""
        self._write(f"{self._stamp()} {text}\n")

    def plain(self, text: str) -> None:
        """Text as it is, for tables and messages."""
        self._write(f"{text}\n")

    def progress(self, text: str) -> None:
        """What is going on; replaced by the next line on a terminal, a line every 20 s elsewhere."""
        now = time.monotonic()
        if self._terminal:
            self._write(f"{self._stamp()} {text}")
            self._open_line = True
        elif now - self._last_progress >= QUIET_SECONDS:
            self._last_progress = now
            self.say(text)

    def _stamp(self) -> str:
        return f"[{time.monotonic() - self._began:6.1f} s]"

    def _write(self, text: str) -> None:
        erase = "\r\x1b[2K" if self._open_line else ""
        self._open_line = False
        with suppress(OSError):  # the terminal was closed: what is under way goes on without a witness
            self._out.write(erase + text)
            self._out.flush()
