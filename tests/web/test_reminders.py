"""Reminders: sent at their times, of the visit as it stands then, to who wants them."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import pytest
from redis.asyncio import Redis
from temporalio.client import Client
from temporalio.testing._timeskipping import TimeSkipper  # the public one starts a server of its own

from amrutam.crypto import Keyring
from amrutam.storage.pool import Database
from tests.people import People, Person
from tests.storage.desk import Desk
from tests.web.accounts import Outbox
from tests.web.slots import book, free_times

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]


@pytest.fixture
async def patient(make_patient: MakePatient) -> Person:
    """Who forgets."""
    return await make_patient()


@pytest.fixture
async def booking(api: httpx.AsyncClient, patient: Person, make_doctor: MakeDoctor) -> AsyncGenerator[dict[str, Any]]:
    """A visit in some days."""
    doctor = await make_doctor()
    answer = await book(api, patient, doctor, (await free_times(api, doctor, days_ahead=4))[0])
    assert answer.status_code == 201
    yield answer.json()
    await api.post(f"/v1/bookings/{answer.json()['id']}/cancel", json={}, headers=patient.writing())


async def _want(api: httpx.AsyncClient, who: Person, minutes: list[int]) -> httpx.Response:
    tag = (await api.get("/v1/me/notifications", headers=who.headers)).headers["etag"]
    headers = {**who.headers, "If-Match": tag}
    return await api.put("/v1/me/notifications", json={"reminder_minutes": minutes}, headers=headers)


async def _told(db: Database, booking_id: str) -> list[int]:
    async with db.connection() as connection:
        rows = await connection.fetch(
            "SELECT (data->>'minutes')::int AS minutes FROM events WHERE subject = $1 AND type = 'visit.reminder_due'",
            UUID(booking_id),
        )
    return sorted((row["minutes"] for row in rows), reverse=True)


async def _pass(temporal: Client, booking: dict[str, Any]) -> None:
    """The days until the visit, for its workflow."""
    handle = temporal.get_workflow_handle(f"booking/{booking['id']}")
    await TimeSkipper(temporal).fast_forward(handle, timedelta(days=6))
    assert await handle.result() == "confirmed"


async def _reminders(outbox: Outbox, who: Person, count: int) -> list[dict[str, Any]]:
    """Mails beside the one that told of the booking."""
    mails = await outbox(who.email, count + 1)
    return [mail for mail in mails if "a reminder of your video visit" in mail["text"]]


async def test_a_patient_is_reminded_at_each_time_and_in_their_own_zone(
    patient: Person, booking: dict[str, Any], temporal: Client, db: Database, outbox: Outbox
) -> None:
    await _pass(temporal, booking)
    assert await _told(db, booking["id"]) == [1440, 60, 10]
    mails = await _reminders(outbox, patient, 3)
    assert len(mails) == 3
    here = datetime.fromisoformat(booking["starts_at"]).astimezone(ZoneInfo("Asia/Kolkata"))
    assert all(f"{here:%H:%M}" in mail["text"] and "with Dr Meera Iyer" in mail["subject"] for mail in mails)


async def test_who_wants_fewer_reminders_gets_fewer_and_who_wants_none_gets_none(
    api: httpx.AsyncClient, patient: Person, booking: dict[str, Any], temporal: Client, db: Database, outbox: Outbox
) -> None:
    assert (await api.get("/v1/me/notifications", headers=patient.headers)).json() == {
        "reminder_minutes": [1440, 60, 10]
    }
    assert (await _want(api, patient, [60])).json() == {"reminder_minutes": [60]}
    await _pass(temporal, booking)
    assert await _told(db, booking["id"]) == [1440, 60, 10]
    [mail] = await _reminders(outbox, patient, 1)
    assert mail["to"] == patient.email
    bad = await _want(api, patient, [61])
    assert (bad.status_code, bad.json()["errors"][0]["pointer"]) == (422, "/reminder_minutes/0")
    assert (await _want(api, patient, [])).json() == {"reminder_minutes": []}
    stale = await api.put(
        "/v1/me/notifications", json={"reminder_minutes": [60]}, headers={**patient.headers, "If-Match": '"1"'}
    )
    assert stale.status_code == 412


async def test_nobody_is_reminded_of_what_was_cancelled_or_moved_nor_twice(
    db: Database, redis: Redis, keyring: Keyring, people: People
) -> None:
    doctor, moment = await people.doctor(), [datetime.now(UTC)]
    desk = Desk(db, redis, keyring, lambda: moment[0])
    noon = (datetime.now(UTC) + timedelta(days=3)).replace(hour=6, minute=30, second=0, microsecond=0)
    moved, cancelled = [
        await desk.book((await people.patient()).id, doctor.id, noon + timedelta(hours=number)) for number in range(2)
    ]
    due = noon - timedelta(days=1)
    assert moved.remind_at == due
    moment[0] = due
    for _ in range(2):
        assert (await desk.steps.remind(moved.id, due)).remind_at == noon - timedelta(hours=1)
    assert await _told(db, str(moved.id)) == [1440]
    later = await desk.move(moved.id, moved.patient_id, noon + timedelta(days=2))
    assert later.remind_at == noon + timedelta(days=1)
    await desk.steps.remind(moved.id, noon - timedelta(hours=1))  # as a workflow would that had not heard of it
    assert await _told(db, str(moved.id)) == [1440]
    await desk.cancel(cancelled.id, cancelled.patient_id)
    await desk.steps.remind(cancelled.id, due + timedelta(hours=1))
    assert await _told(db, str(cancelled.id)) == []
    moment[0] = later.starts_at - timedelta(minutes=50)  # the worker was away for ten minutes
    assert (await desk.steps.remind(moved.id, later.starts_at - timedelta(minutes=60))).remind_at is not None
    assert await _told(db, str(moved.id)) == [1440]
    moment[0] = datetime.now(UTC)
    await desk.clear()
