"""All servers together, in their order. `make up` and the tests start the same ones."""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import psutil

from amrutam.stack.account import forget_own_folder
from amrutam.stack.console import Console
from amrutam.stack.engine import Chosen, Kind, choose
from amrutam.stack.errors import StackError
from amrutam.stack.folders import Folders
from amrutam.stack.part import Part
from amrutam.stack.ports import LOOPBACK, Ports, Wanted, free_port, require_free
from amrutam.stack.postgres import APP, OWNER, Postgres
from amrutam.stack.process import kill_leftovers, stop_leftovers
from amrutam.stack.temporal import CliTemporal, OfficialTemporal, Temporal, TemporalUi
from amrutam.stack.valkey import Valkey

# How folders of test data are named, in the system's temporary folder.
SCRATCH = "amrutam-scratch"


@dataclass(frozen=True)
class Endpoints:
    """Where the servers are, as the application's processes want to know it."""

    database_url: str = field(repr=False)
    migration_database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    temporal_address: str
    temporal_ui_url: str | None

    def environment(self) -> dict[str, str]:
        """The same as environment variables."""
        names = {
            "DATABASE_URL": self.database_url,
            "MIGRATION_DATABASE_URL": self.migration_database_url,
            "REDIS_URL": self.redis_url,
            "TEMPORAL_ADDRESS": self.temporal_address,
        }
        return names | ({"TEMPORAL_UI_URL": self.temporal_ui_url} if self.temporal_ui_url else {})


@dataclass(frozen=True)
class External:
    """Real servers that somebody named; what is None is started here."""

    database_urls: tuple[str, str] | None = field(default=None, repr=False)
    redis_url: str | None = field(default=None, repr=False)
    temporal_address: str | None = None
    temporal_ui_url: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "External":
        """What the variables name. Raises StackError when only one of the two database URLs is set."""
        app, owner = environment.get("DATABASE_URL"), environment.get("MIGRATION_DATABASE_URL")
        if bool(app) != bool(owner):
            raise StackError(
                "Set both DATABASE_URL (the application's role) and MIGRATION_DATABASE_URL (the owner's role), or none."
            )
        return cls(
            database_urls=(app, owner) if app and owner else None,
            redis_url=environment.get("REDIS_URL") or None,
            temporal_address=environment.get("TEMPORAL_ADDRESS") or None,
            temporal_ui_url=environment.get("TEMPORAL_UI_URL") or None,
        )


class Servers:
    """PostgreSQL, Valkey and Temporal on one data folder; an async context manager.

    Its parts can be killed and started again one by one.
    """

    def __init__(
        self,
        folder: Path,
        ports: Ports,
        console: Console,
        *,
        ui: bool = False,
        external: External | None = None,
        wanted: Sequence[Wanted] = (),
        throwaway: bool = False,
    ) -> None:
        """`wanted`: further ports that must be free, so that this is known before anything is built or started.

        `throwaway`: the data need not survive the machine, so nothing waits for its disk.
        """
        self.folders = Folders(folder)
        self.postgres = Postgres(self.folders, ports.postgres, throwaway=throwaway)
        self.valkey = Valkey(self.folders, ports.valkey)
        self.temporal: Temporal | None = None
        self._ports = ports
        self._console = console
        self._ui = ui
        self._external = external or External()
        self._wanted = wanted
        self._ui_url = self._external.temporal_ui_url
        self._running: list[Part] = []
        self._lock: TextIO | None = None

    async def start(self) -> Endpoints:
        """Start what is not named, one after another. What has started is stopped again when one fails (StackError)."""
        self.folders.make()
        self._lock = self.folders.lock()
        try:
            for name in await stop_leftovers(self.folders.run):
                self._console.say(f"{name} was left over from an earlier start: stopped")
            for port in self._wanted_ports():
                require_free(port.part, port.variable, port.port)
            await self._start_all()
        except BaseException:
            await self.stop()
            raise
        return self.endpoints

    async def add(self, part: Part, version: str = "") -> None:
        """Start one more part, which is stopped before the ones that run already. Raises StackError."""
        self._console.progress(f"{part.name}{version} is starting")
        self._running.append(part)  # before it starts: a half started one is stopped too
        await part.start()
        self._console.say(f"{part.name}{version} is ready on port {part.port}")

    async def stop(self) -> None:
        """Stop them, the last started first."""
        while self._running:
            await self._running[-1].stop()
            self._running.pop()
        if self._lock:
            self._lock.close()

    async def remove(self) -> None:
        """Stop them and delete their data. For tests."""
        await self.stop()
        remove_data(self.folders.root)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def running(self) -> Sequence[Part]:
        """The parts that were started, in their order."""
        return tuple(self._running)

    @property
    def endpoints(self) -> Endpoints:
        """Where the servers are. They must have been started."""
        external = self._external
        app, owner = external.database_urls or (self.postgres.url(APP), self.postgres.url(OWNER))
        return Endpoints(
            database_url=app,
            migration_database_url=owner,
            redis_url=external.redis_url or self.valkey.url,
            temporal_address=external.temporal_address or (self.temporal.address if self.temporal else ""),
            temporal_ui_url=self._ui_url,
        )

    def _wanted_ports(self) -> list[Wanted]:
        """Every port that was asked for by number."""
        own: list[Part] = [] if self._external.database_urls else [self.postgres]
        own += [] if self._external.redis_url else [self.valkey]
        wanted = [Wanted(part.name, part.port_variable, part.port) for part in own]
        if not self._external.temporal_address:
            wanted.append(Wanted(Temporal.name, Temporal.port_variable, self._ports.temporal))
            wanted.append(Wanted(TemporalUi.name, TemporalUi.port_variable, self._ports.temporal_ui))
        return [*(port for port in wanted if port.port), *self._wanted]

    async def _start_all(self) -> None:
        chosen = await self._choose_engine()
        if not self._external.database_urls or (chosen and chosen.engine.kind is Kind.SERVER):
            await self.add(self.postgres)
        if not self._external.redis_url:
            await self.add(self.valkey)
        if chosen:
            await self._start_temporal(chosen)

    async def _choose_engine(self) -> Chosen | None:
        if self._external.temporal_address:
            return None
        return await choose(self.folders.temporal / "engine.json", self._console, ui=self._ui)

    async def _start_temporal(self, chosen: Chosen) -> None:
        ui_port = (self._ports.temporal_ui or free_port()) if self._ui else None
        if chosen.engine.kind is Kind.CLI:
            self.temporal = CliTemporal(self.folders, self._ports.temporal, ui_port, chosen.program)
        else:
            self.temporal = OfficialTemporal(self.folders, self._ports.temporal, self.postgres)
        await self.add(self.temporal, f" {chosen.engine.version}")
        if ui_port and chosen.engine.kind is Kind.SERVER:
            await self.add(TemporalUi(self.folders, ui_port, self.temporal))
        self._ui_url = f"http://{LOOPBACK}:{ui_port}" if ui_port else None


def remove_data(folder: Path) -> None:
    """Delete a data folder and the folder of our own that stands in for parts of it."""
    forget_own_folder(folder)
    shutil.rmtree(folder, ignore_errors=True)


def scratch_folder() -> Path:
    """A fresh folder for data that `Servers.remove` deletes, which PostgreSQL's account may pass. For tests.

    What a killed test run left in such a folder, its servers included, is cleared away first.
    """
    clear_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=f"{SCRATCH}-{os.getpid()}-"))
    folder.chmod(0o711)
    return folder


def clear_abandoned() -> None:
    """Kill the servers, and delete the data, of test runs whose process is gone."""
    for old in _abandoned():
        kill_leftovers(Folders(old).run)
        remove_data(old)


def _abandoned() -> list[Path]:
    """Our scratch folders whose maker is gone; its number is in the name."""
    folders = [path for path in Path(tempfile.gettempdir()).glob(f"{SCRATCH}-*-*") if _is_ours(path)]
    return [path for path in folders if not psutil.pid_exists(int(path.name.split("-")[-2]))]


def _is_ours(path: Path) -> bool:
    try:
        return path.stat().st_uid == os.geteuid()
    except FileNotFoundError:  # another test run has just removed it
        return False
