"""How a foreground program under `make` meets Ctrl-C and SIGTERM."""

import asyncio
import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

PARENT_POLL_SECONDS = 0.3


@contextmanager
def own_foreground_group() -> Generator[None]:
    """Be the terminal's foreground group by ourselves, so that Ctrl-C reaches us alone.

    make would die of it and report a failure for an orderly stop. Without a terminal nothing happens.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
    except OSError:
        yield
        return
    before = os.getpgrp()
    try:
        if os.tcgetpgrp(terminal) != before or before == os.getpid():
            yield
            return
        # A background group that writes the terminal's settings is stopped by SIGTTOU; and Ctrl-Z would stop us where
        # make, which waits for us, does not see it and give the terminal back to the shell.
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        signal.signal(signal.SIGTSTP, signal.SIG_IGN)
        os.setpgid(0, 0)
        os.tcsetpgrp(terminal, os.getpid())
        try:
            yield
        finally:
            with suppress(OSError):  # the terminal may have been closed meanwhile
                os.tcsetpgrp(terminal, before)
    finally:
        os.close(terminal)


class StopRequests:
    """Calls `first` at the first Ctrl-C, SIGTERM or hang-up, and `again` at every further one."""

    def __init__(self, first: Callable[[], object], again: Callable[[], object]) -> None:
        self._first = first
        self._again = again
        self._asked = False
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.ask)
        self._watching = asyncio.create_task(self._watch_make())

    def ask(self) -> None:
        """As a signal does."""
        if self._asked:
            self._again()
        else:
            self._asked = True
            self._first()

    def close(self) -> None:
        """End the watch of our parent."""
        self._watching.cancel()

    async def _watch_make(self) -> None:
        """make, interrupted alone, waits for us and does not pass it on: take it as said to us."""
        parent = os.getppid()
        if not _is_make(parent):
            return
        while not _interrupted(parent):  # noqa: ASYNC110 - another process's state raises no event here
            await asyncio.sleep(PARENT_POLL_SECONDS)
        if not self._asked:
            self.ask()


def _is_make(pid: int) -> bool:
    try:
        return psutil.Process(pid).name() in {"make", "gmake"}
    except psutil.Error:
        return False


def _interrupted(pid: int) -> bool:
    """Whether this process handles SIGINT just now, as Linux tells: it is blocked meanwhile."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    blocked = next((line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:")), "0")
    return bool(int(blocked, 16) >> (signal.SIGINT - 1) & 1)
