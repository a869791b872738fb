"""The servers of `make up` and of the tests: they start, stop, fall and come back with their data."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import asyncpg
import psutil
import pytest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from amrutam.stack.console import Console
from amrutam.stack.errors import StackError
from amrutam.stack.part import Part
from amrutam.stack.ports import LOOPBACK, Ports, free_port
from amrutam.stack.servers import External, Servers, scratch_folder
from tests.polling import until

NO_TEMPORAL = External(temporal_address="127.0.0.1:1")

LAUNCHER = """
import asyncio, sys
from pathlib import Path
from amrutam.stack.console import Console
from amrutam.stack.ports import Ports
from amrutam.stack.servers import External, Servers

async def main():
    async with Servers(Path(sys.argv[1]), Ports(), Console(), external=External(temporal_address="127.0.0.1:1")) as s:
        print("pids", *(part.process.pid for part in s.running), flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def quiet() -> Console:
    return Console(StringIO())


@pytest.fixture
async def folder() -> AsyncIterator[Path]:
    folder = scratch_folder()
    yield folder
    await Servers(folder, Ports(), quiet()).remove()


@pytest.fixture(scope="module")
async def servers() -> AsyncIterator[Servers]:
    servers = Servers(scratch_folder(), Ports(), quiet())
    await servers.start()
    yield servers
    await servers.remove()


async def query(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def register_namespace(address: str, name: str) -> None:
    client = await Client.connect(address)
    request = RegisterNamespaceRequest(namespace=name)
    request.workflow_execution_retention_period.FromSeconds(86_400)

    async def accepted() -> bool:
        try:
            await client.workflow_service.register_namespace(request)
        except RPCError as refusal:  # right after its database fell, it still finds its way back
            return refusal.status is RPCStatusCode.ALREADY_EXISTS
        return True

    await until(accepted)


async def has_namespace(address: str, name: str) -> bool:
    client = await Client.connect(address)
    try:
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=name))
    except RPCError:
        return False
    return True


def pid_of(part: Part | None) -> int:
    assert part is not None
    assert part.process is not None
    return part.process.pid


async def test_the_application_has_a_database_that_is_not_its_own(servers: Servers) -> None:
    endpoints = servers.endpoints
    assert await query(endpoints.database_url, "SELECT current_user::text") == "amrutam_app"
    owner = "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()"
    assert await query(endpoints.migration_database_url, owner) == "amrutam_owner"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await query(endpoints.database_url, "CREATE SCHEMA mine")


async def test_postgresql_is_durable_checked_and_never_logs_values(servers: Servers) -> None:
    settings = "SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings WHERE name = ANY($$%s$$)"
    names = "{fsync,synchronous_commit,data_checksums,log_parameter_max_length,password_encryption,server_encoding}"
    assert await query(servers.endpoints.database_url, settings % names) == (
        "data_checksums=on fsync=on log_parameter_max_length=0 password_encryption=scram-sha-256 "
        "server_encoding=UTF8 synchronous_commit=on"
    )


async def test_a_killed_postgresql_comes_back_on_its_port_with_what_was_committed(servers: Servers) -> None:
    url, pid = servers.endpoints.migration_database_url, pid_of(servers.postgres)
    await query(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    await servers.postgres.kill()
    await servers.postgres.start()
    assert pid_of(servers.postgres) != pid
    assert await query(url, "SELECT answer FROM kept") == 42


async def test_a_killed_temporal_comes_back_on_its_port_with_its_namespaces(servers: Servers) -> None:
    address, temporal = servers.endpoints.temporal_address, servers.temporal
    assert temporal is not None
    await register_namespace(address, "kept")
    await temporal.kill()
    await temporal.start()
    assert await until(lambda: has_namespace(address, "kept"))


async def test_a_killed_valkey_comes_back_on_its_port(servers: Servers) -> None:
    port = servers.valkey.port
    await servers.valkey.kill()
    await servers.valkey.restart()
    assert servers.valkey.port == port


async def test_nothing_listens_beyond_this_machine(servers: Servers) -> None:
    processes = [psutil.Process(pid_of(part)) for part in servers.running]
    listening = {
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr
    }
    assert listening == {LOOPBACK}


async def test_stopped_servers_find_their_data_and_passwords_again(folder: Path) -> None:
    async with Servers(folder, Ports(), quiet(), external=NO_TEMPORAL) as first:
        await query(first.endpoints.migration_database_url, "CREATE TABLE kept AS SELECT 42 AS answer")
    async with Servers(folder, Ports(), quiet(), external=NO_TEMPORAL) as second:
        assert await query(second.endpoints.migration_database_url, "SELECT answer FROM kept") == 42


async def test_a_stop_leaves_no_process(folder: Path) -> None:
    async with Servers(folder, Ports(), quiet(), external=NO_TEMPORAL) as servers:
        pids = [pid_of(part) for part in servers.running]
    assert pids
    assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_a_second_launcher_on_the_same_data_is_refused(folder: Path) -> None:
    async with Servers(folder, Ports(), quiet(), external=NO_TEMPORAL):
        with pytest.raises(StackError, match=rf"already runs on {folder} \(process {os.getpid()}\)"):
            await Servers(folder, Ports(), quiet(), external=NO_TEMPORAL).start()


async def test_servers_left_over_by_a_killed_launcher_are_stopped_before_new_ones_start(folder: Path) -> None:
    launcher = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LAUNCHER, str(folder)), stdout=asyncio.subprocess.PIPE
    )
    assert launcher.stdout is not None
    pids: list[int] = []
    while not pids and (line := await asyncio.wait_for(launcher.stdout.readline(), 30)):
        pids = [int(word) for word in line.split()[1:]] if line.startswith(b"pids") else []
    launcher.send_signal(signal.SIGKILL)
    await launcher.wait()
    assert [psutil.pid_exists(pid) for pid in pids] == [True, True]
    said = StringIO()
    async with Servers(folder, Ports(), Console(said), external=NO_TEMPORAL) as servers:
        alive = [psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids]
        assert alive == [False, False]
        assert await query(servers.endpoints.database_url, "SELECT 1") == 1
    assert "PostgreSQL was left over" in said.getvalue()


async def test_a_taken_port_is_named_with_its_part_its_variable_and_its_holder(folder: Path) -> None:
    with socket.socket() as holder:
        holder.bind((LOOPBACK, 0))
        holder.listen()
        port = holder.getsockname()[1]
        ports = replace(Ports(), valkey=port)
        with pytest.raises(StackError, match=f"Port {port} is taken by .*{os.getpid()}.* Valkey .*VALKEY_PORT="):
            await Servers(folder, ports, quiet(), external=NO_TEMPORAL).start()


async def test_a_start_that_fails_half_way_stops_what_it_started(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    servers = Servers(folder, replace(Ports(), valkey=free_port()), quiet(), external=NO_TEMPORAL)
    monkeypatch.setattr(servers.valkey, "ready_seconds", -1)
    with pytest.raises(StackError, match="Valkey was not ready"):
        await servers.start()
    assert servers.postgres.process is not None
    assert not servers.postgres.process.alive
    assert not servers.running


def test_one_database_url_without_the_other_is_refused() -> None:
    with pytest.raises(StackError, match="both DATABASE_URL"):
        External.from_environment({"DATABASE_URL": "postgresql://somewhere"})


async def test_what_a_killed_test_run_left_is_cleared_away_by_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder))  # other runs look in the common one
    gone = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await gone.wait()
    with monkeypatch.context() as as_the_killed_run:
        as_the_killed_run.setattr(os, "getpid", lambda: gone.pid)
        old = scratch_folder()
        servers = Servers(old, Ports(), quiet(), external=NO_TEMPORAL)
        await servers.start()
    scratch_folder().rmdir()
    await servers.stop()
    assert [part.process.exit_status for part in (servers.postgres, servers.valkey) if part.process] == [-9, -9]
    assert not old.exists()
