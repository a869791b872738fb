"""PostgreSQL has no connection left, or a process none in its pool: 503 or 202 soon, and all recovers by itself."""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import httpx
import pytest

from amrutam.stack.ports import LOOPBACK
from amrutam.stack.postgres import APP, DATABASE, Postgres
from amrutam.storage.pool import Database
from tests.beside import api_beside
from tests.conftest import System
from tests.people import Person
from tests.polling import until
from tests.web.slots import book, free_times

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]
POOL_SIZE = 2
# So long may an answer take that says that there is none: over every bound of the API, below a client's patience.
BOUND_SECONDS = 12.0
API, WORKER = "amrutam-web", "amrutam-worker"
REFUSED, WELCOME = b"E", b"R"


@pytest.fixture(scope="module")
async def small(system: System) -> AsyncGenerator[httpx.AsyncClient, None]:
    """An API with few connections to PostgreSQL and little patience with Temporal."""
    async with api_beside(system, DATABASE_POOL_SIZE=str(POOL_SIZE), TEMPORAL_TIMEOUT_SECONDS="1") as client:
        yield client


def _knock(postgres: Postgres) -> tuple[socket.socket, bytes]:
    """A connection that says who it is and never tells the password, and the first byte of the answer."""
    who = b"".join(word.encode() + b"\0" for word in ("user", APP, "database", DATABASE)) + b"\0"
    connection = socket.create_connection((LOOPBACK, postgres.port), timeout=5)
    connection.sendall(struct.pack("!ii", 8 + len(who), 3 << 16) + who)
    return connection, connection.recv(1)


class _Crowd:
    """Takes whatever connection of PostgreSQL there is."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._sockets: list[socket.socket] = []

    def fill(self) -> None:
        """Until PostgreSQL refuses."""
        while True:
            connection, answer = _knock(self._postgres)
            if answer == REFUSED:
                connection.close()
                return
            assert answer == WELCOME
            self._sockets.append(connection)

    def leave(self) -> None:
        """Give all of them back."""
        for each in self._sockets:
            each.close()


async def _end_connections(superuser: asyncpg.Connection, applications: list[str]) -> bool:
    """Whether they had any left."""
    ended = await superuser.fetch(
        "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE application_name = ANY ($1)", applications
    )
    return bool(ended)


@asynccontextmanager
async def _without_connections(system: System, *applications: str) -> AsyncGenerator[None, None]:
    """Every connection of PostgreSQL is taken; these applications have none at all."""
    crowd = _Crowd(system.servers.postgres)
    async with AsyncExitStack() as stack:
        superuser = await system.servers.postgres.connect()
        stack.push_async_callback(superuser.close)
        stack.callback(crowd.leave)
        async with asyncio.timeout(20):
            await asyncio.to_thread(crowd.fill)
            while await _end_connections(superuser, list(applications)):
                await asyncio.to_thread(crowd.fill)
        yield


@asynccontextmanager
async def _unbounded(system: System) -> AsyncGenerator[asyncpg.Connection, None]:
    """A connection whose transactions may be idle for as long as they like."""
    connection = await system.servers.postgres.connect(DATABASE)
    try:
        yield connection
    finally:
        await connection.close()


async def _told_unavailable(request: Awaitable[httpx.Response]) -> None:
    async with asyncio.timeout(BOUND_SECONDS):
        answer = await request
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
    assert int(answer.headers["retry-after"]) > 0


async def _bookings_of(db: Database, patient: Person) -> int:
    async with db.connection() as connection:
        return await connection.fetchval("SELECT count(*) FROM bookings WHERE patient_id = $1", patient.id)


async def _booked_once(api: httpx.AsyncClient, db: Database, patient: Person, doctor: Person, starts_at: str) -> None:
    async def booked() -> httpx.Response | None:
        answer = await book(api, patient, doctor, starts_at, key="crowd")
        assert answer.status_code in {201, 202, 503}, answer.text
        return answer if answer.status_code == 201 else None

    booking = await until(booked, seconds=40)
    assert booking.json()["status"] == "confirmed"
    assert (await book(api, patient, doctor, starts_at, key="crowd")).content == booking.content
    assert await _bookings_of(db, patient) == 1


async def test_with_every_connection_taken_answers_are_503_and_then_all_is_well_again(
    small: httpx.AsyncClient, system: System, make_patient: MakePatient, make_doctor: MakeDoctor, db: Database
) -> None:
    patient, doctor, unseen = (await make_patient(), await make_doctor(), await make_doctor())
    starts_at = (await free_times(small, doctor))[0]
    async with _without_connections(system, API, WORKER):
        await _told_unavailable(book(small, patient, doctor, starts_at, key="crowd"))
        await _told_unavailable(small.get("/v1/bookings", headers=patient.headers))
        await _told_unavailable(small.get(f"/v1/doctors/{unseen.id}"))
        await _told_unavailable(small.get("/health/ready"))
        assert (await small.get("/health/live")).status_code == 200
        assert starts_at in await free_times(small, doctor)  # cached
    await _booked_once(small, db, patient, doctor, starts_at)
    assert (await small.get(f"/v1/doctors/{unseen.id}")).status_code == 200
    assert (await small.get("/health/ready")).status_code == 200


async def test_a_booking_that_the_worker_has_no_connection_for_is_accepted_and_made_once_it_has_one(
    small: httpx.AsyncClient, system: System, make_patient: MakePatient, make_doctor: MakeDoctor, db: Database
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    starts_at = (await free_times(small, doctor))[0]
    reads = [small.get("/v1/bookings", headers=patient.headers) for _ in range(10)]
    assert [answer.status_code for answer in await asyncio.gather(*reads)] == [200] * 10  # its pool is filled
    async with _without_connections(system, WORKER), asyncio.timeout(BOUND_SECONDS):
        accepted = await book(small, patient, doctor, starts_at, key="crowd")
        assert (accepted.status_code, accepted.json()["status"]) == (202, "pending"), accepted.text
        path = accepted.headers["location"]
        assert (await small.get(path, headers=patient.headers)).status_code == 202

    async def made() -> httpx.Response | None:
        answer = await small.get(path, headers=patient.headers)
        return answer if answer.status_code == 200 else None

    assert (await until(made, seconds=40)).json()["status"] == "confirmed"
    await _booked_once(small, db, patient, doctor, starts_at)


async def test_with_every_connection_of_the_pool_busy_others_wait_a_bounded_time_for_503(
    small: httpx.AsyncClient, system: System, make_patient: MakePatient, make_doctor: MakeDoctor, db: Database
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    booking = await book(small, patient, doctor, (await free_times(small, doctor))[0])
    assert booking.status_code == 201
    off = {"starts_at": "2190-01-01T00:00:00Z", "ends_at": "2190-01-02T00:00:00Z"}

    def take_leave(key: str) -> Awaitable[httpx.Response]:
        return small.post("/v1/doctors/me/exceptions", json=off, headers=doctor.writing(key))

    async with _unbounded(system) as connection, connection.transaction():
        await connection.execute("SELECT FROM calendars WHERE doctor_id = $1 FOR UPDATE", doctor.id)
        busy = [asyncio.ensure_future(take_leave(f"leave-{n}")) for n in range(POOL_SIZE)]

        async def all_wait() -> bool:
            async with db.connection() as beside:
                waiting = await beside.fetchval(
                    """SELECT count(*) FROM pg_stat_activity
                       WHERE wait_event_type = 'Lock' AND application_name = $1 AND query LIKE '%calendars%'""",
                    API,
                )
            return waiting == POOL_SIZE

        await until(all_wait)
        await _told_unavailable(small.get("/v1/bookings", headers=patient.headers))
        assert (await small.get("/v1/specialties")).status_code == 200
        for each in busy:
            await _told_unavailable(each)
    assert [(await take_leave(f"leave-{n}")).status_code for n in range(POOL_SIZE)] == [201] * POOL_SIZE
    listed = await small.get("/v1/bookings", headers=patient.headers)
    assert [each["id"] for each in listed.json()["items"]] == [booking.json()["id"]]
