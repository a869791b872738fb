"""The processes: each starts on its own ports, serves, and ends with the status it means, whatever is under way."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from amrutam.crypto import Keyring
from amrutam.preflight import database_faults
from amrutam.settings import Settings
from amrutam.stack.applications import CHECKOUT
from amrutam.stack.errors import StackError
from amrutam.stack.ports import LOOPBACK, free_port
from amrutam.stack.postgres import DATABASE, SUPERUSER
from amrutam.storage.pool import Database
from tests.conftest import System
from tests.people import Person
from tests.polling import until
from tests.storage.waiting import someone_waits
from tests.web.slots import book, free_times

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]
API, WORKER = ["-m", "web"], ["worker.py"]
TIMES = 5
HIDDEN = "hunter2-in-a-url"


@dataclass
class Running:
    """A process beside the system's own."""

    process: asyncio.subprocess.Process
    port: int
    metrics_port: int

    async def ended(self) -> tuple[int, str]:
        """Once it has ended: its exit status and what it said on stderr."""
        async with asyncio.timeout(20):
            _, said = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, said.decode()


async def _spawn(arguments: list[str], environment: Mapping[str, str]) -> Running:
    port, metrics_port = free_port(), free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=CHECKOUT,
        env={**environment, "PORT": str(port), "METRICS_PORT": str(metrics_port)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    return Running(process, port, metrics_port)


@asynccontextmanager
async def _serving(arguments: list[str], environment: Mapping[str, str]) -> AsyncGenerator[Running, None]:
    """A process that serves. It is killed when the test leaves it running."""
    running = await _spawn(arguments, environment)
    port, path = (running.port, "/health/ready") if arguments is API else (running.metrics_port, "/health/detail")
    try:
        async with httpx.AsyncClient(trust_env=False) as client:

            async def answers() -> bool:
                assert running.process.returncode is None, (await running.ended())[1]
                try:
                    return (await client.get(f"http://{LOOPBACK}:{port}{path}")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(answers, seconds=60)
        yield running
    finally:
        if running.process.returncode is None:
            running.process.kill()
            await running.process.communicate()


async def test_api_and_worker_start_serve_and_end_with_status_0_every_time(system: System) -> None:
    async def run(arguments: list[str]) -> list[tuple[int, str]]:
        ends: list[tuple[int, str]] = []
        for attempt in range(TIMES):
            async with _serving(arguments, system.environment) as running:
                running.process.send_signal(signal.SIGTERM if attempt else signal.SIGINT)
                ends.append(await running.ended())
        return ends

    assert await asyncio.gather(run(API), run(WORKER)) == [[(0, "")] * TIMES] * 2


async def test_a_request_that_is_under_way_is_answered_before_the_api_ends(system: System) -> None:
    async with _serving(API, system.environment) as running, httpx.AsyncClient(trust_env=False) as client:
        reader, writer = await asyncio.open_connection(LOOPBACK, running.port)
        body = b'{"email": "nobody@test.amrutam.test", "password": "wrong"}'
        head = (
            f"POST /v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        )
        writer.write(f"{head}\r\n\r\n".encode() + body[:10])

        async def under_way() -> bool:
            metrics = (await client.get(f"http://{LOOPBACK}:{running.metrics_port}/metrics")).text
            return "amrutam_http_in_flight 1.0" in metrics

        await until(under_way)
        running.process.send_signal(signal.SIGTERM)

        async def closed() -> bool:
            try:
                await client.get(f"http://{LOOPBACK}:{running.port}/health/live")
            except httpx.TransportError:
                return True
            return False

        await until(closed)
        writer.write(body[10:])
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 401 "), answer
        assert b"invalid_credentials" in answer
        assert b"connection: close" in answer.lower()  # or the process would wait for a client that keeps it
        assert await running.ended() == (0, "")


async def test_a_claim_that_is_under_way_is_finished_before_the_worker_ends(
    api: httpx.AsyncClient, system: System, make_patient: MakePatient, make_doctor: MakeDoctor, db: Database
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    time = (await free_times(api, doctor))[0]
    worker = system.worker.process
    assert worker is not None
    try:
        async with db.transaction() as connection:
            await connection.execute("SELECT FROM calendars WHERE doctor_id = $1 FOR UPDATE", doctor.id)
            asked = asyncio.create_task(book(api, patient, doctor, time))
            await someone_waits(db, "FOR SHARE")
            os.kill(worker.pid, signal.SIGTERM)
            with pytest.raises(StackError):
                await worker.finished(1)  # it waits for the claim
        await worker.finished(15)
        assert worker.exit_status == 0
        async with db.connection() as connection:
            row = await connection.fetchrow("SELECT id, status FROM bookings WHERE patient_id = $1", patient.id)
        assert row is not None
        assert row["status"] == "confirmed"
    finally:
        await system.worker.restart()
    answer = await asked
    assert answer.status_code in {201, 202}
    assert answer.json()["id"] == str(row["id"])


def _wrong(folder: Path) -> dict[str, str]:
    """Production with everything of a demo."""
    keyring = folder / "keyring.json"
    keyring.write_text(Keyring.generate("demo"))
    return {
        "PATH": os.environ["PATH"],
        "AMRUTAM_MODE": "production",
        "AMRUTAM_KEYRING": str(keyring),
        "DATABASE_URL": f"postgresql://amrutam_app:{HIDDEN}@127.0.0.1:1/amrutam",  # where nothing listens
        "REDIS_URL": f"redis://:{HIDDEN}@127.0.0.1",
        "MAIL_FOLDER": str(folder),
        "CORS_ORIGINS": "*",
        "PUBLIC_URL": "http://api.amrutam.test",
    }


FAULTS = (
    "DATABASE_URL", "REDIS_URL", "TEMPORAL_TLS_CERT", "SMTP_URL", "MAIL_FOLDER",
    "AUDIT_CHECKPOINT_FOLDER", "CORS_ORIGINS", "PUBLIC_URL", "DOCUMENTS_URL", "AMRUTAM_KEYRING",
)  # fmt: skip


@pytest.mark.parametrize("arguments", [API, WORKER], ids=["api", "worker"])
async def test_wrong_settings_are_all_named_at_once_and_end_with_status_2(tmp_path: Path, arguments: list[str]) -> None:
    status, said = await (await _spawn(arguments, _wrong(tmp_path))).ended()
    assert status == 2
    first, *faults = said.splitlines()
    assert first.endswith("cannot start:")
    assert [fault.partition(":")[0].partition(",")[0] for fault in faults] == list(FAULTS)
    assert HIDDEN not in said


@pytest.mark.parametrize("arguments", [API, WORKER], ids=["api", "worker"])
async def test_values_that_cannot_be_read_are_named_with_what_is_missing(tmp_path: Path, arguments: list[str]) -> None:
    wrong = _wrong(tmp_path) | {"DATABASE_POOL_SIZE": HIDDEN, "HOLD_SECONDS": "1"}
    del wrong["DATABASE_URL"]
    status, said = await (await _spawn(arguments, wrong)).ended()
    assert status == 2
    named = [fault.partition(":")[0].partition(",")[0] for fault in said.splitlines()[1:]]
    assert sorted(named) == sorted({*FAULTS, "DATABASE_POOL_SIZE", "HOLD_SECONDS"})
    assert HIDDEN not in said


@pytest.mark.parametrize("arguments", [API, WORKER], ids=["api", "worker"])
async def test_what_is_wrong_with_the_database_is_named_with_the_rest(
    system: System, tmp_path: Path, arguments: list[str]
) -> None:
    wrong = _wrong(tmp_path) | {"DATABASE_URL": system.servers.postgres.url(SUPERUSER, DATABASE)}
    del wrong["REDIS_URL"]
    status, said = await (await _spawn(arguments, wrong)).ended()
    assert status == 2
    faults = said.splitlines()[1:]
    assert {"REDIS_URL", "AMRUTAM_KEYRING"} <= {fault.partition(":")[0] for fault in faults}
    of_database = [fault for fault in faults if fault.startswith("DATABASE_URL")]
    assert ["sslmode" in of_database[0], "born in demo" in of_database[1], "superuser" in of_database[2]] == [True] * 3


async def test_a_password_that_the_database_refuses_is_a_fault_like_any_other(system: System) -> None:
    url = system.environment["DATABASE_URL"].replace("amrutam_app", "amrutam_nobody", 1)
    status, said = await (await _spawn(API, {**system.environment, "DATABASE_URL": url})).ended()
    assert (status, len(said.splitlines())) == (2, 2)
    assert said.splitlines()[1].startswith("DATABASE_URL: PostgreSQL knows no such role")


async def test_a_queue_that_does_not_exist_is_named() -> None:
    status, said = await (await _spawn(["worker.py", "bookings", "cakes"], {"PATH": os.environ["PATH"]})).ended()
    assert status == 2
    assert said == "no such queue: cakes; there are bookings, payments, mails, background\n"


async def test_production_refuses_a_demos_database_and_a_superuser(system: System, settings: Settings) -> None:
    production = settings.model_copy(update={"amrutam_mode": "production"})
    url = system.servers.postgres.url(SUPERUSER, DATABASE)
    superuser = await Database.connect(url, size=1, application="tests")
    try:
        born, role = await database_faults(superuser, production)
        assert await database_faults(superuser, settings) == []
    finally:
        await superuser.close()
    assert "born in demo" in born
    assert "superuser" in role


async def test_a_database_without_a_schema_is_told_what_to_run(system: System, settings: Settings) -> None:
    empty = await Database.connect(system.servers.postgres.url(SUPERUSER, "postgres"), size=1, application="tests")
    try:
        [fault] = await database_faults(empty, settings)
        assert "amrutam migrate" in fault
    finally:
        await empty.close()
