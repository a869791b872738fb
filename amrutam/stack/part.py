"""What every server has in common: a port, a process, and how they are started, stopped, killed and found again."""

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from amrutam.stack.account import Account
from amrutam.stack.folders import Folders
from amrutam.stack.ports import free_port, require_free
from amrutam.stack.process import Process, Program


class Part(ABC):
    """One server on one port of loopback. The port is fixed by the first start, so that clients find it again."""

    name: str
    port_variable: str
    stop_signals: Sequence[signal.Signals] = (signal.SIGTERM,)
    stop_seconds: float = 8
    ready_seconds: float = 30

    def __init__(self, folders: Folders, port: int) -> None:
        self._folders = folders
        self._file_name = self.name.lower().replace(" ", "-")
        self.port = port
        self.process: Process | None = None

    async def start(self) -> None:
        """Start it and wait until it answers.

        Raises StackError when its port is taken, it ends by itself or is not ready in time.
        """
        self.port = require_free(self.name, self.port_variable, self.port or free_port())
        process = self.process = Process(await self._prepare())
        process.spawn()
        await process.until(self._answers, self.ready_seconds)
        await self._complete()

    async def stop(self) -> None:
        """Ask it to end, more firmly each time, and return when it is gone."""
        if self.process:
            await self.process.stop()

    async def kill(self) -> None:
        """`kill -9`, as a crash would."""
        if self.process:
            await self.process.kill()

    async def restart(self) -> None:
        """Stop and start again on the same port with the same data."""
        await self.stop()
        await self.start()

    @abstractmethod
    async def _prepare(self) -> Program:
        """Make what it needs before it starts, and say how it is run."""

    @abstractmethod
    async def _answers(self) -> bool:
        """Whether it is ready for clients."""

    async def _complete(self) -> None:  # noqa: B027 - most parts have nothing to add
        """Make what can only be made once it runs."""

    def _program(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        account: Account | None = None,
    ) -> Program:
        return Program(
            name=self.name,
            command=command,
            log=self._folders.logs / f"{self._file_name}.log",
            pid_file=self._folders.run / f"{self._file_name}.json",
            environment={"PATH": os.defpath, **(environment or {})},
            folder=folder,
            account=account,
            stop_signals=self.stop_signals,
            patience=self.stop_seconds,
        )
