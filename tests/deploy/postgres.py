"""PostgreSQL as the containers run it: the image's empty cluster, and the scripts of deploy/postgres on it."""

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg

from amrutam.stack.account import Account
from amrutam.stack.folders import Folders
from amrutam.stack.part import Part
from amrutam.stack.ports import LOOPBACK, free_port
from amrutam.stack.postgres import SUPERUSER, Postgres
from amrutam.stack.process import Program
from amrutam.stack.servers import remove_data, scratch_folder
from tests.deploy.compose import ROOT

DEPLOY = ROOT / "deploy"
REPLICATION = "amrutam_replication"
PASSWORDS = {
    "AMRUTAM_OWNER_PASSWORD": "owner'1",
    "AMRUTAM_APP_PASSWORD": "app1",
    "TEMPORAL_PASSWORD": "temporal1",
    "REPLICATION_PASSWORD": "replication1",
}


class DeployedPostgres(Postgres):
    """As the image makes it, a superuser and nothing else, under the demo's configuration.

    Production's asks for TLS, which the embedded server was built without.
    """

    @property
    def program(self) -> Program:
        """How it runs."""
        assert self.process
        return self.process.program

    @property
    def home(self) -> Path:
        """Where its data lies, and what is mounted."""
        assert self.program.folder
        return self.program.folder

    @property
    def programs(self) -> Path:
        """Where its programs lie."""
        return Path(self.program.command[0]).parent

    def own(self, folder: Path) -> None:
        """Give all of a folder to the account that the server runs under."""
        for path in (folder, *folder.rglob("*")):
            _give(path, self.program.account)

    def replica(self, slot: str, **environment: str) -> "Replica":
        """One of it that was not started."""
        return Replica(self._folders, self, slot, environment)

    async def _prepare(self) -> Program:
        program = await super()._prepare()
        assert program.folder
        mounted = _mount(program.folder)
        return replace(program, command=[*program.command, *_configured(mounted, self.port)])

    async def _complete(self) -> None:
        """Roles and databases are what init.sh is to make."""


class Replica(Part):
    """What a replica's container runs: replica.sh, on a volume of its own."""

    name = "Replica"
    port_variable = "REPLICA_PORT"
    stop_signals = Postgres.stop_signals
    ready_seconds = 60

    def __init__(self, folders: Folders, primary: DeployedPostgres, slot: str, environment: Mapping[str, str]) -> None:
        super().__init__(folders, 0)
        self._primary = primary
        self._slot = slot
        self.environment = dict(environment)
        self.volume = primary.home / slot
        self.data = self.volume / "18" / "docker"

    async def _prepare(self) -> Program:
        self.volume.mkdir(exist_ok=True)
        self._primary.own(self.volume)
        mounted = self._primary.home / "mounted"
        script = ["/bin/sh", str(mounted / "shared" / "replica.sh"), self._slot]
        return self._program(
            [*script, "postgres", *_configured(mounted, self.port)],
            folder=self._primary.home,
            environment={
                "PATH": f"{self._primary.programs}:{os.defpath}",
                "LC_ALL": "C",
                "PGDATA": str(self.data),
                **self.environment,
            },
            account=self._primary.program.account,
        )

    def remove(self) -> None:
        """Its volume."""
        shutil.rmtree(self.volume)

    async def _answers(self) -> bool:
        try:
            await (await self.connect()).close()
        except (OSError, asyncpg.CannotConnectNowError):
            return False
        return True

    async def connect(self, database: str = "postgres") -> asyncpg.Connection:
        """A superuser's connection."""
        password = self._primary.password(SUPERUSER)
        return await asyncpg.connect(
            host=LOOPBACK, port=self.port, user=SUPERUSER, password=password, database=database, timeout=5
        )


def _mount(home: Path) -> Path:
    """What compose mounts under /etc/amrutam, where the server's account can read it."""
    mounted = home / "mounted"
    for name, source in {"shared": DEPLOY / "postgres", "mode": DEPLOY / "demo" / "postgres"}.items():
        shutil.copytree(source, mounted / name, dirs_exist_ok=True)
    for file in mounted.rglob("*.conf"):
        file.write_text(file.read_text().replace("/etc/amrutam", str(mounted)))
    return mounted


def _configured(mounted: Path, port: int) -> list[str]:
    """The command's arguments: compose's own, and what many servers on one machine need."""
    here = {
        "port": str(port),
        "listen_addresses": LOOPBACK,
        "unix_socket_directories": "",
        "shared_buffers": "64MB",
        "config_file": str(mounted / "mode" / "postgresql.conf"),
    }
    return [part for name, value in here.items() for part in ("-c", f"{name}={value}")]


def _give(path: Path, account: Account | None) -> None:
    """To the server's account."""
    if account:
        os.chown(path, account.uid, account.gid)


@asynccontextmanager
async def running() -> AsyncGenerator[DeployedPostgres]:
    """A server of the test's own, since init.sh sets passwords."""
    folders = Folders(scratch_folder())
    folders.make()
    server = DeployedPostgres(folders, free_port())
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
        remove_data(folders.root)


async def run(postgres: DeployedPostgres, *command: str, **environment: str) -> tuple[int, str]:
    """Run one of PostgreSQL's clients, or a script that does: status and what it said."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={
            "PATH": f"{postgres.programs}:{os.defpath}",
            "PGHOST": LOOPBACK,
            "PGPORT": str(postgres.port),
            "PGUSER": SUPERUSER,
            "PGDATABASE": "postgres",
            "PGPASSWORD": postgres.password(SUPERUSER),
            **environment,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def run_init(postgres: DeployedPostgres, **environment: str) -> str:
    """Run init.sh to its good end: what it said."""
    status, said = await run(postgres, "sh", str(DEPLOY / "postgres" / "init.sh"), **(PASSWORDS | environment))
    assert status == 0, said
    return said
