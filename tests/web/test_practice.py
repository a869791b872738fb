"""Who may not practise is found, shown, booked and moved to by no path; what stood is called off where it must be."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from temporalio.client import Client

from amrutam.domain.calling_off import Suspension
from amrutam.domain.common import Role
from amrutam.domain.doctor import DoctorChanged
from amrutam.ids import new_id
from amrutam.stack import applicant as applicants
from amrutam.storage import events
from amrutam.storage.pool import Database
from amrutam.temporal import BACKGROUND_QUEUE
from tests.people import People, Person
from tests.pictures import picture
from tests.polling import until
from tests.web.slots import book, free_times
from tests.web.verifying import LICENCE, decide, edit, standing, submit

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]
Bar = Callable[[httpx.AsyncClient, Person, Person, Database], Awaitable[object]]

EVERYWHERE = {"profile", "slots", "reviews", "photo", "search", "booked", "moved"}


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


async def change_account(api: httpx.AsyncClient, admin: Person, person: Person, **said: Any) -> None:
    """As an administrator."""
    path = f"/v1/admin/users/{person.id}"
    tag = (await api.get(path, headers=admin.headers)).headers["etag"]
    answer = await api.patch(path, json=said, headers={**admin.headers, "If-Match": tag})
    assert answer.status_code == 200, answer.text


async def _suspended(api: httpx.AsyncClient, admin: Person, doctor: Person, _: Database) -> None:
    assert (await decide(api, admin, doctor, "suspend", reason="A complaint.")).status_code == 200


async def _account_suspended(api: httpx.AsyncClient, admin: Person, doctor: Person, _: Database) -> None:
    await change_account(api, admin, doctor, status="suspended")


async def _role_lost(api: httpx.AsyncClient, admin: Person, doctor: Person, _: Database) -> None:
    await change_account(api, admin, doctor, roles=["patient"])


async def _registered_elsewhere(api: httpx.AsyncClient, _: Person, doctor: Person, __: Database) -> None:
    await edit(api, doctor, registration=LICENCE)


async def _lapsed(_: httpx.AsyncClient, __: Person, doctor: Person, owner: Database) -> None:
    """Nothing is kept over the midnight of a lapse; at another time the fact drops it."""
    async with owner.transaction() as db:
        await db.execute("UPDATE doctors SET verified_until = now() WHERE id = $1", doctor.id)
        await events.append(db, DoctorChanged(subject=doctor.id, verified=False))


async def _booking(api: httpx.AsyncClient, patient: Person, doctor: Person, starts_at: str) -> dict[str, Any]:
    answer = await book(api, patient, doctor, starts_at)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.mark.parametrize("bar", [_suspended, _account_suspended, _role_lost, _registered_elsewhere, _lapsed])
async def test_who_may_not_practise_is_reached_by_no_path(
    api: httpx.AsyncClient, make_doctor: MakeDoctor, make_patient: MakePatient, admin: Person, owner: Database, bar: Bar
) -> None:
    doctor, patient, name = await make_doctor(), await make_patient(), secrets.token_hex(6)
    async with owner.connection() as db:
        await db.execute("UPDATE doctors SET full_name = $2 WHERE id = $1", doctor.id, f"Dr {name}")
    photo = {**doctor.headers, "Content-Type": "image/jpeg"}
    assert (await api.put("/v1/doctors/me/photo", content=picture(), headers=photo)).status_code == 200
    times = iter((await free_times(api, doctor))[::4])  # an hour apart
    booking = await _booking(api, patient, doctor, next(times))

    async def reached() -> set[str]:
        place, move = f"/v1/doctors/{doctor.id}", f"/v1/bookings/{booking['id']}/reschedule"
        found = (await api.get("/v1/doctors", params={"q": name})).json()["items"]
        asked = {
            "profile": await api.get(place),
            "slots": await api.get(f"{place}/slots"),
            "reviews": await api.get(f"{place}/reviews"),
            "photo": await api.get(f"{place}/photo"),
            "booked": await book(api, patient, doctor, next(times)),
            "moved": await api.post(move, json={"starts_at": next(times)}, headers=patient.writing()),
        }
        assert all(answer.status_code < 500 for answer in asked.values())
        ways = {path for path, answer in asked.items() if answer.is_success}
        return ways | {"search" for each in found if each["id"] == str(doctor.id)}

    assert await reached() == EVERYWHERE  # and all of it is kept by caches now
    await bar(api, admin, doctor, owner)
    first = await reached()
    assert not first & {"booked", "moved"}

    async def nowhere() -> bool:
        return not await reached()

    assert not first or await until(nowhere)


@pytest.mark.parametrize("bar", [_account_suspended, _role_lost])
async def test_visits_that_outlived_a_verification_are_called_off_with_the_account(
    api: httpx.AsyncClient, make_doctor: MakeDoctor, make_patient: MakePatient, admin: Person, owner: Database, bar: Bar
) -> None:
    doctor, patient = await make_doctor(), await make_patient()
    booking = await _booking(api, patient, doctor, (await free_times(api, doctor))[0])
    await edit(api, doctor, registration=LICENCE)
    await submit(api, doctor)
    await bar(api, admin, doctor, owner)

    async def called_off() -> bool:
        seen = await api.get(f"/v1/bookings/{booking['id']}", headers=patient.headers)
        return seen.json()["status"] == "cancelled"

    assert await until(called_off)
    late = await decide(api, admin, doctor, "approve")
    assert (late.status_code, late.json()["code"]) == (409, "invalid_state")


async def test_a_suspension_that_is_carried_out_late_leaves_what_was_booked_after_it_was_taken_back(
    api: httpx.AsyncClient, make_doctor: MakeDoctor, make_patient: MakePatient, admin: Person, temporal: Client
) -> None:
    doctor, patient = await make_doctor(), await make_patient()
    booking = await _booking(api, patient, doctor, (await free_times(api, doctor))[0])
    late = Suspension(id=new_id(), doctor_id=doctor.id, by=admin.id)
    called_off = await temporal.execute_workflow(
        "Suspension", late, id=f"suspension/{late.id}", task_queue=BACKGROUND_QUEUE, result_type=int,
        execution_timeout=timedelta(seconds=60),
    )  # fmt: skip
    seen = await api.get(f"/v1/bookings/{booking['id']}", headers=patient.headers)
    assert (called_off, seen.json()["status"]) == (0, "confirmed")


async def test_nobody_decides_of_their_own_practice(api: httpx.AsyncClient, people: People, applicant: Person) -> None:
    root = await people.with_factor(await people.staff(Role.ADMIN))
    await submit(api, applicant)
    await change_account(api, root, applicant, roles=["admin", "doctor"])
    both = await people.with_factor(applicant)
    for decision in ("approve", "reinstate"):
        answer = await decide(api, both, applicant, decision)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert await standing(api, both) == "pending"


async def test_a_registration_that_lapsed_while_it_waited_is_not_approved(
    api: httpx.AsyncClient, applicant: Person, admin: Person, owner: Database
) -> None:
    submission_id = UUID((await submit(api, applicant)).json()["id"])
    async with owner.connection() as db:
        await db.execute(
            "UPDATE verifications SET registration_valid_until = '2020-01-01' WHERE id = $1", submission_id
        )
    late = await decide(api, admin, applicant, "approve")
    assert (late.status_code, late.json()["errors"][0]["pointer"]) == (422, "/registration_valid_until")
    assert await standing(api, applicant) == "pending"
    renewed = await decide(api, admin, applicant, "approve", registration_valid_until="2030-06-30")
    assert renewed.json()["verified_until"] == "2030-07-01T00:00:00Z"


async def test_a_profile_that_is_edited_while_it_is_approved_is_not_verified_under_another_name(
    api: httpx.AsyncClient, make_doctor: MakeDoctor, admin: Person
) -> None:
    async def race(number: int) -> None:
        doctor = await make_doctor(verified=False)
        await edit(api, doctor, registration=LICENCE)
        await submit(api, doctor)

        async def rename() -> None:
            await asyncio.sleep(number * 0.004)  # from well before the decision to well after it
            profile = await api.get("/v1/doctors/me", headers=doctor.headers)
            tag = profile.headers["etag"]
            renamed = {**profile.json(), "full_name": "Dr Somebody Else"}
            while True:
                answer = await api.put("/v1/doctors/me", json=renamed, headers={**doctor.headers, "If-Match": tag})
                if answer.status_code == 200:
                    return
                assert answer.json()["code"] == "stale"
                tag = (await api.get("/v1/doctors/me", headers=doctor.headers)).headers["etag"]

        decided, _ = await asyncio.gather(decide(api, admin, doctor, "approve"), rename())
        assert decided.status_code in {200, 409}
        assert await standing(api, doctor) == "unsubmitted"
        assert (await api.get(f"/v1/doctors/{doctor.id}")).status_code == 404
        assert (await submit(api, doctor)).status_code == 201  # nothing of the old name is open

    await asyncio.gather(*(race(number) for number in range(8)))


async def test_the_demo_has_an_applicant_however_often_it_is_started(api: httpx.AsyncClient, admin: Person) -> None:
    standings = [await applicants.submit(str(api.base_url)) for _ in range(2)]
    assert standings == ["pending", "pending"]
    listed = await api.get("/v1/admin/doctors", params={"limit": 100}, headers=admin.headers)
    assert [each["doctor"]["full_name"] for each in listed.json()["items"]].count("Dr. Ishaan Joshi") == 1


async def test_submissions_are_listed_in_pages_the_oldest_first(
    api: httpx.AsyncClient, make_doctor: MakeDoctor, admin: Person
) -> None:
    sent: list[str] = []
    for _ in range(3):
        doctor = await make_doctor(verified=False)
        await edit(api, doctor, registration=LICENCE)
        sent.append((await submit(api, doctor)).json()["id"])
    listed: list[str] = []
    query: dict[str, Any] = {"verification": "pending", "limit": 2}
    while query:
        page = (await api.get("/v1/admin/doctors", params=query, headers=admin.headers)).json()
        listed += [each["submission"]["id"] for each in page["items"]]
        query = {**query, "cursor": page["next_cursor"]} if page["next_cursor"] else {}
    assert [each for each in listed if each in sent] == sent
    assert len(listed) == len(set(listed))
