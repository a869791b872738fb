"""The audit trail over HTTP: what is noted of each request, who may read it, and what a patient sees."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import UUID

import httpx
import pytest

from amrutam.domain.common import Role
from amrutam.ids import new_id
from amrutam.storage.pool import Database
from tests.people import People, Person
from tests.web.accounts import log_in, new_address, with_password
from tests.web.mounted import ROUTES, name
from tests.web.slots import book, free_times
from web.routing import Route

MakePatient = Callable[[], Awaitable[Person]]
TRAIL, LOG = "/v1/admin/audit", "/v1/me/access-log"
TRACE = "0af7651916cd43dd8448eb211c80319c"


@dataclass
class Visit:
    """A booking and the two whom it brings together."""

    patient: Person
    doctor: Person
    id: str
    subject: UUID

    @property
    def path(self) -> str:
        return f"/v1/bookings/{self.id}"


@dataclass
class Admin:
    """Somebody who reads the trail."""

    api: httpx.AsyncClient
    person: Person

    async def page(self, **query: Any) -> dict[str, Any]:
        answer = await self.api.get(TRAIL, params=query, headers=self.person.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def items(self, **query: Any) -> list[dict[str, Any]]:
        return (await self.page(**query))["items"]


@pytest.fixture
async def visit(api: httpx.AsyncClient, people: People) -> Visit:
    """Just booked."""
    patient, doctor = await people.patient(), await people.doctor()
    answer = await book(api, patient, doctor, (await free_times(api, doctor))[0])
    assert answer.status_code == 201, answer.text
    return Visit(patient, doctor, answer.json()["id"], UUID(answer.json()["id"]))


@pytest.fixture
async def admin(api: httpx.AsyncClient, people: People) -> Admin:
    """A new one."""
    return Admin(api, await people.staff(Role.ADMIN))


async def _log(api: httpx.AsyncClient, person: Person, **query: Any) -> dict[str, Any]:
    answer = await api.get(LOG, params=query, headers=person.headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method != "GET"], ids=name)
def test_every_write_is_audited(route: Route) -> None:
    assert route.audited


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method == "GET" and not route.is_open], ids=name)
def test_every_read_of_what_is_not_the_callers_own_is_audited(route: Route) -> None:
    assert route.audited or route.owns.startswith("the caller's own")


async def test_a_request_leaves_its_ids_and_where_it_came_from(
    api: httpx.AsyncClient, visit: Visit, admin: Admin
) -> None:
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "X-Request-Id": f"r-{new_id()}"}
    await api.get(visit.path, headers=visit.doctor.headers | headers)
    [entry] = await admin.items(subject=visit.id, action="booking.read")
    assert entry == {
        "id": entry["id"],
        "at": entry["at"],
        "actor_id": str(visit.doctor.id),
        "actor_role": "doctor",
        "action": "booking.read",
        "subject": visit.id,
        "patient_id": str(visit.patient.id),
        "outcome": "done",
        "reason": None,
        "address": "127.0.0.1",
        "request_id": headers["X-Request-Id"],
        "trace_id": TRACE,
    }


async def test_what_a_workflow_does_for_somebody_leaves_them_too(
    api: httpx.AsyncClient, visit: Visit, admin: Admin
) -> None:
    answer = await api.post(f"{visit.path}/cancel", json={}, headers=visit.doctor.writing())
    assert answer.status_code == 200, answer.text
    made, ended = [
        (await admin.items(subject=visit.id, action=action))[0] for action in ("booking.create", "booking.cancel")
    ]
    assert made["actor_id"] == str(visit.patient.id)
    assert ended["actor_id"] == str(visit.doctor.id)
    assert {made["address"], ended["address"]} == {"127.0.0.1"}
    assert made["trace_id"] != ended["trace_id"] != ""
    assert ended["request_id"] == answer.headers["x-request-id"]


async def test_a_patient_sees_who_looked_and_not_their_own_looks(
    api: httpx.AsyncClient, visit: Visit, people: People
) -> None:
    support = await people.staff(Role.SUPPORT)
    for person in (visit.patient, visit.doctor, support):
        assert (await api.get(visit.path, headers=person.headers)).status_code == 200
    assert (await api.get("/v1/bookings", headers=visit.doctor.headers)).status_code == 200
    log = await _log(api, visit.patient)
    assert log["next_cursor"] is None
    assert [(item["action"], item["actor_role"], item["actor_name"], item["subject"]) for item in log["items"]] == [
        ("booking.list", "doctor", "Asha Rao", str(visit.doctor.id)),
        ("booking.read", "support", "Asha Rao", visit.id),
        ("booking.read", "doctor", "Asha Rao", visit.id),
    ]
    assert (await _log(api, visit.doctor))["items"] == []


async def test_the_access_log_pages_without_gaps(api: httpx.AsyncClient, visit: Visit) -> None:
    for _ in range(5):
        await api.get(visit.path, headers=visit.doctor.headers)
    whole = (await _log(api, visit.patient))["items"]
    first = await _log(api, visit.patient, limit=3)
    second = await _log(api, visit.patient, limit=3, cursor=first["next_cursor"])
    assert first["items"] + second["items"] == whole
    assert (len(whole), second["next_cursor"]) == (5, None)
    foreign = await api.get(TRAIL, params={"cursor": first["next_cursor"]}, headers=visit.patient.headers)
    assert foreign.status_code == 403


async def test_whoever_asks_for_anothers_booking_is_told_nothing_and_noted(
    api: httpx.AsyncClient, visit: Visit, people: People, admin: Admin
) -> None:
    curious, other_doctor = await people.patient(), await people.doctor()
    for person in (curious, other_doctor):
        read = await api.get(visit.path, headers=person.headers)
        cancelled = await api.post(f"{visit.path}/cancel", json={}, headers=person.writing())
        missing = await api.get(f"/v1/bookings/{new_id()}", headers=person.headers)
        assert [read.status_code, cancelled.status_code, missing.status_code] == [404, 404, 404]
        assert read.json()["title"] == missing.json()["title"]
        assert read.json()["detail"] == missing.json()["detail"]
    assert (await _log(api, visit.patient))["items"] == []  # nobody saw anything
    denied = await admin.items(subject=visit.id, outcome="denied")
    assert [(each["action"], each["actor_id"], each["patient_id"], each["address"]) for each in denied] == [
        (action, str(person.id), str(visit.patient.id), "127.0.0.1")
        for person in (other_doctor, curious)
        for action in ("bookings_cancel", "bookings_read")
    ]


async def test_a_role_that_is_refused_is_noted_with_the_operation(
    api: httpx.AsyncClient, people: People, admin: Admin
) -> None:
    patient = await people.patient()
    assert (await api.get(TRAIL, headers=patient.headers)).status_code == 403
    assert (await api.post("/v1/bookings", json={"patient_id": str(new_id())}, headers=patient.writing())).is_error
    [entry] = await admin.items(actor_id=str(patient.id))
    assert (entry["action"], entry["outcome"], entry["subject"]) == ("audit_read", "denied", str(patient.id))
    assert entry["reason"] == "Your role may not do this."


async def test_booking_for_somebody_else_is_noted_as_denied(
    api: httpx.AsyncClient, visit: Visit, people: People, admin: Admin
) -> None:
    patient = await people.patient()
    time = (await free_times(api, visit.doctor))[0]
    answer = await book(api, patient, visit.doctor, time, patient_id=str(visit.patient.id))
    assert answer.status_code == 403
    [entry] = await admin.items(actor_id=str(patient.id))
    assert (entry["action"], entry["outcome"]) == ("bookings_create", "denied")


async def test_a_wrong_password_is_noted_on_the_account(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient, admin: Admin
) -> None:
    patient = await with_password(db, make_patient)
    answer = await log_in(api, patient.email, "wrong")
    assert answer.status_code == 401
    [entry] = await admin.items(subject=str(patient.id), action="auth.login")
    assert (entry["outcome"], entry["actor_id"], entry["actor_role"]) == ("refused", None, "stranger")
    assert (entry["address"], entry["request_id"]) == ("127.0.0.1", answer.headers["x-request-id"])


async def test_a_wrong_address_is_noted_under_a_mark_that_does_not_tell_it(
    api: httpx.AsyncClient, admin: Admin, db: Database
) -> None:
    email = new_address()
    answers = [await log_in(api, each, "wrong") for each in (email, email.upper(), new_address())]
    async with db.connection() as connection:
        marks = [
            await connection.fetchval("SELECT subject FROM audit WHERE request_id = $1", answer.headers["x-request-id"])
            for answer in answers
        ]
    assert marks[0] == marks[1] != marks[2]
    entries = await admin.items(subject=str(marks[0]))
    assert [(each["outcome"], each["address"]) for each in entries] == [("refused", None)] * 2


async def test_reading_the_trail_is_itself_noted_and_the_patient_is_told(
    api: httpx.AsyncClient, visit: Visit, admin: Admin
) -> None:
    await api.get(visit.path, headers=visit.doctor.headers)
    await admin.items(patient_id=str(visit.patient.id))
    await admin.items(actor_id=str(visit.doctor.id))
    log = (await _log(api, visit.patient))["items"]
    assert [(item["action"], item["actor_role"]) for item in log] == [
        ("audit.read", "admin"),
        ("audit.read", "admin"),
        ("booking.read", "doctor"),
    ]
    own = await admin.items(actor_id=str(admin.person.id))
    assert {entry["action"] for entry in own} == {"audit.read"}


async def test_reading_what_is_noted_of_reading_does_not_grow_without_end(visit: Visit, admin: Admin) -> None:
    patient = str(visit.patient.id)
    sizes = [len(await admin.items(patient_id=patient, limit=100)) for _ in range(4)]
    assert [later - earlier for earlier, later in pairwise(sizes)] == [1, 1, 1]


async def test_the_trail_is_paged_and_filtered(api: httpx.AsyncClient, visit: Visit, admin: Admin) -> None:
    for _ in range(4):
        await api.get(visit.path, headers=visit.doctor.headers)
    query = {"actor_id": str(visit.doctor.id), "action": "booking.read"}
    whole = await admin.items(**query)
    first = await admin.page(**query, limit=3)
    second = await admin.page(**query, limit=3, cursor=first["next_cursor"])
    assert first["items"] + second["items"] == whole
    assert (len(whole), second["next_cursor"]) == (4, None)
    assert [entry["id"] for entry in whole] == sorted((entry["id"] for entry in whole), reverse=True)
    assert await admin.items(**query, to="2026-01-01T00:00:00Z") == []
    assert len(await admin.items(**query, **{"from": "2026-01-01T00:00:00Z"})) == 4
    other = await api.get(
        TRAIL, params={**query, "action": "x.y", "cursor": first["next_cursor"]}, headers=admin.person.headers
    )
    assert (other.status_code, other.json()["code"]) == (422, "invalid_cursor")


@pytest.mark.parametrize("query", ["outcome=fine", "actor_id=me", "action=x'y", "from=yesterday", "limit=101", "a=b"])
async def test_a_question_that_makes_no_sense_is_refused(api: httpx.AsyncClient, admin: Admin, query: str) -> None:
    answer = await api.get(f"{TRAIL}?{query}", headers=admin.person.headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
