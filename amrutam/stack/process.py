"""One supervised server process: started in its own session, logged, watched, stopped, found again."""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from amrutam.stack.account import Account
from amrutam.stack.errors import StackError

POLL_SECONDS = 0.02
KILL_SECONDS = 10.0
# A log that has grown beyond this makes room at the next start; one old one is kept.
LOG_BYTES = 10_000_000
# Of each log line that is shown at the terminal.
LINE_CHARACTERS = 300
# A clock that was set since the start moves the start times that the system reports by a little.
START_TIME_TOLERANCE = 2.0


@dataclass(frozen=True)
class Program:
    """What is run and how it is asked to end: `stop_signals` one after another, each with `patience` seconds."""

    name: str
    command: Sequence[str]
    log: Path
    pid_file: Path
    environment: Mapping[str, str] | None = None
    folder: Path | None = None
    account: Account | None = None
    stop_signals: Sequence[signal.Signals] = (signal.SIGTERM,)
    patience: float = 8.0


class Process:
    """A program that runs once at a time."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._child: subprocess.Popen[bytes] | None = None
        self._log_began = 0

    def spawn(self) -> None:
        """Start it, detached from our terminal and process group, and note its pid."""
        program = self.program
        if program.log.exists() and program.log.stat().st_size > LOG_BYTES:
            program.log.replace(program.log.with_suffix(".old.log"))
        with program.log.open("ab") as log:
            self._log_began = log.tell()
            self._child = subprocess.Popen(  # noqa: S603 - our own commands
                list(program.command),
                env=None if program.environment is None else dict(program.environment),
                cwd=program.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=program.account.uid if program.account else None,
                group=program.account.gid if program.account else None,
                extra_groups=[] if program.account else None,
            )
        self._note_pid(self._child.pid)

    @property
    def pid(self) -> int:
        """Of the running process. Raises StackError when it was never started."""
        if self._child is None:
            raise StackError(f"{self.program.name} has not been started.")
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._child is not None and self._child.poll() is None

    @property
    def exit_status(self) -> int | None:
        """As `subprocess` gives it; None while it runs."""
        return self._child.poll() if self._child else None

    async def until(self, ready: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Wait until it is ready. Raises StackError with the end of its log when it ends first or takes too long."""
        deadline = time.monotonic() + seconds
        while not await ready():
            if not self.alive:
                raise StackError(self.obituary())
            if time.monotonic() > deadline:
                raise StackError(f"{self.program.name} was not ready after {seconds:.0f} s.\n{self.last_lines()}")
            await asyncio.sleep(POLL_SECONDS)

    async def finished(self, seconds: float) -> None:
        """Wait until it has ended by itself. Raises StackError when it takes longer."""
        if not await _wait(lambda: not self.alive, seconds):
            raise StackError(f"{self.program.name} was not done after {seconds:.0f} s.\n{self.last_lines()}")

    async def stop(self) -> None:
        """Ask it to end, more firmly each time, and return when it is gone. Does nothing when it does not run."""
        if self._child is not None and self.alive:
            ending = psutil.Process(self._child.pid)
            await _end(ending, self.program.stop_signals, self.program.patience, lambda: not self.alive)
        self.program.pid_file.unlink(missing_ok=True)

    async def kill(self) -> None:
        """`kill -9`, as a crash would, and return when it and its children are gone."""
        victims = self.kill_now()
        await _wait(lambda: not self.alive and all(_gone(v) for v in victims), KILL_SECONDS)

    def kill_now(self) -> list[psutil.Process]:
        """`kill -9` to it and its children, without waiting. The killed."""
        victims = _family(psutil.Process(self._child.pid)) if self._child is not None and self.alive else []
        _kill(victims)
        return victims

    def obituary(self) -> str:
        """Who ended, how, and the end of its log."""
        return f"{self.program.name} ended by itself (status {self.exit_status}).\n{self.last_lines()}"

    def last_lines(self, count: int = 15) -> str:
        """The end of what it logged since it was started, and where the rest is."""
        with self.program.log.open("rb") as log:
            log.seek(self._log_began)
            text = log.read().decode(errors="replace")
        lines = "\n".join(f"    {line[:LINE_CHARACTERS]}" for line in text.splitlines()[-count:])
        return f"The end of {self.program.log}:\n{lines}"

    def _note_pid(self, pid: int) -> None:
        program = self.program
        try:
            started, executable = psutil.Process(pid).create_time(), psutil.Process(pid).exe()
        except psutil.NoSuchProcess:  # it has ended already, which `until` tells with its last words
            return
        note = _Note(program.name, pid, started, executable, list(program.stop_signals), program.patience)
        program.pid_file.write_text(json.dumps(asdict(note)))


async def stop_leftovers(run: Path) -> list[str]:
    """Stop what an earlier launcher left running, the last started first; answer the names.

    A number that belongs to a stranger's process by now is left alone.
    """
    found = _leftovers(run)
    for note, process in found:
        signals = [signal.Signals(number) for number in note.stop_signals]
        await _end(process, signals, note.patience, lambda process=process: _gone(process))
    for file in run.glob("*.json"):  # noqa: ASYNC240 - a handful of small files
        file.unlink()
    return [note.name for note, _ in found]


def kill_leftovers(run: Path) -> None:
    """`kill -9` to what an earlier launcher left running on data that nobody wants any more."""
    for _, process in _leftovers(run):
        _kill(_family(process))


def _leftovers(run: Path) -> "list[tuple[_Note, psutil.Process]]":
    """The processes of the pid files that still run, the last started first."""
    files = run.glob("*.json")
    found = [(note, process) for file in files if (note := _read(file)) and (process := _same(note))]
    return sorted(found, key=lambda pair: pair[0].started, reverse=True)


@dataclass(frozen=True)
class _Note:
    """The pid file: which process it was, so that a later launcher knows it again and how to stop it."""

    name: str
    pid: int
    started: float
    executable: str
    stop_signals: list[int]
    patience: float


def _read(file: Path) -> _Note | None:
    try:
        return _Note(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _same(note: _Note) -> psutil.Process | None:
    try:
        process = psutil.Process(note.pid)
        same = abs(process.create_time() - note.started) < START_TIME_TOLERANCE
        return process if same and process.exe() == note.executable and not _gone(process) else None
    except psutil.Error:
        return None


async def _end(
    process: psutil.Process, stop_signals: Sequence[signal.Signals], patience: float, ended: Callable[[], bool]
) -> None:
    family = _family(process)
    for stop_signal in stop_signals:
        with suppress(ProcessLookupError):
            os.kill(process.pid, stop_signal)
        if await _wait(ended, patience):
            return
    _kill(family)
    await _wait(ended, KILL_SECONDS)


async def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
