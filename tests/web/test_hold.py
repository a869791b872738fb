"""A hold that is extended: by its patient, while it runs, for so long in all."""

from collections.abc import Awaitable, Callable
from datetime import datetime

import httpx
import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from amrutam.ids import new_id
from amrutam.storage.pool import Database
from tests.people import Person
from tests.web.paying import FEE, held, pay, reaches

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]


@pytest.fixture
async def patient(make_patient: MakePatient) -> Person:
    """Who pays slowly."""
    return await make_patient()


async def _extend(api: httpx.AsyncClient, who: Person, booking_id: str, key: str | None = None) -> httpx.Response:
    return await api.post(f"/v1/bookings/{booking_id}/extend-hold", json={}, headers=who.writing(key))


async def test_a_hold_goes_on_for_as_long_again_with_its_claims_and_its_payment(
    api: httpx.AsyncClient, patient: Person, make_doctor: MakeDoctor, db: Database
) -> None:
    booking, key = await held(api, patient, await make_doctor(fee=FEE)), str(new_id())
    payment = (await pay(api, patient, booking["id"])).json()
    answers = [await _extend(api, patient, booking["id"], key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
    assert answers[0].content == answers[1].content
    extended = answers[0].json()
    until = datetime.fromisoformat(extended["expires_at"])
    assert until > datetime.fromisoformat(booking["expires_at"])
    async with db.connection() as connection:
        rows = await connection.fetch("SELECT expires_at FROM claims WHERE booking_id = $1::uuid", booking["id"])
    assert {row["expires_at"] for row in rows} == {until}
    seen = (await api.get(f"/v1/payments/{payment['payment_id']}", headers=patient.headers)).json()
    assert datetime.fromisoformat(seen["expires_at"]) == until


async def test_a_hold_lasts_for_so_long_in_all_and_what_has_run_out_is_not_extended(
    api: httpx.AsyncClient, patient: Person, make_doctor: MakeDoctor, owner: Database
) -> None:
    booking = await held(api, patient, await make_doctor(fee=FEE))
    async with owner.transaction() as connection:
        await connection.execute(
            "UPDATE bookings SET created_at = created_at - interval '25 minutes' WHERE id = $1::uuid", booking["id"]
        )
    most = await _extend(api, patient, booking["id"])
    assert (most.status_code, most.json()["code"]) == (409, "invalid_state")
    assert "as long as it can be" in most.json()["detail"]
    async with owner.transaction() as connection:
        for table, key in (("bookings", "id"), ("claims", "booking_id")):
            past = f"UPDATE {table} SET expires_at = now() - interval '1 second' WHERE {key} = $1::uuid"  # noqa: S608
            await connection.execute(past, booking["id"])
    late = await _extend(api, patient, booking["id"])
    assert (late.status_code, late.json()["code"]) == (409, "hold_expired")
    assert (await api.post(f"/v1/bookings/{booking['id']}/cancel", json={}, headers=patient.writing())).is_success


async def test_a_hold_that_was_extended_can_still_be_given_up(
    api: httpx.AsyncClient, patient: Person, make_doctor: MakeDoctor, temporal: Client
) -> None:
    booking = await held(api, patient, await make_doctor(fee=FEE))
    await _extend(api, patient, booking["id"])
    handle = temporal.get_workflow_handle(f"booking/{booking['id']}")
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    cancelled = await api.post(f"/v1/bookings/{booking['id']}/cancel", json={}, headers=patient.writing())
    assert cancelled.status_code == 200
    await reaches(api, patient, booking["id"], "cancelled")
    assert await handle.result() == "cancelled"
