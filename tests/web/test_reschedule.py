"""A booking at another time: it is moved, or stays where it is."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from temporalio.client import Client
from temporalio.testing._timeskipping import TimeSkipper  # the public testing environment starts a server of its own

from amrutam.storage.pool import Database
from tests.people import People, Person
from tests.polling import until
from tests.web.slots import book, free_times

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]


async def _booked(api: httpx.AsyncClient, patient: Person, doctor: Person, starts_at: str) -> dict[str, Any]:
    answer = await book(api, patient, doctor, starts_at)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def _move(
    api: httpx.AsyncClient, who: Person, booking: dict[str, Any], starts_at: str, key: str | None = None
) -> httpx.Response:
    path = f"/v1/bookings/{booking['id']}/reschedule"
    return await api.post(path, json={"starts_at": starts_at}, headers=who.writing(key))


async def test_a_moved_booking_keeps_its_id_and_its_old_time_is_free_at_once(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, owner: Database
) -> None:
    doctor, patient, other = await make_doctor(), await make_patient(), await make_patient()
    first, second = (await free_times(api, doctor))[:2]
    booking = await _booked(api, patient, doctor, first)
    moved = await _move(api, patient, booking, second)
    assert moved.status_code == 200, moved.text
    after = moved.json()
    assert (after["id"], after["status"], after["starts_at"]) == (booking["id"], "confirmed", second)
    assert after["version"] == booking["version"] + 1
    seen = await api.get(f"/v1/bookings/{booking['id']}", headers=patient.headers)
    assert seen.json()["starts_at"] == second
    assert (await book(api, other, doctor, second)).json()["code"] == "slot_taken"
    assert (await book(api, other, doctor, first)).status_code == 201
    async with owner.connection() as db:
        rows = await db.fetch("SELECT action FROM audit WHERE subject = $1 ORDER BY id", after["id"])
    assert [row["action"] for row in rows] == ["booking.create", "booking.move"]


async def test_one_key_moves_once_and_answers_the_same_bytes(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    doctor, patient = await make_doctor(), await make_patient()
    first, second, third = (await free_times(api, doctor))[:3]
    booking = await _booked(api, patient, doctor, first)
    answers = await asyncio.gather(*(_move(api, patient, booking, second, "move-1") for _ in range(20)))
    assert {(each.status_code, each.text) for each in answers} == {(200, answers[0].text)}
    assert (await _move(api, patient, booking, third)).status_code == 200
    again = await _move(api, patient, booking, second, "move-1")
    assert (again.text, again.headers["idempotency-replayed"]) == (answers[0].text, "true")
    seen = await api.get(f"/v1/bookings/{booking['id']}", headers=patient.headers)
    assert (seen.json()["starts_at"], seen.json()["version"]) == (third, booking["version"] + 2)


async def test_two_bookings_that_want_one_time_leave_it_to_one_and_the_other_where_it_was(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    doctor = await make_doctor()
    times = (await free_times(api, doctor))[:7]
    patients = [await make_patient() for _ in range(6)]
    bookings = [await _booked(api, patient, doctor, time) for patient, time in zip(patients, times[1:], strict=True)]
    answers = await asyncio.gather(
        *(_move(api, patient, booking, times[0]) for patient, booking in zip(patients, bookings, strict=True))
    )
    codes = sorted(each.json().get("code", "moved") for each in answers)
    assert codes == ["moved", *["slot_taken"] * 5]
    for patient, booking, answer in zip(patients, bookings, answers, strict=True):
        seen = await api.get(f"/v1/bookings/{booking['id']}", headers=patient.headers)
        expected = times[0] if answer.status_code == 200 else booking["starts_at"]
        assert (seen.json()["starts_at"], seen.json()["status"]) == (expected, "confirmed")


async def test_two_patients_who_exchange_their_times_never_wait_for_each_other(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    doctor, one, two = await make_doctor(), await make_patient(), await make_patient()
    first, second = (await free_times(api, doctor))[:2]
    mine, theirs = await _booked(api, one, doctor, first), await _booked(api, two, doctor, second)
    answers = await asyncio.gather(_move(api, one, mine, second), _move(api, two, theirs, first))
    assert [each.json()["code"] for each in answers] == ["slot_taken", "slot_taken"]


async def test_a_patient_who_is_elsewhere_then_is_told_so(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    doctor, second, patient = await make_doctor(), await make_doctor(), await make_patient()
    first, then = (await free_times(api, doctor))[:2]
    booking = await _booked(api, patient, doctor, first)
    elsewhere = await _booked(api, patient, second, then)
    refused = await _move(api, patient, booking, then, "once-more")
    assert (refused.status_code, refused.json()["code"]) == (409, "patient_busy")
    cancelled = await api.post(f"/v1/bookings/{elsewhere['id']}/cancel", json={}, headers=patient.writing())
    assert cancelled.status_code == 200
    again = await _move(api, patient, booking, then, "once-more")  # the refusal was of its moment
    assert again.status_code == 200, again.text


async def test_what_is_no_slot_or_the_same_time_or_over_is_refused(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    doctor, patient = await make_doctor(), await make_patient()
    first, second = (await free_times(api, doctor))[:2]
    booking = await _booked(api, patient, doctor, first)
    between = await _move(api, patient, booking, first.replace(":00Z", ":01Z"))
    assert (between.status_code, between.json()["code"]) == (422, "not_a_slot")
    same = await _move(api, patient, booking, first)
    assert (same.status_code, same.json()["code"]) == (409, "invalid_state")
    cancelled = await api.post(f"/v1/bookings/{booking['id']}/cancel", json={}, headers=patient.writing())
    assert cancelled.status_code == 200
    late = await _move(api, patient, booking, second)
    assert (late.status_code, late.json()["code"]) == (409, "invalid_state")


async def test_only_who_is_to_be_seen_moves_it(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    doctor, patient, stranger = await make_doctor(), await make_patient(), await make_patient()
    first, second = (await free_times(api, doctor))[:2]
    booking = await _booked(api, patient, doctor, first)
    assert "reschedule" in booking["actions"]
    assert (await _move(api, stranger, booking, second)).status_code == 404
    assert (await _move(api, doctor, booking, second)).status_code == 403
    without = await api.post(
        f"/v1/bookings/{booking['id']}/reschedule", json={"starts_at": second}, headers=patient.headers
    )
    assert (without.status_code, without.json()["code"]) == (400, "idempotency_key_missing")


@pytest.mark.parametrize("role", ["support", "doctor"])
async def test_who_is_a_patient_too_moves_nobody_elses_visit(
    api: httpx.AsyncClient,
    make_patient: MakePatient,
    make_doctor: MakeDoctor,
    people: People,
    owner: Database,
    role: str,
) -> None:
    doctor, patient = await make_doctor(), await make_patient()
    first, second = (await free_times(api, doctor))[:2]
    booking = await _booked(api, patient, doctor, first)
    both = doctor if role == "doctor" else await make_patient()
    async with owner.connection() as db:
        await db.execute("UPDATE users SET roles = ARRAY['patient', $2] WHERE id = $1", both.id, role)
    refused = await _move(api, await people.again(both), booking, second)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_what_is_bound_to_fail_leaves_no_trace_in_the_workflow(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client
) -> None:
    """A history takes 2,000 updates: nobody can use them up by asking in vain."""
    doctor, patient, other = await make_doctor(), await make_patient(), await make_patient()
    first, second = (await free_times(api, doctor))[:2]
    booking = await _booked(api, patient, doctor, first)
    await _booked(api, other, doctor, second)
    handle = temporal.get_workflow_handle(f"booking/{booking['id']}")
    before = len((await handle.fetch_history()).events)
    for _ in range(3):
        assert (await _move(api, patient, booking, second)).json()["code"] == "slot_taken"
    assert len((await handle.fetch_history()).events) == before


async def test_a_hold_that_was_moved_ends_when_it_would_have_and_gives_the_new_time_back(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client
) -> None:
    doctor, patient, other = await make_doctor(fee=50000), await make_patient(), await make_patient()
    first, second = (await free_times(api, doctor))[:2]
    booking = await _booked(api, patient, doctor, first)
    moved = (await _move(api, patient, booking, second)).json()
    assert (moved["status"], moved["expires_at"]) == ("held", booking["expires_at"])
    handle = temporal.get_workflow_handle(f"booking/{booking['id']}")
    await TimeSkipper(temporal).fast_forward(handle, timedelta(minutes=11))
    assert await handle.result() == "expired"
    assert (await book(api, other, doctor, second)).status_code == 201


@pytest.mark.parametrize("gone", [True, False])
async def test_a_hold_that_has_run_out_moves_nowhere_whoever_has_its_time_now(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, owner: Database, *, gone: bool
) -> None:
    """The workflow has not come round to expire it yet: its claims count as free already."""
    doctor, patient, other = await make_doctor(fee=50000), await make_patient(), await make_patient()
    first, second = (await free_times(api, doctor))[:2]
    booking = await _booked(api, patient, doctor, first)
    async with owner.transaction() as db:
        await db.execute("UPDATE claims SET expires_at = now() WHERE booking_id = $1", booking["id"])
    if gone:
        await _booked(api, other, doctor, first)
    late = await _move(api, patient, booking, second)
    assert (late.status_code, late.json()["code"]) == (409, "hold_expired")

    async def free() -> bool:
        return second in await free_times(api, doctor)

    assert await until(free)


async def test_a_full_day_takes_a_booking_that_moves_within_it(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    doctor, patient, other = await make_doctor(max_bookings_per_day=1), await make_patient(), await make_patient()
    today, tomorrow = await free_times(api, doctor, days_ahead=3), await free_times(api, doctor, days_ahead=5)
    booking = await _booked(api, patient, doctor, today[0])
    theirs = await _booked(api, other, doctor, tomorrow[0])
    assert (await _move(api, patient, booking, today[1])).status_code == 200
    refused = await _move(api, other, theirs, today[2])
    assert (refused.status_code, refused.json()["code"]) == (409, "slot_taken")
