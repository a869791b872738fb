"""A Temporal server of our own and its web UI."""

import json
from abc import abstractmethod
from pathlib import Path
from typing import Any

from amrutam.stack.build import SERVER, WEB_UI
from amrutam.stack.folders import Folders, write_private
from amrutam.stack.part import Part
from amrutam.stack.ports import LOOPBACK, answers_ok, free_port, is_open, status_of
from amrutam.stack.postgres import TEMPORAL, Postgres
from amrutam.stack.process import Program
from amrutam.stack.temporal_config import InnerPorts, Store, dynamic, dynamic_values, server, web_ui
from amrutam.stack.temporal_schema import ensure_schemas, forget_members

NAMESPACE = "amrutam"
NOT_FOUND = 404


class Temporal(Part):
    """The server, whichever engine it is."""

    name = "Temporal"
    port_variable = "TEMPORAL_PORT"
    # By itself it takes 15 s to leave its own cluster of one. Nothing is lost when it is cut short: it answers only
    # what its database has committed.
    stop_seconds = 3
    ready_seconds = 120

    @property
    def address(self) -> str:
        """Of the frontend, for clients."""
        return f"{LOOPBACK}:{self.port}"

    @property
    @abstractmethod
    def _http_port(self) -> int:
        """Of the frontend's HTTP interface. Asking there needs no client library, whose threads outlive a test."""

    async def _answers(self) -> bool:
        """The frontend answers before history and matching have found their place, so they are asked for too."""
        namespace = f"http://{LOOPBACK}:{self._http_port}/api/v1/namespaces/temporal-system"
        return (
            is_open(self.port)
            and await status_of(f"{namespace}/workflows/no-such-workflow") == NOT_FOUND
            and await answers_ok(f"{namespace}/task-queues/default-worker-tq")
        )


class OfficialTemporal(Temporal):
    """The official server, on our PostgreSQL."""

    def __init__(self, folders: Folders, port: int, postgres: Postgres) -> None:
        super().__init__(folders, port)
        self._postgres = postgres
        self._inner: InnerPorts | None = None

    async def _prepare(self) -> Program:
        await ensure_schemas(self._postgres)
        await forget_members(self._postgres)
        inner = self._inner = self._inner or InnerPorts.free(self.port)
        store = Store(self._postgres.port, TEMPORAL, self._postgres.password(TEMPORAL))
        dynamic_file = _write(self._folders.temporal / "dynamic.yaml", dynamic())
        config = _write(self._folders.temporal / "server.yaml", server(store, inner, str(dynamic_file)))
        command = [str(SERVER.path()), "--config-file", str(config), "--allow-no-auth", "start"]
        return self._program(command, folder=self._folders.temporal)

    @property
    def _http_port(self) -> int:
        return self._inner.http if self._inner else 0


class CliTemporal(Temporal):
    """The `temporal` CLI's server with its web UI, on a SQLite file."""

    def __init__(self, folders: Folders, port: int, ui_port: int | None, program: Path) -> None:
        super().__init__(folders, port)
        self._ui_port = ui_port
        self._cli = program
        self._http = 0

    async def _prepare(self) -> Program:
        self._http = self._http or free_port()
        ui = ["--headless"] if self._ui_port is None else ["--ui-ip", LOOPBACK, "--ui-port", str(self._ui_port)]
        settings = [f"{name}={json.dumps(value)}" for name, value in dynamic_values().items()]
        command = [
            *(str(self._cli), "server", "start-dev", "--ip", LOOPBACK, "--port", str(self.port)),
            *("--http-port", str(self._http), "--db-filename", str(self._folders.temporal / "temporal.db")),
            *("--log-level", "warn", *ui),
            *(text for setting in settings for text in ("--dynamic-config-value", setting)),
        ]
        return self._program(command, folder=self._folders.temporal, environment={"HOME": str(self._folders.temporal)})

    @property
    def _http_port(self) -> int:
        return self._http


class TemporalUi(Part):
    """The web UI of the official server."""

    name = "Temporal UI"
    port_variable = "TEMPORAL_UI_PORT"
    stop_seconds = 2

    def __init__(self, folders: Folders, port: int, temporal: Temporal) -> None:
        super().__init__(folders, port)
        self._temporal = temporal

    async def _prepare(self) -> Program:
        config = web_ui(self.port, self._temporal.address, NAMESPACE)
        _write(self._folders.temporal / "ui.yaml", config)
        command = [str(WEB_UI.path()), "--root", str(self._folders.temporal), "--config", ".", "--env", "ui", "start"]
        return self._program(command, folder=self._folders.temporal)

    async def _answers(self) -> bool:
        return await answers_ok(f"http://{LOOPBACK}:{self.port}/api/v1/settings")


def _write(path: Path, config: dict[str, Any]) -> Path:
    write_private(path, json.dumps(config, indent=2))
    return path
