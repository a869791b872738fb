"""The `Idempotency-Key`: one request, one outcome, told as often as it is asked for."""

from collections.abc import Awaitable, Callable

import httpx
import pytest

from amrutam.storage.pool import Database
from tests.people import Person
from tests.web.slots import book, free_times, wish

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]


async def test_a_repeated_request_gets_the_same_bytes(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    starts_at = (await free_times(api, doctor))[0]
    first = await book(api, patient, doctor, starts_at, key="k", reason="An itching rash")
    again = await book(api, patient, doctor, starts_at, key="k", reason="An itching rash")
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert (again.headers["location"], again.headers["etag"]) == (first.headers["location"], first.headers["etag"])
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"


async def test_the_stored_outcome_is_told_even_after_the_booking_has_moved_on(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    starts_at = (await free_times(api, doctor))[0]
    first = await book(api, patient, doctor, starts_at, key="k")
    path = f"/v1/bookings/{first.json()['id']}/cancel"
    cancelled = await api.post(path, json={}, headers=patient.writing("c"))
    assert (await book(api, patient, doctor, starts_at, key="k")).content == first.content
    assert (await api.post(path, json={}, headers=patient.writing("c"))).content == cancelled.content


async def test_the_same_key_with_another_body_is_refused(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    times = await free_times(api, doctor)
    await book(api, patient, doctor, times[0], key="k")
    other = await book(api, patient, doctor, times[1], key="k")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert times[1] in await free_times(api, doctor)


async def test_two_patients_with_one_key_have_two_bookings(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    first, second, doctor = await make_patient(), await make_patient(), await make_doctor()
    times = await free_times(api, doctor)
    one = await book(api, first, doctor, times[0], key="k")
    two = await book(api, second, doctor, times[1], key="k")
    assert (one.json()["patient_id"], two.json()["patient_id"]) == (str(first.id), str(second.id))


async def test_a_refusal_is_of_its_moment_and_not_replayed(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    first, second, doctor = await make_patient(), await make_patient(), await make_doctor()
    starts_at = (await free_times(api, doctor))[0]
    booking = (await book(api, first, doctor, starts_at)).json()
    assert (await book(api, second, doctor, starts_at, key="again")).json()["code"] == "slot_taken"
    await api.post(f"/v1/bookings/{booking['id']}/cancel", json={}, headers=first.writing())
    assert (await book(api, second, doctor, starts_at, key="again")).status_code == 201


async def test_a_refusal_that_came_from_the_workflow_is_not_replayed_either(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    patient, doctor = await make_patient(), await make_doctor(fee=50000)
    times = await free_times(api, doctor)
    held = [(await book(api, patient, doctor, time)).json() for time in times[:3]]
    assert (await book(api, patient, doctor, times[3], key="again")).json()["code"] == "too_many_holds"
    await api.post(f"/v1/bookings/{held[0]['id']}/cancel", json={}, headers=patient.writing())
    assert (await book(api, patient, doctor, times[3], key="again")).status_code == 201


@pytest.mark.parametrize("key", [None, "", "a" * 256, "with space", "tab\there"])
async def test_a_missing_or_malformed_key_is_refused_and_nothing_is_done(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, key: str | None
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    times = await free_times(api, doctor)
    headers = patient.headers if key is None else {**patient.headers, "Idempotency-Key": key}
    answer = await api.post("/v1/bookings", json=wish(doctor, times[0]), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_missing")
    assert await free_times(api, doctor) == times


async def test_a_request_that_does_not_validate_uses_up_no_key(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    starts_at = (await free_times(api, doctor))[0]
    assert (await book(api, patient, doctor, "yesterday", key="k")).status_code == 422
    assert (await book(api, patient, doctor, starts_at, key="k")).status_code == 201


async def test_the_owner_of_a_refused_request_can_ask_what_became_of_it(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, db: Database
) -> None:
    patient, other, doctor = await make_patient(), await make_patient(), await make_doctor()
    starts_at = (await free_times(api, doctor))[0]
    await book(api, other, doctor, starts_at)
    assert (await book(api, patient, doctor, starts_at, key="k")).status_code == 409
    async with db.connection() as connection:
        operation_id = await connection.fetchval("SELECT operation_id FROM operations WHERE user_id = $1", patient.id)
    answer = await api.get(f"/v1/bookings/{operation_id}", headers=patient.headers)
    assert (answer.status_code, answer.json()["status"]) == (200, "refused")
    assert answer.json()["problem"]["code"] == "slot_taken"
    assert (await api.get(f"/v1/bookings/{operation_id}", headers=other.headers)).status_code == 404
