"""A booking over HTTP: made, read, listed, cancelled, and what is refused."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from amrutam.domain.common import Role
from amrutam.storage.pool import Database
from tests.people import People, Person
from tests.web.slots import book, free_times, wish

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]


async def test_a_free_time_is_confirmed_at_once(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    starts_at = (await free_times(api, doctor))[4]

    answer = await book(api, patient, doctor, starts_at, reason="An itching rash")

    booking = answer.json()
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/v1/bookings/{booking['id']}"
    assert answer.headers["cache-control"] == "no-store"
    assert booking == {
        "id": booking["id"],
        "status": "confirmed",
        "doctor_id": str(doctor.id),
        "doctor_name": "Dr Meera Iyer",
        "patient_id": str(patient.id),
        "booked_by": str(patient.id),
        "starts_at": starts_at,
        "ends_at": booking["ends_at"],
        "mode": "video",
        "reason": "An itching rash",
        "fee": {"amount": 0, "currency": "INR"},
        "expires_at": None,
        "payment": None,
        "consultation_id": booking["id"],
        "version": 1,
        "cancellation": None,
        "cancellation_reason": None,
        "move_by": None,
        "actions": ["cancel", "reschedule"],
        "created_at": booking["created_at"],
    }
    assert datetime.fromisoformat(booking["ends_at"]) - datetime.fromisoformat(starts_at) == timedelta(minutes=15)


async def test_a_priced_time_is_held_until_it_is_paid_for(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    patient, doctor = await make_patient(), await make_doctor(fee=50000)
    answer = await book(api, patient, doctor, (await free_times(api, doctor))[0])
    booking = answer.json()
    assert answer.status_code == 201, answer.text
    assert (booking["status"], booking["consultation_id"]) == ("held", None)
    assert booking["fee"] == {"amount": 50000, "currency": "INR"}
    held_for = datetime.fromisoformat(booking["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=9) < held_for <= timedelta(minutes=10)


async def test_a_booked_time_is_offered_to_nobody(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    patient, other, doctor = await make_patient(), await make_patient(), await make_doctor()
    times = await free_times(api, doctor)
    assert (await book(api, patient, doctor, times[0])).status_code == 201
    assert await free_times(api, doctor) == times[1:]
    refused = await book(api, other, doctor, times[0])
    assert (refused.status_code, refused.json()["code"]) == (409, "slot_taken")
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["errors"][0]["pointer"] == "/starts_at"


async def test_buffers_keep_their_distance(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    doctor = await make_doctor(buffer_before_minutes=5, buffer_after_minutes=5)
    times = await free_times(api, doctor)
    assert (await book(api, await make_patient(), doctor, times[4])).status_code == 201
    assert await free_times(api, doctor) == [time for time in times if time not in times[3:6]]
    assert (await book(api, await make_patient(), doctor, times[5])).json()["code"] == "slot_taken"
    assert (await book(api, await make_patient(), doctor, times[6])).status_code == 201


async def test_a_patient_is_in_one_place_at_a_time(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    patient, first, second = await make_patient(), await make_doctor(), await make_doctor()
    starts_at = (await free_times(api, first))[0]
    assert (await book(api, patient, first, starts_at)).status_code == 201
    refused = await book(api, patient, second, starts_at)
    assert (refused.status_code, refused.json()["code"]) == (409, "patient_busy")


async def test_patient_doctor_and_support_see_what_is_theirs_to_see(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, people: People, db: Database
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    made = (await book(api, patient, doctor, (await free_times(api, doctor))[0], reason="Chest pain")).json()
    path = f"/v1/bookings/{made['id']}"

    as_patient = await api.get(path, headers=patient.headers)
    as_doctor = await api.get(path, headers=doctor.headers)
    support = await people.staff(Role.SUPPORT)
    as_support = await api.get(path, headers=support.headers)

    assert as_patient.json() == made
    assert as_doctor.json()["reason"] == "Chest pain"
    assert "reason" not in as_support.json()
    assert as_support.json()["status"] == "confirmed"
    for stranger in (await make_patient(), await make_doctor(), await people.staff(Role.ADMIN)):
        answer = await api.get(path, headers=stranger.headers)
        assert answer.status_code in {403, 404}
        assert "Chest pain" not in answer.text
    async with db.connection() as connection:
        readers = await connection.fetch(
            "SELECT actor_id FROM audit WHERE subject = $1 AND action = 'booking.read'", UUID(made["id"])
        )
    assert {row["actor_id"] for row in readers} == {doctor.id, support.id}


async def test_another_patients_booking_cannot_be_read_or_cancelled(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    patient, stranger, doctor = await make_patient(), await make_patient(), await make_doctor()
    booking = (await book(api, patient, doctor, (await free_times(api, doctor))[0])).json()
    path = f"/v1/bookings/{booking['id']}"
    read = await api.get(path, headers=stranger.headers)
    cancelled = await api.post(f"{path}/cancel", json={}, headers=stranger.writing())
    assert (read.status_code, read.json()["code"]) == (404, "not_found")
    assert (cancelled.status_code, cancelled.json()["code"]) == (404, "not_found")
    assert (await api.get(path, headers=patient.headers)).json()["status"] == "confirmed"


async def test_the_patients_words_lie_sealed_in_the_database_and_in_temporal(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, owner: Database, temporal: Client
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    starts_at = (await free_times(api, doctor))[0]
    booking = (await book(api, patient, doctor, starts_at, reason="canary-of-the-reason")).json()
    async with owner.connection() as connection:
        row = await connection.fetchrow("SELECT reason FROM bookings WHERE id = $1", UUID(booking["id"]))
        record = await connection.fetchval(
            "SELECT outcome FROM operations WHERE operation_id = $1", UUID(booking["id"])
        )
    assert row is not None
    assert b"canary" not in row["reason"]
    assert str(patient.id).encode() not in record
    history = await temporal.get_workflow_handle(f"booking/{booking['id']}").fetch_history()
    assert "canary" not in history.to_json()


async def test_a_cancelled_time_is_free_again_and_cancelling_twice_is_refused(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    times = await free_times(api, doctor)
    booking = (await book(api, patient, doctor, times[0])).json()
    path = f"/v1/bookings/{booking['id']}"

    cancelled = await api.post(f"{path}/cancel", json={"reason": "I am well again"}, headers=patient.writing())
    assert cancelled.status_code == 200, cancelled.text
    body = cancelled.json()
    assert (body["status"], body["version"], body["actions"]) == ("cancelled", 2, [])
    assert (body["cancellation"]["by"], body["cancellation_reason"]) == ("patient", "I am well again")
    assert (await api.get(path, headers=patient.headers)).json() == body

    again = await api.post(f"{path}/cancel", json={}, headers=patient.writing())
    assert (again.status_code, again.json()["code"]) == (409, "invalid_state")
    assert await free_times(api, doctor) == times
    assert (await book(api, await make_patient(), doctor, times[0])).status_code == 201
    handle = temporal.get_workflow_handle(f"booking/{booking['id']}")
    assert await handle.result() == "cancelled"
    assert (await handle.describe()).status is WorkflowExecutionStatus.COMPLETED


async def test_the_doctor_and_support_may_cancel_too(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, people: People
) -> None:
    doctor = await make_doctor()
    for canceller, side in ((doctor, "doctor"), (await people.staff(Role.SUPPORT), "support")):
        booking = (await book(api, await make_patient(), doctor, (await free_times(api, doctor))[0])).json()
        answer = await api.post(f"/v1/bookings/{booking['id']}/cancel", json={}, headers=canceller.headers)
        assert answer.status_code == 200, answer.text
        assert answer.json()["cancellation"]["by"] == side


async def test_a_list_shows_the_newest_first_page_by_page(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    times = await free_times(api, doctor)
    made = [(await book(api, patient, doctor, time)).json()["id"] for time in times[:5]]
    await api.post(f"/v1/bookings/{made[0]}/cancel", json={}, headers=patient.writing())

    first = (await api.get("/v1/bookings", params={"limit": 3}, headers=patient.headers)).json()
    rest = (
        await api.get("/v1/bookings", params={"limit": 3, "cursor": first["next_cursor"]}, headers=patient.headers)
    ).json()
    assert [each["id"] for each in first["items"] + rest["items"]] == made[::-1]
    assert rest["next_cursor"] is None

    async def ids(headers: dict[str, str], **query: Any) -> list[str]:
        answer = await api.get("/v1/bookings", params=query, headers=headers)
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()["items"]]

    assert await ids(patient.headers, status="cancelled") == [made[0]]
    assert await ids(patient.headers, status=["cancelled", "confirmed"], limit=10) == made[::-1]
    assert await ids(patient.headers, **{"from": times[1], "to": times[3]}) == [made[2], made[1]]
    assert await ids(patient.headers, **{"from": times[0][:10], "to": times[0][:10]}, limit=10) == made[::-1]
    assert await ids(patient.headers, to=datetime.now(UTC).date().isoformat()) == []
    assert await ids(doctor.headers) == made[::-1]
    assert await ids((await make_patient()).headers) == []


async def test_a_cursor_belongs_to_its_filters_and_its_caller(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    for time in (await free_times(api, doctor))[:2]:
        await book(api, patient, doctor, time)
    page = (await api.get("/v1/bookings", params={"limit": 1}, headers=patient.headers)).json()
    for query in ({"status": "confirmed", "cursor": page["next_cursor"]}, {"cursor": page["next_cursor"][:-2] + "AA"}):
        answer = await api.get("/v1/bookings", params={"limit": 1, **query}, headers=patient.headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")


async def test_no_more_than_three_unpaid_times_at_once(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    patient, doctor = await make_patient(), await make_doctor(fee=50000)
    times = await free_times(api, doctor)
    held = [await book(api, patient, doctor, time) for time in times[:3]]
    assert [answer.status_code for answer in held] == [201, 201, 201]
    refused = await book(api, patient, doctor, times[3])
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_holds")
    assert int(refused.headers["retry-after"]) > 0
    await api.post(f"/v1/bookings/{held[0].json()['id']}/cancel", json={}, headers=patient.writing())
    assert (await book(api, patient, doctor, times[3])).status_code == 201


@pytest.mark.parametrize(
    ("starts_at", "code", "pointer"),
    [
        ("{slot}:01Z", "not_a_slot", "/starts_at"),
        ("2020-01-01T00:00:00Z", "not_a_slot", "/starts_at"),
        ("2199-01-01T00:00:00Z", "not_a_slot", "/starts_at"),
        ("{slot}:00", "validation_failed", "/starts_at"),
        ("tomorrow", "validation_failed", "/starts_at"),
        (1_800_000_000, "validation_failed", "/starts_at"),
        ("1800000000", "validation_failed", "/starts_at"),
    ],
    ids=[
        "not on a slot",
        "in the past",
        "beyond the horizon",
        "without an offset",
        "not a time",
        "a number",
        "a number as text",
    ],
)
async def test_a_time_that_is_no_slot_is_refused_with_its_reason(
    api: httpx.AsyncClient,
    make_patient: MakePatient,
    make_doctor: MakeDoctor,
    starts_at: str | int,
    code: str,
    pointer: str,
) -> None:
    doctor = await make_doctor()
    slot = (await free_times(api, doctor))[0].removesuffix(":00Z")
    body = wish(doctor, "") | {"starts_at": starts_at.format(slot=slot) if isinstance(starts_at, str) else starts_at}
    answer = await api.post("/v1/bookings", json=body, headers=(await make_patient()).writing())
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert answer.json()["errors"][0]["detail"]


async def test_an_unknown_or_unverified_doctor_cannot_be_booked(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, some_id: UUID
) -> None:
    known = await make_doctor()
    starts_at = (await free_times(api, known))[0]
    for doctor_id in (some_id, (await make_doctor(verified=False)).id):
        body = wish(known, starts_at) | {"doctor_id": str(doctor_id)}
        answer = await api.post("/v1/bookings", json=body, headers=(await make_patient()).writing())
        assert (answer.status_code, answer.json()["code"]) == (422, "doctor_unavailable")
        assert answer.json()["errors"][0]["pointer"] == "/doctor_id"


async def test_a_mode_that_is_not_offered_is_refused(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    doctor = await make_doctor()
    body = wish(doctor, (await free_times(api, doctor))[0]) | {"mode": "audio"}
    answer = await api.post("/v1/bookings", json=body, headers=(await make_patient()).writing())
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/mode"


async def test_nobody_books_for_somebody_else(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    doctor, other = await make_doctor(), await make_patient()
    starts_at = (await free_times(api, doctor))[0]
    answer = await book(api, await make_patient(), doctor, starts_at, patient_id=str(other.id))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (await book(api, doctor, doctor, starts_at)).status_code == 403
    assert starts_at in await free_times(api, doctor)


async def test_what_is_bound_to_fail_is_refused_before_any_workflow_starts(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client, db: Database
) -> None:
    patient, other, doctor = await make_patient(), await make_patient(), await make_doctor()
    starts_at = (await free_times(api, doctor))[0]
    await book(api, patient, doctor, starts_at)
    assert (await book(api, other, doctor, starts_at)).status_code == 409
    assert (await book(api, other, doctor, "2020-01-01T00:00:00Z")).status_code == 422
    assert (await book(api, other, await make_doctor(verified=False), starts_at)).status_code == 422
    async with db.connection() as connection:
        rows = await connection.fetch("SELECT operation_id FROM operations WHERE user_id = $1", other.id)
    assert len(rows) == 3
    for row in rows:
        with pytest.raises(RPCError) as refused:
            await temporal.get_workflow_handle(f"booking/{row['operation_id']}").describe()
        assert refused.value.status is RPCStatusCode.NOT_FOUND
