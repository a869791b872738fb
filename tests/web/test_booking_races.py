"""Many at once: whoever is first has the time, all others hear why not, and nobody hears of a fault of ours."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from uuid import UUID

import httpx
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from amrutam.storage.pool import Database
from tests.people import Person
from tests.web.slots import book, free_times

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]


async def test_three_hundred_patients_racing_for_one_slot_leave_one_booking(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, db: Database, temporal: Client
) -> None:
    doctor = await make_doctor()
    starts_at = (await free_times(api, doctor))[0]
    patients = [await make_patient() for _ in range(300)]

    answers = await asyncio.gather(*(book(api, patient, doctor, starts_at) for patient in patients))

    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 299}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"slot_taken"}
    async with db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM bookings WHERE doctor_id = $1", doctor.id) == 1
        assert await connection.fetchval("SELECT count(*) FROM claims WHERE resource_id = $1", doctor.id) == 1
        operations = await connection.fetch(
            "SELECT operation_id FROM operations WHERE user_id = ANY ($1)", [patient.id for patient in patients]
        )
    assert len(operations) == 300
    started = [row for row in operations if await _has_workflow(temporal, row["operation_id"])]
    assert len(started) < 30, "the storm reached Temporal"


async def _has_workflow(temporal: Client, operation_id: UUID) -> bool:
    try:
        await temporal.get_workflow_handle(f"booking/{operation_id}").describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True


async def test_fifty_copies_of_one_request_get_fifty_equal_answers(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, db: Database
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    starts_at = (await free_times(api, doctor))[0]
    answers = await asyncio.gather(*(book(api, patient, doctor, starts_at, key="only-once") for _ in range(50)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    async with db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM bookings WHERE patient_id = $1", patient.id) == 1


async def test_one_patient_pressing_every_slot_at_once_never_overlaps(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    patient, doctors = await make_patient(), [await make_doctor() for _ in range(4)]
    starts_at = (await free_times(api, doctors[0]))[0]
    answers = await asyncio.gather(*(book(api, patient, doctor, starts_at) for doctor in doctors))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 3}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"patient_busy"}


async def test_concurrent_cancels_cancel_once(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, db: Database
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    booking = (await book(api, patient, doctor, (await free_times(api, doctor))[0])).json()
    path = f"/v1/bookings/{booking['id']}/cancel"
    answers = await asyncio.gather(*(api.post(path, json={}, headers=patient.writing()) for _ in range(8)))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 7}
    async with db.connection() as connection:
        facts = await connection.fetchval(
            "SELECT count(*) FROM events WHERE subject = $1 AND type = 'booking.cancelled'", UUID(booking["id"])
        )
    assert facts == 1
