"""Support finds patients by address or telephone number, and sees nothing clinical."""

import secrets
from typing import Any

import httpx
import pytest

from amrutam.domain.common import Role
from amrutam.ids import new_id
from amrutam.storage.pool import Database
from tests.people import People, Person
from tests.web.accounts import MakePatient
from tests.web.slots import book, free_times


@pytest.fixture(scope="module")
async def support(people: People) -> Person:
    return await people.staff(Role.SUPPORT)


def _new_phone() -> str:
    """One that nobody has."""
    return f"+91{secrets.randbelow(10**10):010d}"


async def _says(api: httpx.AsyncClient, person: Person, **said: Any) -> None:
    """The person edits their own account."""
    etag = (await api.get("/v1/me", headers=person.headers)).headers["etag"]
    answer = await api.patch("/v1/me", json=said, headers={**person.headers, "If-Match": etag})
    assert answer.status_code == 200, answer.text


async def _find(api: httpx.AsyncClient, support: Person, **sought: str) -> list[dict[str, Any]]:
    answer = await api.get("/v1/support/patients", params=sought, headers=support.headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()["items"]


async def test_a_patient_is_found_by_address_however_it_is_written(
    api: httpx.AsyncClient, support: Person, make_patient: MakePatient
) -> None:
    patient = await make_patient()
    [found] = await _find(api, support, email=f" {patient.email.upper()} ")
    assert found["id"] == str(patient.id)
    assert found["created_at"].endswith("Z")
    assert {**found, "id": None, "created_at": None} == {
        "id": None,
        "full_name": "Asha Rao",
        "email": patient.email,
        "email_verified": True,
        "phone": None,
        "created_at": None,
        "roles": ["patient"],
    }


async def test_a_patient_is_found_by_number_however_it_is_written_and_its_last_digits_are_told(
    api: httpx.AsyncClient, support: Person, make_patient: MakePatient
) -> None:
    patient, phone = await make_patient(), _new_phone()
    await _says(api, patient, phone=phone)
    for written in (phone, f"{phone[:3]} {phone[3:8]}-{phone[8:]}"):
        [found] = await _find(api, support, phone=written)
        assert (found["id"], found["phone"]) == (str(patient.id), "*********" + phone[-4:])


async def test_a_family_with_one_number_is_found_in_pages_the_newest_first(
    api: httpx.AsyncClient, support: Person, make_patient: MakePatient
) -> None:
    family, phone = [await make_patient() for _ in range(3)], _new_phone()
    for each in family:
        await _says(api, each, phone=phone)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        params = {"phone": phone, "limit": "2", **cursor}
        page = (await api.get("/v1/support/patients", params=params, headers=support.headers)).json()
        seen += [each["id"] for each in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == [str(each.id) for each in reversed(family)]


async def test_a_number_that_was_given_up_finds_nobody(
    api: httpx.AsyncClient, support: Person, make_patient: MakePatient
) -> None:
    patient, phone, later = await make_patient(), _new_phone(), _new_phone()
    await _says(api, patient, phone=phone)
    await _says(api, patient, phone=later)
    assert await _find(api, support, phone=phone) == []
    assert len(await _find(api, support, phone=later)) == 1
    await _says(api, patient, phone=None)
    assert await _find(api, support, phone=later) == []


async def test_staff_and_doctors_are_not_found(api: httpx.AsyncClient, support: Person, people: People) -> None:
    for other in (await people.staff(Role.ADMIN), await people.staff(Role.SUPPORT), await people.doctor()):
        assert await _find(api, support, email=other.email) == []


async def test_no_number_lies_in_the_table_as_it_is(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient, phone = await make_patient(), _new_phone()
    await _says(api, patient, phone=phone)
    async with db.connection() as connection:
        row = await connection.fetchval("SELECT users::text FROM users WHERE id = $1", patient.id)
        stored = await connection.fetchval("SELECT phone || phone_index FROM users WHERE id = $1", patient.id)
    assert phone[1:] not in row
    assert phone[1:].encode() not in stored


async def test_every_search_is_noted_with_whom_it_found_and_each_of_them_can_see_it(
    api: httpx.AsyncClient, db: Database, people: People, make_patient: MakePatient
) -> None:
    support, patient = await people.staff(Role.SUPPORT), await make_patient()
    await _find(api, support, email=patient.email)
    await _find(api, support, email=f"{new_id().hex}@nobody.test")
    await _find(api, support, email=patient.email)
    async with db.connection() as connection:
        rows = await connection.fetch(
            "SELECT action, patient_id, subject FROM audit WHERE actor_id = $1 ORDER BY id", support.id
        )
    first, missed, again = [row["subject"] for row in rows if row["action"] == "patient.search"]
    assert first == again != missed
    found = [(row["patient_id"], row["subject"]) for row in rows if row["action"] == "patient.find"]
    assert found == [(patient.id, first)] * 2
    log = (await api.get("/v1/me/access-log", headers=patient.headers)).json()["items"]
    assert {(each["action"], each["actor_role"]) for each in log} == {("patient.find", "support")}


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"email": "a@b.test", "phone": "+919876543210"},
        {"phone": "9876543210"},
        {"email": "nobody"},
        {"name": "Asha"},
        {"email": "%@%"},
    ],
)
async def test_half_an_address_both_or_nothing_is_refused(
    api: httpx.AsyncClient, support: Person, query: dict[str, str]
) -> None:
    answer = await api.get("/v1/support/patients", params=query, headers=support.headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


async def test_support_sees_a_patients_booking_without_clinical_text(
    api: httpx.AsyncClient, support: Person, people: People, make_patient: MakePatient
) -> None:
    patient, doctor = await make_patient(), await people.doctor()
    [starts_at, *_] = await free_times(api, doctor)
    booked = await book(api, patient, doctor, starts_at, reason="a rash since Monday")
    assert booked.json()["reason"] == "a rash since Monday"
    answer = await api.get(booked.headers["location"], headers=support.headers)
    assert answer.status_code == 200
    assert not {"reason", "cancellation_reason"} & answer.json().keys()
    assert "rash" not in answer.text
    assert (await api.get("/v1/bookings", headers=support.headers)).status_code == 403


async def test_a_doctor_reads_what_a_patient_told_for_a_while_after_the_visit_and_no_longer(
    api: httpx.AsyncClient, db: Database, people: People, make_patient: MakePatient
) -> None:
    patient, doctor, other = await make_patient(), await people.doctor(), await people.doctor()
    [starts_at, *_] = await free_times(api, doctor)
    booked = await book(api, patient, doctor, starts_at, reason="a rash since Monday")
    here = booked.headers["location"]

    async def seen(person: Person) -> list[Any]:
        one = (await api.get(here, headers=person.headers)).json()
        [listed] = (await api.get("/v1/bookings", headers=person.headers)).json()["items"]
        return [one.get("reason"), listed.get("reason")]

    assert await seen(doctor) == ["a rash since Monday"] * 2
    assert (await api.get(here, headers=other.headers)).status_code == 404
    for days, told in ((89, "a rash since Monday"), (91, None)):
        async with db.connection() as connection:
            await connection.execute(
                """UPDATE bookings SET starts_at = now() - make_interval(days => $2, mins => 15),
                                       ends_at = now() - make_interval(days => $2) WHERE id = $1::uuid""",
                booked.json()["id"], days,
            )  # fmt: skip
        assert await seen(doctor) == [told] * 2
        assert await seen(patient) == ["a rash since Monday"] * 2
