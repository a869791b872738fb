"""A whole system on free ports in a scratch folder, with the limits' processes beside it. Nothing of it stays."""

import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from temporalio.client import Client

from amrutam.crypto import Keyring
from amrutam.settings import Settings
from amrutam.stack.applications import CHECKOUT, STEPS, Api, Demo, Worker, run_step
from amrutam.stack.console import Console
from amrutam.stack.ports import LOOPBACK, Ports, free_port, is_open
from amrutam.stack.process import Process, Program
from amrutam.stack.sandbox import Sandbox
from amrutam.stack.servers import Servers, scratch_folder
from amrutam.storage.pool import Database
from amrutam.temporal import connect
from bench import bare

READY_SECONDS = 20
SCHEMA = """
CREATE SCHEMA bench;
CREATE TABLE bench.rows (id uuid PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());
CREATE TABLE bench.answers (key text PRIMARY KEY, body text NOT NULL);
"""


@dataclass(frozen=True)
class System:
    """What is measured, and what it is measured against."""

    servers: Servers
    api_port: int
    sandbox_port: int
    sandbox_key: str
    limits_port: int
    unguarded_port: int
    settings: Settings
    keyring: Keyring
    owner: Database
    temporal: Client
    bare: Client
    # Its process id.
    bare_worker: int


@asynccontextmanager
async def running(console: Console) -> AsyncGenerator[System]:
    """The system, stopped and deleted at the end. Raises StackError."""
    servers = Servers(scratch_folder(), Ports(), console)
    try:
        await servers.start()
        demo = Demo(LOOPBACK, free_port(), free_port(), free_port())
        environment = demo.environment(servers.folders, servers.endpoints)
        sandbox = Sandbox.of(servers.folders, demo, {**environment, Sandbox.port_variable: str(free_port())})
        environment |= sandbox.environment()
        for step in STEPS:
            await run_step(step, servers.folders, environment)
        await servers.add(sandbox)
        await servers.add(Worker(servers.folders, demo, environment))
        await servers.add(Api(servers.folders, demo, environment))
        async with _owner(environment) as owner, _limits(servers, environment) as (ports, bare_worker):
            settings = _settings(environment)
            keyring = Keyring.load(settings.amrutam_keyring)
            plain = await Client.connect(settings.temporal_address, namespace=settings.temporal_namespace)
            sealed = await connect(settings, keyring)
            key = environment["PAYMENT_SANDBOX_KEY"]
            yield System(
                servers, demo.port, sandbox.port, key, *ports, settings, keyring, owner, sealed, plain, bare_worker
            )
    finally:
        await servers.remove()


def _settings(environment: Mapping[str, str]) -> Settings:
    given = {name.lower(): value for name, value in environment.items() if name.lower() in Settings.model_fields}
    return Settings.model_validate(given)


@asynccontextmanager
async def _owner(environment: Mapping[str, str]) -> AsyncGenerator[Database]:
    """The role that owns the schema, with the tables of the limits made."""
    database = await Database.connect(environment["MIGRATION_DATABASE_URL"], size=2, application="bench")
    try:
        async with database.transaction() as db:
            await db.execute(SCHEMA)
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def _limits(servers: Servers, environment: Mapping[str, str]) -> AsyncGenerator[tuple[tuple[int, int], int]]:
    """The ports of `bench.limits` and `bench.unguarded`, and the process id of `bench.bare`, all running."""
    port, unguarded_port = free_port(), free_port()
    told = {**environment, "PORT": str(unguarded_port), "METRICS_PORT": str(free_port())}
    reads = _process(servers, environment, "limits", str(port))
    unguarded = _process(servers, told, "unguarded")
    writes = _process(servers, environment, "bare")
    try:
        reads.spawn()
        unguarded.spawn()
        writes.spawn()

        async def answers() -> bool:
            return is_open(port) and is_open(unguarded_port)

        await reads.until(answers, READY_SECONDS)
        yield (port, unguarded_port), writes.pid
    finally:
        await writes.stop()
        await unguarded.stop()
        await reads.stop()


def _process(servers: Servers, environment: Mapping[str, str], module: str, *arguments: str) -> Process:
    folders = servers.folders
    return Process(
        Program(
            name=f"{bare.__package__}.{module}",
            command=[sys.executable, "-m", f"bench.{module}", *arguments],
            log=folders.logs / f"bench-{module}.log",
            pid_file=folders.run / f"bench-{module}.json",
            environment={"PATH": os.defpath, **environment},
            folder=CHECKOUT,
        )
    )
