"""Clients that drip, break off, hold on or tell another time: nothing is left behind, and others are served."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from amrutam.stack.ports import LOOPBACK
from amrutam.storage.pool import Database
from tests.beside import api_beside
from tests.conftest import System
from tests.people import Person
from tests.polling import until
from tests.web.slots import book, free_times, wish

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]
REQUEST_SECONDS = 1
# What is not cut by then is not cut at all: a client that drips would hold its connection as long as it likes.
CUT_SECONDS = 10 * REQUEST_SECONDS
HALF_OPEN = 300


@pytest.fixture(scope="module")
async def hasty(system: System) -> AsyncGenerator[httpx.AsyncClient, None]:
    """An API with little patience."""
    async with api_beside(system, REQUEST_TIMEOUT_SECONDS=str(REQUEST_SECONDS)) as client:
        yield client


def _port(api: httpx.AsyncClient) -> int:
    assert api.base_url.port is not None
    return api.base_url.port


@asynccontextmanager
async def _connected(api: httpx.AsyncClient) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter], None]:
    reader, writer = await asyncio.open_connection(LOOPBACK, _port(api))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _drip(writer: asyncio.StreamWriter, drop: bytes) -> None:
    """A drop at a time, each well before anybody's patience with silence ends."""
    while True:
        writer.write(drop)
        await asyncio.sleep(REQUEST_SECONDS / 5)


async def _cut_while_dripping(api: httpx.AsyncClient, head: bytes, drop: bytes) -> bytes:
    """What the server said before it closed the connection. Raises TimeoutError when it does not."""
    async with _connected(api) as (reader, writer):
        writer.write(head)
        dripping = asyncio.create_task(_drip(writer, drop))
        said = b""
        try:
            async with asyncio.timeout(CUT_SECONDS):
                while part := await reader.read(4096):
                    said += part
        except ConnectionError:  # drops that came after the end
            pass
        finally:
            dripping.cancel()
        return said


def _head(patient: Person, key: str, length: int) -> bytes:
    lines = (
        "POST /v1/bookings HTTP/1.1",
        "Host: amrutam.test",
        f"Authorization: Bearer {patient.token}",
        f"Idempotency-Key: {key}",
        "Content-Type: application/json",
        f"Content-Length: {length}",
    )
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


async def test_headers_that_drip_are_cut_off(hasty: httpx.AsyncClient) -> None:
    said = await _cut_while_dripping(hasty, b"GET /v1/specialties HTTP/1.1\r\nX-Slow: ", b"a")
    assert said.startswith(b"HTTP/1.1 408 "), said
    assert b'"request_timeout"' in said


async def test_a_body_that_drips_is_cut_off(hasty: httpx.AsyncClient, make_patient: MakePatient) -> None:
    said = await _cut_while_dripping(hasty, _head(await make_patient(), "drip", 5000) + b"{", b" ")
    assert said.startswith(b"HTTP/1.1 408 "), said


async def test_a_body_that_drips_after_its_refusal_is_cut_off(hasty: httpx.AsyncClient) -> None:
    head = b"POST /v1/bookings HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n"
    assert (await _cut_while_dripping(hasty, head, b" ")).startswith(b"HTTP/1.1 401 ")


async def _records_of(db: Database, patient: Person) -> tuple[int, int]:
    """Idempotency records and bookings."""
    async with db.connection() as connection:
        row = await connection.fetchrow(
            """SELECT (SELECT count(*) FROM operations WHERE user_id = $1) AS operations,
                      (SELECT count(*) FROM bookings WHERE patient_id = $1) AS bookings""",
            patient.id,
        )
    assert row is not None
    return row["operations"], row["bookings"]


async def _in_flight(system: System) -> float:
    """Requests that the API works on; the one for its metrics goes to another port."""
    async with httpx.AsyncClient(trust_env=False) as client:
        metrics = (await client.get(f"http://{LOOPBACK}:{system.environment['METRICS_PORT']}/metrics")).text
    return float(metrics.partition("\namrutam_http_in_flight ")[2].partition("\n")[0])


@pytest.mark.parametrize("abrupt", [True, False], ids=["reset", "closed"])
async def test_a_body_that_breaks_off_leaves_nothing_and_its_key_books_once(
    api: httpx.AsyncClient,
    system: System,
    make_patient: MakePatient,
    make_doctor: MakeDoctor,
    db: Database,
    abrupt: bool,
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    starts_at = (await free_times(api, doctor))[0]
    body = json.dumps(wish(doctor, starts_at)).encode()
    idle = await _in_flight(system)
    reader, writer = await asyncio.open_connection(LOOPBACK, _port(api))
    writer.write(_head(patient, "half", len(body)) + body[: len(body) // 2])

    async def begun() -> bool:
        return await _in_flight(system) > idle

    await until(begun)
    (writer.transport.abort if abrupt else writer.close)()

    async def over() -> bool:
        return await _in_flight(system) <= idle

    await until(over)
    assert await reader.read() == b""
    assert await _records_of(db, patient) == (0, 0)
    assert starts_at in await free_times(api, doctor)

    assert (await book(api, patient, doctor, starts_at, key="half")).status_code == 201
    assert await _records_of(db, patient) == (1, 1)


async def test_a_client_that_leaves_before_its_answer_finds_it_by_its_key(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, db: Database
) -> None:
    doctor = await make_doctor()
    times = await free_times(api, doctor)

    async def leave_then_ask(patient: Person, starts_at: str, after_seconds: float) -> None:
        body = json.dumps(wish(doctor, starts_at)).encode()
        _, writer = await asyncio.open_connection(LOOPBACK, _port(api))
        writer.write(_head(patient, "gone", len(body)) + body)
        await asyncio.sleep(after_seconds)
        writer.transport.abort()
        # The same bytes: another rendering of the same wish would be another request.
        headers = {**patient.writing("gone"), "Content-Type": "application/json"}
        answer = await api.post("/v1/bookings", content=body, headers=headers)
        assert (answer.status_code, answer.json()["status"]) == (201, "confirmed"), answer.text
        assert await _records_of(db, patient) == (1, 1)

    patients = [await make_patient() for _ in range(10)]
    await asyncio.gather(*(leave_then_ask(each, times[n], n * 0.006) for n, each in enumerate(patients)))


@contextmanager
def _half_open(port: int, begun: list[bytes]) -> Generator[None]:
    sockets: list[socket.socket] = []
    try:
        for n in range(HALF_OPEN):
            sockets.append(socket.create_connection((LOOPBACK, port), timeout=5))
            sockets[-1].sendall(begun[n % len(begun)])
        yield
    finally:
        for each in sockets:
            each.close()


async def test_hundreds_of_half_open_connections_stop_nobody_else(
    api: httpx.AsyncClient, system: System, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    stranger, patient, doctor = (await make_patient(), await make_patient(), await make_doctor())
    begun = [b"", b"P", b"GET /v1/specialties HTTP/1.1\r\nX-Half: ", _head(stranger, "never", 1000) + b"{"]
    assert system.api.process is not None
    log = system.api.process.program.log
    said_before = len(log.read_text())
    with _half_open(_port(api), begun):
        times = await free_times(api, doctor)
        assert (await book(api, patient, doctor, times[0])).status_code == 201
        assert await free_times(api, doctor) == times[1:]
        assert (await api.get("/health/ready")).status_code == 200
    assert (await book(api, patient, doctor, times[1])).status_code == 201
    assert '"level": "error"' not in log.read_text()[said_before:]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"no request at all\r\n\r\n",
        b"GET /v1/specialties HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST /v1/auth/login HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /v1/auth/login HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"POST /v1/auth/login HTTP/1.1\r\nContent-Length: -2\r\n\r\n{}",
        b"POST /v1/auth/login HTTP/1.1\r\nContent-Length: two\r\n\r\n{}",
        b"POST /v1/auth/login HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    ],
    ids=["tls", "version", "words", "header", "lengths", "both", "negative", "word", "chunk"],
)
async def test_what_is_no_http_is_refused_and_the_connection_closed(api: httpx.AsyncClient, garbage: bytes) -> None:
    async with _connected(api) as (reader, writer):
        writer.write(garbage)
        async with asyncio.timeout(CUT_SECONDS):
            said = await reader.read()
    assert said.startswith(b"HTTP/1.1 400 "), said
    assert said.count(b"HTTP/1.1") == 1
    assert b"connection: close" in said.lower()


@pytest.mark.parametrize("offset", ["+05:30", "-11:00", "+14:00", "+00:00", "-00:00"])
async def test_a_time_means_the_same_instant_at_every_offset(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, offset: str
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    times = await free_times(api, doctor)
    there = datetime.fromisoformat(times[0]).astimezone(datetime.fromisoformat(f"2026-01-01T00:00:00{offset}").tzinfo)
    text = f"{there:%Y-%m-%dT%H:%M:%S}{offset}"
    booked = await book(api, patient, doctor, text, key="k")
    assert (booked.status_code, booked.json()["starts_at"]) == (201, times[0]), booked.text
    assert (await book(api, patient, doctor, text, key="k")).content == booked.content
    assert (await book(api, await make_patient(), doctor, times[0])).json()["code"] == "slot_taken"
    assert times[0] not in await free_times(api, doctor)


def _http_date(moment: datetime) -> str:
    return f"{moment:%a, %d %b %Y %H:%M:%S} GMT"


async def test_only_the_servers_clock_says_whether_a_time_is_past(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, now: datetime
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    past = (now - timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    far = past + timedelta(days=3650)
    ahead = (await free_times(api, doctor))[0]
    for clock in (past - timedelta(days=2), far + timedelta(days=1), datetime(1970, 1, 1, tzinfo=UTC)):
        told = {"Date": _http_date(clock), "If-Modified-Since": _http_date(clock)}
        for starts_at in (past, far):
            body = wish(doctor, starts_at.isoformat())
            refused = await api.post("/v1/bookings", json=body, headers=patient.writing() | told)
            assert (refused.status_code, refused.json()["code"]) == (422, "not_a_slot")
        booked = await api.post("/v1/bookings", json=wish(doctor, ahead), headers=patient.writing() | told)
        assert booked.status_code == 201
        path = f"/v1/bookings/{booked.json()['id']}"
        read = await api.get(path, headers=patient.headers | told)
        assert (read.status_code, read.json()["status"]) == (200, "confirmed")
        assert (await api.post(f"{path}/cancel", json={}, headers=patient.writing() | told)).status_code == 200


async def test_a_public_answer_is_not_held_back_by_what_a_client_believes_it_has_since_when(
    api: httpx.AsyncClient, make_doctor: MakeDoctor, now: datetime
) -> None:
    doctor = await make_doctor()
    tomorrow = _http_date(now + timedelta(days=1))
    for headers in ({"If-Modified-Since": tomorrow}, {"If-Modified-Since": "garbage"}, {"If-None-Match": '"another"'}):
        assert (await api.get(f"/v1/doctors/{doctor.id}", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01"},
        {"traceparent": "garbage", "tracestate": "=" * 600},
        {"traceparent": "00-" + "g" * 32 + "-" + "1" * 16 + "-01"},
        {"X-Request-Id": "a" * 5000},
        {"X-Request-Id": "../../etc/passwd\t{{7*7}}"},
        {"X-Request-Id": ""},
    ],
    ids=["zeros", "words", "letters", "long", "path", "empty"],
)
async def test_garbage_for_a_trace_is_replaced(api: httpx.AsyncClient, headers: dict[str, Any]) -> None:
    answer = await api.get("/v1/specialties", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["x-request-id"] not in {*headers.values()}
    assert len(answer.headers["x-request-id"]) == 32
