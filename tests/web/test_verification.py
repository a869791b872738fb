"""Doctors are verified, asked for more, rejected, suspended; who is not verified is found nowhere, booked by nobody."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest

from amrutam.domain.common import Role
from amrutam.storage.pool import Database
from tests.people import People, Person
from tests.polling import until
from tests.web.slots import book, free_times
from tests.web.verifying import LICENCE, decide, edit, standing, submit

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]
Outbox = Callable[..., Awaitable[list[dict[str, Any]]]]


@pytest.fixture(scope="module")
async def admin(people: People) -> Person:
    """Has just shown a second factor."""
    return await people.with_factor(await people.staff(Role.ADMIN))


@pytest.fixture
async def applicant(api: httpx.AsyncClient, make_doctor: MakeDoctor) -> Person:
    """A doctor whose profile names a registration that nobody has checked."""
    doctor = await make_doctor(verified=False)
    await edit(api, doctor, registration=LICENCE)
    return doctor


async def found(api: httpx.AsyncClient, patient: Person, doctor: Person) -> dict[str, bool]:
    """By which paths a patient gets at the doctor."""
    soon = (datetime.now(UTC) + timedelta(days=2)).replace(minute=0, second=0, microsecond=0)
    asked = await asyncio.gather(
        api.get(f"/v1/doctors/{doctor.id}"),
        api.get(f"/v1/doctors/{doctor.id}/slots"),
        book(api, patient, doctor, f"{soon:%Y-%m-%dT%H:%M:%SZ}"),
    )
    for answer in asked:
        assert answer.status_code < 500, answer.text
    profile, slots, booked = (answer.is_success for answer in asked)
    return {"profile": profile, "slots": slots, "booked": booked}


NOWHERE = {"profile": False, "slots": False, "booked": False}
EVERYWHERE = {"profile": True, "slots": True, "booked": True}


async def test_who_is_approved_can_be_found_and_booked_and_before_that_cannot(
    api: httpx.AsyncClient, applicant: Person, admin: Person, make_patient: MakePatient, outbox: Outbox
) -> None:
    patient = await make_patient()
    assert await standing(api, applicant) == "unsubmitted"
    assert await found(api, patient, applicant) == NOWHERE
    submitted = await submit(api, applicant, note="The certificate follows.")
    assert submitted.status_code == 201, submitted.text
    assert (submitted.json()["state"], submitted.json()["note"]) == ("pending", "The certificate follows.")
    assert await found(api, patient, applicant) == NOWHERE
    listed = await api.get("/v1/admin/doctors?verification=pending&limit=100", headers=admin.headers)
    waiting = {each["submission"]["id"]: each for each in listed.json()["items"]}
    assert waiting[submitted.json()["id"]]["doctor"]["id"] == str(applicant.id)
    approved = await decide(api, admin, applicant, "approve")
    assert approved.status_code == 200, approved.text
    assert approved.json()["standing"] == await standing(api, applicant) == "verified"
    assert await found(api, patient, applicant) == EVERYWHERE
    assert await outbox(applicant.email, subject="You are verified")


async def test_a_submission_sent_twice_with_one_key_is_one(api: httpx.AsyncClient, applicant: Person) -> None:
    first, again = await asyncio.gather(*(submit(api, applicant, key="once") for _ in range(2)))
    assert first.json()["id"] == again.json()["id"]
    other = await submit(api, applicant)
    assert (other.status_code, other.json()["code"]) == (409, "invalid_state")


async def test_what_cannot_be_checked_is_refused_by_name(api: httpx.AsyncClient, make_doctor: MakeDoctor) -> None:
    doctor = await make_doctor(verified=False)
    without = await submit(api, doctor)
    assert (without.status_code, without.json()["errors"][0]["pointer"]) == (422, "/registration")
    await edit(api, doctor, registration=LICENCE)
    lapsed = await submit(api, doctor, until=date(2020, 1, 1))
    assert (lapsed.status_code, lapsed.json()["errors"][0]["pointer"]) == (422, "/registration_valid_until")
    strange = await submit(api, doctor, documents=[str(doctor.id)])
    assert (strange.status_code, strange.json()["errors"][0]["pointer"]) == (422, "/documents/0")
    assert await standing(api, doctor) == "unsubmitted"


async def test_more_is_asked_for_and_the_answer_goes_on_with_the_same_submission(
    api: httpx.AsyncClient, applicant: Person, admin: Person, outbox: Outbox
) -> None:
    first = (await submit(api, applicant)).json()
    wordless = await decide(api, admin, applicant, "ask")
    assert (wordless.status_code, wordless.json()["errors"][0]["pointer"]) == (422, "/reason")
    asked = await decide(api, admin, applicant, "ask", reason="The scan is too dark to read.")
    assert asked.json()["standing"] == "more_wanted"
    own = (await api.get("/v1/doctors/me/verification", headers=applicant.headers)).json()
    assert own["submission"]["reason"] == "The scan is too dark to read."
    assert own["submission"]["answer_by"]
    mail = (await outbox(applicant.email))[0]
    assert "The scan is too dark to read." in mail["text"]
    early = await decide(api, admin, applicant, "approve")
    assert (early.status_code, early.json()["code"]) == (409, "invalid_state")
    answered = await submit(api, applicant, note="Here is a better one.")
    assert (answered.status_code, answered.json()["id"], answered.json()["state"]) == (201, first["id"], "pending")
    assert (await decide(api, admin, applicant, "approve")).json()["standing"] == "verified"


async def test_who_was_rejected_may_submit_again(api: httpx.AsyncClient, applicant: Person, admin: Person) -> None:
    first = (await submit(api, applicant)).json()
    rejected = await decide(api, admin, applicant, "reject", reason="The council does not know this number.")
    assert rejected.json()["standing"] == "rejected"
    again = await submit(api, applicant)
    assert again.status_code == 201
    assert again.json()["id"] != first["id"]


async def test_another_name_or_registration_asks_for_verification_again(
    api: httpx.AsyncClient, applicant: Person, admin: Person, make_patient: MakePatient
) -> None:
    patient = await make_patient()
    await submit(api, applicant)
    await decide(api, admin, applicant, "approve")
    await edit(api, applicant, bio="Speaks slowly.")
    assert await standing(api, applicant) == "verified"
    await edit(api, applicant, registration={**LICENCE, "number": "KMC-1"})
    assert await standing(api, applicant) == "unsubmitted"
    assert await found(api, patient, applicant) == NOWHERE


async def test_what_was_submitted_of_another_name_cannot_be_approved(
    api: httpx.AsyncClient, applicant: Person, admin: Person
) -> None:
    await submit(api, applicant)
    await edit(api, applicant, full_name="Dr Somebody Else")
    late = await decide(api, admin, applicant, "approve")
    assert (late.status_code, late.json()["code"]) == (409, "invalid_state")
    assert await standing(api, applicant) == "unsubmitted"
    assert (await submit(api, applicant)).status_code == 201


async def test_a_registration_that_has_lapsed_closes_every_path_to_the_second(
    api: httpx.AsyncClient, make_doctor: MakeDoctor, make_patient: MakePatient, owner: Database
) -> None:
    doctor, patient = await make_doctor(), await make_patient()
    async with owner.connection() as db:
        await db.execute("UPDATE doctors SET verified_until = now() WHERE id = $1", doctor.id)
    assert await standing(api, doctor) == "lapsed"
    assert await found(api, patient, doctor) == NOWHERE
    listed = await api.get("/v1/doctors", params={"q": "Meera Iyer", "limit": 100})
    assert str(doctor.id) not in {each["id"] for each in listed.json()["items"]}


async def test_the_bookings_of_a_suspended_doctor_are_called_off_and_the_patients_told(
    api: httpx.AsyncClient, make_doctor: MakeDoctor, make_patient: MakePatient, admin: Person, outbox: Outbox
) -> None:
    doctor, patients = await make_doctor(), [await make_patient() for _ in range(3)]
    times = await free_times(api, doctor)
    bookings = [
        (await book(api, patient, doctor, starts_at)).json()
        for patient, starts_at in zip(patients, times, strict=False)
    ]
    assert {each["status"] for each in bookings} == {"confirmed"}
    suspended = await decide(api, admin, doctor, "suspend", reason="A complaint is looked into.")
    assert suspended.json()["standing"] == "suspended"
    assert await found(api, patients[0], doctor) == NOWHERE
    for patient, booking in zip(patients, bookings, strict=True):

        async def called_off(patient: Person = patient, booking: dict[str, Any] = booking) -> dict[str, Any] | None:
            seen = (await api.get(f"/v1/bookings/{booking['id']}", headers=patient.headers)).json()
            return seen if seen["status"] == "cancelled" else None

        assert (await until(called_off))["cancellation"]["by"] == "admin"
        [mail] = await outbox(patient.email, subject="Your visit was called off")
        assert "Dr Meera Iyer" in mail["text"]
        assert "complaint" not in mail["text"]
    [told] = await outbox(doctor.email, subject="You may not practise on Amrutam for now")
    assert "A complaint is looked into." in told["text"]
    back = await decide(api, admin, doctor, "reinstate")
    assert back.json()["standing"] == "verified"
    assert await found(api, patients[0], doctor) == EVERYWHERE


async def test_no_booking_slips_past_a_suspension(
    api: httpx.AsyncClient, make_doctor: MakeDoctor, make_patient: MakePatient, admin: Person
) -> None:
    doctor, patients = await make_doctor(), [await make_patient() for _ in range(12)]
    times = await free_times(api, doctor)

    async def one(number: int) -> httpx.Response:
        await asyncio.sleep(number * 0.01)
        return await book(api, patients[number], doctor, times[number])

    answers, _ = await asyncio.gather(
        asyncio.gather(*(one(number) for number in range(12))),
        decide(api, admin, doctor, "suspend", reason="At once."),
    )
    made = [(patient, each.json()["id"]) for patient, each in zip(patients, answers, strict=True) if each.is_success]

    async def all_off() -> bool:
        seen = [await api.get(f"/v1/bookings/{made_id}", headers=patient.headers) for patient, made_id in made]
        return all(each.json()["status"] == "cancelled" for each in seen)

    await until(all_off)


async def test_a_suspended_doctor_is_not_freed_by_an_edit_or_an_approval(
    api: httpx.AsyncClient, applicant: Person, admin: Person, make_patient: MakePatient
) -> None:
    patient = await make_patient()
    await submit(api, applicant)
    await decide(api, admin, applicant, "suspend", reason="Until this is clear.")
    await edit(api, applicant, bio="Hello.")
    await decide(api, admin, applicant, "approve")
    assert await standing(api, applicant) == "suspended"
    assert await found(api, patient, applicant) == NOWHERE
    assert (await decide(api, admin, applicant, "reinstate")).json()["standing"] == "verified"


async def test_a_decision_is_answered_the_same_whatever_became_of_the_doctor_since(
    api: httpx.AsyncClient, make_doctor: MakeDoctor, admin: Person
) -> None:
    doctor = await make_doctor()
    path, said = f"/v1/admin/doctors/{doctor.id}/verification", {"decision": "suspend", "reason": "A complaint."}
    first = await api.post(path, json=said, headers=admin.writing("suspend-1"))
    assert (await decide(api, admin, doctor, "reinstate")).status_code == 200
    again = await api.post(path, json=said, headers=admin.writing("suspend-1"))
    assert (again.text, again.headers["idempotency-replayed"]) == (first.text, "true")
    assert again.json()["standing"] == "suspended"


async def test_what_was_submitted_is_answered_the_same_whatever_the_profile_says_since(
    api: httpx.AsyncClient, make_doctor: MakeDoctor
) -> None:
    doctor = await make_doctor(verified=False)
    await edit(api, doctor, registration=LICENCE)
    said, path = {"registration_valid_until": "2030-06-30"}, "/v1/doctors/me/verification"
    first = await api.post(path, json=said, headers=doctor.writing("submit-1"))
    assert first.status_code == 201, first.text
    await edit(api, doctor, registration=None)
    again = await api.post(path, json=said, headers=doctor.writing("submit-1"))
    assert (again.status_code, again.text) == (201, first.text)
