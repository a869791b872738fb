"""Amrutam's own processes, as `make up` runs them: steps that end, then the worker and the API."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amrutam.stack.errors import StackError
from amrutam.stack.folders import Folders
from amrutam.stack.part import Part
from amrutam.stack.ports import LOOPBACK, Wanted, answers_ok, port_of, require_free
from amrutam.stack.process import Process, Program
from amrutam.stack.servers import Endpoints

CHECKOUT = Path(__file__).parents[2]
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
# A first migration or seed writes some ten thousand rows; an update of a full database may take much longer.
STEP_SECONDS = 1800
# In a demo everybody comes from one address, and loads are tried on it.
RATE_LIMIT_FACTOR = 1000


@dataclass(frozen=True)
class Step:
    """A command that ends by itself."""

    name: str
    arguments: Sequence[str]


STEPS = (
    Step("Keyring", ("keys", "init")),
    Step("Database schema", ("migrate",)),
    Step("Temporal namespace", ("setup",)),
    Step("Demo data", ("seed",)),
)


@dataclass(frozen=True)
class Demo:
    """What the demo's processes are told."""

    host: str
    port: int
    metrics_port: int
    worker_metrics_port: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Demo":
        """The ports and the address asked for. Raises StackError for what a demo refuses."""
        host = environment.get("HOST") or LOOPBACK
        if host not in LOOPBACK_HOSTS and environment.get("AMRUTAM_DEMO_EXPOSE") != "yes":
            raise StackError(
                f"HOST={host} would show the demo, with its known passwords, beyond this machine. "
                "If that is meant, set AMRUTAM_DEMO_EXPOSE=yes too."
            )
        return cls(
            host=host,
            port=port_of(environment, "PORT", 8000),
            metrics_port=port_of(environment, "METRICS_PORT", 9464),
            worker_metrics_port=port_of(environment, "WORKER_METRICS_PORT", 9465),
        )

    def wanted(self) -> list[Wanted]:
        """The ports of worker and API."""
        return [
            Wanted(Api.name, Api.port_variable, self.port),
            Wanted("the API's metrics", "METRICS_PORT", self.metrics_port),
            Wanted(Worker.name, Worker.port_variable, self.worker_metrics_port),
        ]

    @property
    def url(self) -> str:
        """Of the API, from this machine."""
        return f"http://{LOOPBACK}:{self.port}"

    def environment(self, folders: Folders, endpoints: Endpoints) -> dict[str, str]:
        """For every process: ours, then what the person set, then what a demo fixes."""
        defaults = {
            "AMRUTAM_KEYRING": str(folders.keys / "keyring.json"),
            "MAIL_FOLDER": str(folders.mail),
            "AUDIT_CHECKPOINT_FOLDER": str(folders.audit),
            "DOCUMENTS_URL": folders.documents.as_uri(),
            "PUBLIC_URL": self.url,
            "RATE_LIMIT_FACTOR": str(RATE_LIMIT_FACTOR),
            "SELLER_NAME": "Amrutam Demo Clinic",
            "SELLER_ADDRESS": "12 MG Road; Bengaluru, Karnataka 560001",
        }
        fixed = {
            "AMRUTAM_MODE": "demo",
            "HOST": self.host,
            "PORT": str(self.port),
            "METRICS_PORT": str(self.metrics_port),
        }
        return defaults | dict(os.environ) | endpoints.environment() | fixed


async def run_step(step: Step, folders: Folders, environment: Mapping[str, str]) -> None:
    """Run it to its end. Raises StackError with the end of its log when it fails."""
    file_name = step.arguments[0]
    program = Program(
        name=step.name,
        command=[sys.executable, "-m", "amrutam", *step.arguments],
        log=folders.logs / f"{file_name}.log",
        pid_file=folders.run / f"{file_name}.json",
        environment=environment,
        folder=CHECKOUT,
    )
    process = Process(program)
    process.spawn()
    try:
        await process.finished(STEP_SECONDS)
    finally:
        await process.stop()
    if process.exit_status:
        command = f"python -m amrutam {' '.join(step.arguments)}"
        raise StackError(f"`{command}` failed (status {process.exit_status}).\n{process.last_lines()}")


class Worker(Part):
    """The process that runs workflows and activities. Its port is the one of its metrics."""

    name = "Worker"
    port_variable = "WORKER_METRICS_PORT"
    stop_seconds = 9  # over the worker's own grace for what it has begun
    ready_seconds = 60

    def __init__(self, folders: Folders, demo: Demo, environment: Mapping[str, str]) -> None:
        super().__init__(folders, demo.worker_metrics_port)
        self._environment = {**environment, "METRICS_PORT": str(demo.worker_metrics_port)}

    async def _prepare(self) -> Program:
        return self._program([sys.executable, "worker.py"], folder=CHECKOUT, environment=self._environment)

    async def _answers(self) -> bool:
        return await answers_ok(f"http://{LOOPBACK}:{self.port}/health/detail")


class Api(Part):
    """The process that answers HTTP."""

    name = "API"
    port_variable = "PORT"
    stop_seconds = 4
    ready_seconds = 60

    def __init__(self, folders: Folders, demo: Demo, environment: Mapping[str, str]) -> None:
        super().__init__(folders, demo.port)
        self._demo = demo
        self._environment = environment

    async def _prepare(self) -> Program:
        require_free("the API's metrics", "METRICS_PORT", self._demo.metrics_port)
        return self._program([sys.executable, "-m", "web"], folder=CHECKOUT, environment=self._environment)

    async def _answers(self) -> bool:
        return await answers_ok(f"{self._demo.url}/health/ready")
