"""An API or a worker beside the system's own, on ports of its own, which is told something else."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx

from amrutam.stack.applications import Api, Demo, Worker
from amrutam.stack.part import Part
from amrutam.stack.ports import LOOPBACK, free_port
from tests.conftest import System


class ApiBeside(Api):
    """With a log of its own."""

    name = "API beside"


class WorkerBeside(Worker):
    """With a log of its own."""

    name = "Worker beside"


def _demo() -> Demo:
    return Demo(LOOPBACK, free_port(), free_port(), free_port())


@asynccontextmanager
async def _running(part: Part) -> AsyncGenerator[None, None]:
    try:
        await part.start()
        yield
    finally:
        await part.stop()


@asynccontextmanager
async def api_beside(system: System, **told: str) -> AsyncGenerator[httpx.AsyncClient, None]:
    """HTTP to an API whose environment differs by `told`."""
    demo = _demo()
    own = {"PORT": str(demo.port), "METRICS_PORT": str(demo.metrics_port)}
    part = ApiBeside(system.servers.folders, demo, {**system.environment, **told, **own})
    async with _running(part), httpx.AsyncClient(base_url=demo.url, timeout=20, trust_env=False) as client:
        yield client


@asynccontextmanager
async def worker_beside(system: System, **told: str) -> AsyncGenerator[None, None]:
    """A worker whose environment differs by `told`. It shares the queues with the system's own while that one runs."""
    async with _running(WorkerBeside(system.servers.folders, _demo(), {**system.environment, **told})):
        yield
