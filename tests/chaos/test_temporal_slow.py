"""Temporal answers late, or its answer is lost on the way: 202, then the booking, and the same key tells it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import NamedTuple

import httpx
import pytest

from amrutam.storage.pool import Database
from tests.beside import api_beside
from tests.conftest import System
from tests.people import Person
from tests.polling import until
from tests.tcp_proxy import Behaviour, TcpProxy, proxy_to
from tests.web.slots import book, free_times

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]
SEED = 20_260_302
# There and back this takes longer than the API waits for a booking, and less than it waits to hear that it has begun.
LATE_SECONDS, WAIT_SECONDS = 0.35, "0.5"


class Slow(NamedTuple):
    """An API, and what lies between it and Temporal."""

    api: httpx.AsyncClient
    proxy: TcpProxy


@pytest.fixture(scope="module")
async def slow(system: System) -> AsyncGenerator[Slow, None]:
    """An API that reaches Temporal by a proxy. The worker reaches it as ever."""
    temporal = system.servers.temporal
    assert temporal is not None
    async with (
        proxy_to(temporal.port, SEED) as proxy,
        api_beside(system, TEMPORAL_ADDRESS=f"127.0.0.1:{proxy.port}", TEMPORAL_TIMEOUT_SECONDS=WAIT_SECONDS) as client,
    ):
        yield Slow(client, proxy)


async def _told(api: httpx.AsyncClient, patient: Person, path: str) -> httpx.Response:
    async def made() -> httpx.Response | None:
        answer = await api.get(path, headers=patient.headers)
        assert answer.status_code in {200, 202}, answer.text
        return answer if answer.status_code == 200 else None

    return await until(made)


async def _bookings_of(db: Database, patient: Person) -> int:
    async with db.connection() as connection:
        return await connection.fetchval("SELECT count(*) FROM bookings WHERE patient_id = $1", patient.id)


async def test_a_booking_that_temporal_answers_late_is_accepted_and_told_by_its_key(
    slow: Slow, make_patient: MakePatient, make_doctor: MakeDoctor, db: Database
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    starts_at = (await free_times(slow.api, doctor))[0]
    await slow.proxy.turn(Behaviour.DELAY, LATE_SECONDS)
    try:
        accepted = await book(slow.api, patient, doctor, starts_at, key="late")
        assert (accepted.status_code, accepted.json()["status"]) == (202, "pending"), accepted.text
        assert accepted.headers["location"] == f"/v1/bookings/{accepted.json()['id']}"
        booking = await _told(slow.api, patient, accepted.headers["location"])
        again = await book(slow.api, patient, doctor, starts_at, key="late")
    finally:
        await slow.proxy.turn(Behaviour.OPEN)
    assert (again.status_code, again.json()) == (201, booking.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["status"] == "confirmed"
    assert await _bookings_of(db, patient) == 1


async def _booked_once(
    api: httpx.AsyncClient, db: Database, patient: Person, doctor: Person, starts_at: str, key: str
) -> None:
    async def booked() -> httpx.Response | None:
        answer = await book(api, patient, doctor, starts_at, key)
        assert answer.status_code in {201, 202, 503}, answer.text
        return answer if answer.status_code == 201 else None

    booking = await until(booked)
    assert booking.json()["status"] == "confirmed"
    assert (await book(api, patient, doctor, starts_at, key)).content == booking.content
    assert await _bookings_of(db, patient) == 1


async def test_a_temporal_that_is_silent_is_said_to_be_away_and_the_same_key_books_once(
    slow: Slow, make_patient: MakePatient, make_doctor: MakeDoctor, db: Database
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    times = await free_times(slow.api, doctor)
    await slow.proxy.turn(Behaviour.HANG)
    try:
        answer = await book(slow.api, patient, doctor, times[0], key="silent")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert (await slow.api.get(f"/v1/doctors/{doctor.id}")).status_code == 200
    finally:
        await slow.proxy.turn(Behaviour.OPEN)
    await _booked_once(slow.api, db, patient, doctor, times[0], "silent")


async def test_a_connection_to_temporal_that_breaks_under_a_booking_doubles_nothing(
    slow: Slow, make_patient: MakePatient, make_doctor: MakeDoctor, db: Database
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    times = await free_times(slow.api, doctor)
    before = slow.proxy.broken

    async def is_broken() -> bool:
        return slow.proxy.broken > before

    await slow.proxy.turn(Behaviour.CUT)
    try:
        asked = asyncio.create_task(book(slow.api, patient, doctor, times[0], key="broken"))
        await until(is_broken)
    finally:
        await slow.proxy.turn(Behaviour.OPEN)
    assert (await asked).status_code in {201, 202, 503}
    await _booked_once(slow.api, db, patient, doctor, times[0], "broken")


async def test_a_cancel_whose_answer_is_late_is_in_progress_and_its_key_tells_it_later(
    slow: Slow, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    times = await free_times(slow.api, doctor)
    booking = (await book(slow.api, patient, doctor, times[0])).json()
    path = f"/v1/bookings/{booking['id']}/cancel"
    await slow.proxy.turn(Behaviour.DELAY, LATE_SECONDS)
    try:
        late = await slow.api.post(path, json={}, headers=patient.writing("late"))
    finally:
        await slow.proxy.turn(Behaviour.OPEN)
    assert (late.status_code, late.json()["code"]) == (409, "operation_in_progress"), late.text
    assert int(late.headers["retry-after"]) > 0

    async def cancelled() -> httpx.Response | None:
        answer = await slow.api.post(path, json={}, headers=patient.writing("late"))
        return answer if answer.status_code == 200 else None

    assert (await until(cancelled)).json()["status"] == "cancelled"
    assert (await slow.api.get(f"/v1/bookings/{booking['id']}", headers=patient.headers)).json()[
        "status"
    ] == "cancelled"
