"""A request that meets a crash, and the walk that kills whoever is to die for it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest
from redis.asyncio import Redis
from temporalio.client import Client

from amrutam.ids import new_id
from amrutam.stack.applications import CHECKOUT
from amrutam.stack.ports import LOOPBACK, answers_ok, free_port
from amrutam.stack.process import Process, Program
from amrutam.storage.pool import Database, Row
from tests.chaos.crash_points import Moment, Point, Trace, Who
from tests.chaos.crash_process import exists
from tests.conftest import System
from tests.people import Person
from tests.polling import until


@dataclass
class Request:
    """One patient's request, asked under one key, and what the crash left of it."""

    point: Point
    patient: Person
    doctor: Person
    path: str
    body: dict[str, Any]
    key: str
    booking_id: UUID | None  # of the booking to cancel; None for one that is to be made
    left: frozenset[Trace] = frozenset()

    async def ask(self, api: httpx.AsyncClient) -> httpx.Response:
        """As a patient's app does, and does again."""
        return await api.send(self.built(api))

    def built(self, api: httpx.AsyncClient) -> httpx.Request:
        """The same bytes each time."""
        return api.build_request("POST", self.path, json=self.body, headers=self.patient.writing(self.key))


@dataclass(frozen=True)
class Walk:
    """What is needed on the way, and how each death comes about."""

    system: System
    api: httpx.AsyncClient
    db: Database
    redis: Redis
    temporal: Client

    async def go(self, requests: list[Request]) -> None:
        """Meet every point, one after another. At the end every part runs again."""
        for request in requests:
            if not request.point.without_worker:
                await self._meet(request)
        await self.system.worker.stop()
        try:
            for request in requests:
                if request.point.without_worker:
                    await self._meet(request)
        finally:
            await self.system.worker.start()

    async def _meet(self, request: Request) -> None:
        match request.point.who:
            case Who.API:
                await self._with_doomed_api(request)
            case Who.WORKER:
                await self._with_doomed_worker(request)
            case Who.CLIENT:
                await self._as_client_who_leaves(request)
        request.left = await self._left(request)

    async def _with_doomed_api(self, request: Request) -> None:
        port = free_port()
        ports = {"PORT": str(port), "METRICS_PORT": str(free_port())}
        async with self._doomed([request.point.moment], ports) as process:
            url = f"http://{LOOPBACK}:{port}"
            await process.until(lambda: answers_ok(f"{url}/health/live"), 60)
            async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as api:
                with pytest.raises(httpx.TransportError):
                    await request.ask(api)

    async def _with_doomed_worker(self, request: Request) -> None:
        asking = asyncio.create_task(self._ask_until_told(request))
        try:
            workflow_id = await until(lambda: self._workflow_id(request))
            async with self._doomed([request.point.moment, workflow_id], {}):
                pass
        finally:
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking

    async def _as_client_who_leaves(self, request: Request) -> None:
        built = request.built(self.api)
        head = [b"POST %s HTTP/1.1" % built.url.raw_path, *(b"%s: %s" % pair for pair in built.headers.raw)]
        reader, writer = await asyncio.open_connection(LOOPBACK, self.system.api.port)
        writer.write(b"\r\n".join([*head, b"", built.content]))
        await writer.drain()
        if request.point.moment is Moment.ANSWER_UNREAD:
            await reader.readexactly(1)
        writer.transport.abort()

    @asynccontextmanager
    async def _doomed(self, arguments: list[str], told: Mapping[str, str]) -> AsyncGenerator[Process, None]:
        """A process that is dead at the end, by its own hand."""
        folders, name = self.system.servers.folders, f"doomed-{new_id()}"
        program = Program(
            name=name,
            command=[sys.executable, "-m", "tests.chaos.crash_process", *arguments],
            log=folders.logs / f"{name}.log",
            pid_file=folders.run / f"{name}.json",
            environment={"PATH": os.defpath, **self.system.environment, **told},
            folder=CHECKOUT,
        )
        process = Process(program)
        process.spawn()
        try:
            yield process
            await process.finished(60)
            assert process.exit_status == -signal.SIGKILL, process.last_lines()
        finally:
            await process.kill()
            await process.stop()

    async def _ask_until_told(self, request: Request) -> None:
        async def told() -> bool:
            return (await request.ask(self.api)).status_code in {200, 201}

        await until(told, 60)

    async def _workflow_id(self, request: Request) -> str | None:
        if request.booking_id:
            return f"booking/{request.booking_id}"
        record = await record_of(self.db, request)
        return f"booking/{record['operation_id']}" if record else None

    async def _left(self, request: Request) -> frozenset[Trace]:
        """What the crash left behind."""
        record, workflow_id = await record_of(self.db, request), await self._workflow_id(request)
        found = {
            Trace.RECORD: record is not None,
            Trace.WORKFLOW: workflow_id is not None and await exists(self.temporal, workflow_id),
            Trace.LOCK: bool(await self.redis.exists(f"lock/doctor/{request.doctor.id}")),
            Trace.DONE: record is not None and record["outcome"] is not None,
        }
        return frozenset(trace for trace, there in found.items() if there)


async def record_of(db: Database, request: Request) -> Row | None:
    """The request's idempotency record, with the state of its booking."""
    async with db.connection() as connection:
        return await connection.fetchrow(
            """SELECT o.operation_id, o.outcome, o.refusal, b.id, b.status
               FROM operations o LEFT JOIN bookings b ON b.id = coalesce($3, o.operation_id)
               WHERE o.user_id = $1 AND o.key = $2""",
            request.patient.id, request.key, request.booking_id,
        )  # fmt: skip
