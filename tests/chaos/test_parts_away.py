"""A part is away and comes back: what was accepted is done once, what was refused left nothing behind."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx

from amrutam.stack.part import Part
from amrutam.storage.pool import Database
from tests.conftest import System
from tests.people import Person
from tests.polling import until
from tests.web.slots import book, free_times

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]


@asynccontextmanager
async def _away(part: Part) -> AsyncGenerator[None, None]:
    await part.kill()
    try:
        yield
    finally:
        await part.start()


async def _bookings_of(db: Database, patient: Person) -> int:
    async with db.connection() as connection:
        return await connection.fetchval("SELECT count(*) FROM bookings WHERE patient_id = $1", patient.id)


async def test_without_a_worker_a_booking_is_accepted_and_made_when_one_comes(
    api: httpx.AsyncClient, system: System, make_patient: MakePatient, make_doctor: MakeDoctor, db: Database
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    starts_at = (await free_times(api, doctor))[0]
    async with _away(system.worker):
        accepted = await book(api, patient, doctor, starts_at, key="patience")
        assert (accepted.status_code, accepted.json()["status"]) == (202, "pending")
        path = accepted.headers["location"]
        assert path == f"/v1/bookings/{accepted.json()['id']}"
        waiting = await api.get(path, headers=patient.headers)
        assert (waiting.status_code, waiting.json()) == (202, accepted.json())
        assert (await api.get(path, headers=(await make_patient()).headers)).status_code == 404

    async def made() -> httpx.Response | None:
        answer = await api.get(path, headers=patient.headers)
        return answer if answer.status_code == 200 else None

    booking = (await until(made)).json()
    again = await book(api, patient, doctor, starts_at, key="patience")
    assert (again.status_code, again.json()) == (201, booking)
    assert again.headers["idempotency-replayed"] == "true"
    assert await _bookings_of(db, patient) == 1


async def test_without_temporal_a_booking_is_refused_and_the_same_key_later_gets_it(
    api: httpx.AsyncClient, system: System, make_patient: MakePatient, make_doctor: MakeDoctor, db: Database
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    starts_at = (await free_times(api, doctor))[0]
    temporal = system.servers.temporal
    assert temporal is not None
    async with _away(temporal):
        refused = await book(api, patient, doctor, starts_at, key="later")
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert int(refused.headers["retry-after"]) > 0
        assert await _bookings_of(db, patient) == 0
        assert (await api.get("/health/ready")).status_code == 503
        assert (await api.get(f"/v1/doctors/{doctor.id}")).status_code == 200

    async def accepted() -> httpx.Response | None:
        answer = await book(api, patient, doctor, starts_at, key="later")
        return answer if answer.status_code == 201 else None

    await until(accepted, seconds=60)
    assert await _bookings_of(db, patient) == 1


async def test_without_redis_everything_is_right_and_only_slower(
    api: httpx.AsyncClient, system: System, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    async with _away(system.servers.valkey):
        times = await free_times(api, doctor)
        assert (await book(api, patient, doctor, times[0])).status_code == 201
        assert await free_times(api, doctor) == times[1:]
        assert (await api.get("/v1/doctors", params={"limit": 1})).status_code == 200
        assert (await api.get("/health/ready")).status_code == 200
    assert (await book(api, patient, doctor, times[4])).status_code == 201

    async def fresh() -> bool:
        return await free_times(api, doctor) == [time for time in times if time not in {times[0], times[4]}]

    assert await until(fresh)


async def test_without_postgresql_answers_are_503_and_it_recovers_by_itself(
    api: httpx.AsyncClient, system: System, make_patient: MakePatient, make_doctor: MakeDoctor, db: Database
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    starts_at = (await free_times(api, doctor))[0]
    async with _away(system.servers.postgres):
        refused = await book(api, patient, doctor, starts_at, key="after the crash".replace(" ", "-"))
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")

    async def accepted() -> httpx.Response | None:
        answer = await book(api, patient, doctor, starts_at, key="after-the-crash")
        return answer if answer.status_code == 201 else None

    await until(accepted, seconds=60)
    assert await _bookings_of(db, patient) == 1
