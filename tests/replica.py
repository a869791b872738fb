"""A streaming replica of the test's own PostgreSQL, that a test may hold back."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from amrutam.ids import new_id
from amrutam.stack.part import Part
from amrutam.stack.ports import LOOPBACK
from amrutam.stack.postgres import SUPERUSER, Postgres
from amrutam.stack.process import Program
from tests.conftest import System
from tests.polling import until


class Standby(Part):
    """Follows a primary from a copy of it. `hold` keeps it where it is, `let_go` lets it catch up."""

    name = "Standby"
    port_variable = "STANDBY_PORT"
    stop_signals = (signal.SIGINT, signal.SIGQUIT)
    ready_seconds = 60

    def __init__(self, system: System, primary: Postgres) -> None:
        super().__init__(system.servers.folders, 0)
        assert primary.process
        assert primary.process.program.folder
        self._folder = primary.process.program.folder
        self._primary = primary
        self._of_primary = primary.process.program
        self._data = Path(self._of_primary.command[-1]).with_name(f"standby-{new_id().hex}")

    def url(self, role: str, database: str) -> str:
        """As the primary's, by another port."""
        return self._primary.url(role, database).replace(f":{self._primary.port}/", f":{self.port}/")

    async def hold(self) -> None:
        """Replay nothing any more, and return when that is so."""
        async with self._superuser() as root:
            await root.execute("SELECT pg_wal_replay_pause()")

            async def held() -> bool:
                return await root.fetchval("SELECT pg_get_wal_replay_pause_state()") == "paused"

            await until(held)

    async def let_go(self) -> None:
        """Replay what has come meanwhile, and go on."""
        async with self._superuser() as root:
            await root.execute("SELECT pg_wal_replay_resume()")

    async def position(self) -> int:
        """How far it has come."""
        async with self._superuser() as root:
            return await root.fetchval("SELECT (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint")

    def remove(self) -> None:
        """Its data."""
        shutil.rmtree(self._data, ignore_errors=True)

    async def _prepare(self) -> Program:
        if not self._data.exists():
            await asyncio.to_thread(self._copy)
        with (self._data / "postgresql.conf").open("a") as configuration:
            configuration.write(f"port = '{self.port}'\nshared_buffers = '64MB'\nmax_standby_streaming_delay = '1s'\n")
        command = [self._of_primary.command[0], "-D", str(self._data)]
        account = self._of_primary.account
        return self._program(command, folder=self._folder, environment={"LC_ALL": "C"}, account=account)

    def _copy(self) -> None:
        account, programs = self._of_primary.account, Path(self._of_primary.command[0]).parent
        self._data.mkdir(mode=0o700)
        if account:
            os.chown(self._data, account.uid, account.gid)
        done = subprocess.run(  # noqa: S603 - our own command
            [
                *(str(programs / "pg_basebackup"), "-D", str(self._data), "-R", "-X", "stream", "-c", "fast"),
                *("-h", LOOPBACK, "-p", str(self._primary.port), "-U", SUPERUSER),
            ],
            env={"PATH": os.defpath, "PGPASSWORD": self._primary.password(SUPERUSER), "LC_ALL": "C"},
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            cwd=self._data.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    async def _answers(self) -> bool:
        try:
            async with self._superuser():
                return True
        except (OSError, TimeoutError, asyncpg.CannotConnectNowError):
            return False

    @asynccontextmanager
    async def _superuser(self) -> AsyncGenerator["asyncpg.Connection[asyncpg.Record]"]:
        connection = await asyncpg.connect(self.url(SUPERUSER, "postgres"), timeout=5)
        try:
            yield connection
        finally:
            await connection.close()


@asynccontextmanager
async def standby_of(system: System) -> AsyncGenerator[Standby]:
    """A replica of the shared PostgreSQL, gone at the end."""
    standby = Standby(system, system.servers.postgres)
    try:
        await standby.start()
        yield standby
    finally:
        await standby.stop()
        standby.remove()
