"""Support books for a patient who is on the telephone: audited as such, and the patient's own from then on."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import httpx
import pytest

from amrutam.domain.common import Role
from amrutam.storage.pool import Database
from tests.people import People, Person
from tests.web.slots import book, free_times

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]


@pytest.fixture
async def support(people: People) -> Person:
    """Who answers the telephone."""
    return await people.with_factor(await people.staff(Role.SUPPORT))


async def test_what_support_books_is_the_patients_and_says_who_booked_it(
    api: httpx.AsyncClient, support: Person, make_patient: MakePatient, make_doctor: MakeDoctor, db: Database
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    starts_at = (await free_times(api, doctor))[0]
    answer = await book(api, support, doctor, starts_at, patient_id=str(patient.id), reason="An itching rash")
    booking = answer.json()
    assert answer.status_code == 201, answer.text
    assert (booking["patient_id"], booking["booked_by"]) == (str(patient.id), str(support.id))
    assert "reason" not in booking
    own = (await api.get(f"/v1/bookings/{booking['id']}", headers=patient.headers)).json()
    assert (own["reason"], own["actions"]) == ("An itching rash", ["cancel", "reschedule"])
    async with db.connection() as connection:
        row = await connection.fetchrow(
            "SELECT actor_id, actor_role, patient_id FROM audit WHERE subject = $1 AND action = 'booking.create'",
            UUID(booking["id"]),
        )
    assert row
    assert tuple(row) == (support.id, "support", patient.id)
    overlapping = await book(api, patient, await make_doctor(), starts_at)
    assert (overlapping.status_code, overlapping.json()["code"]) == (409, "patient_busy")


async def test_support_names_a_patient_and_nobody_else_books_for_another(
    api: httpx.AsyncClient, support: Person, make_patient: MakePatient, make_doctor: MakeDoctor, some_id: UUID
) -> None:
    doctor, patient = await make_doctor(), await make_patient()
    starts_at = (await free_times(api, doctor))[0]
    for wrong in ({}, {"patient_id": str(doctor.id)}, {"patient_id": str(some_id)}):
        answer = await book(api, support, doctor, starts_at, **wrong)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/patient_id")
    answer = await book(api, patient, doctor, starts_at, patient_id=str((await make_patient()).id))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
