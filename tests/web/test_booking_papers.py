"""A visit in the calendars of its patient and its doctor: fetched, and brought by mails that follow it."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
from icalendar import Calendar
from temporalio.client import Client
from temporalio.service import RPCError

from amrutam.domain.common import Role
from amrutam.settings import Settings
from amrutam.storage.pool import Database
from tests.people import People, Person
from tests.polling import until
from tests.web.slots import book, free_times

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]
Outbox = Callable[..., Awaitable[list[dict[str, Any]]]]
# Of everybody here, by whose clock mails are written.
KOLKATA = ZoneInfo("Asia/Kolkata")


async def _booked(api: httpx.AsyncClient, patient: Person, doctor: Person, at: int = 0, **more: Any) -> dict[str, Any]:
    answer = await book(api, patient, doctor, (await free_times(api, doctor))[at], **more)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def _fetch(api: httpx.AsyncClient, who: Person, booking: dict[str, Any], **headers: str) -> httpx.Response:
    return await api.get(f"/v1/bookings/{booking['id']}/calendar.ics", headers={**who.headers, **headers})


async def _cancel(api: httpx.AsyncClient, who: Person, booking: dict[str, Any]) -> None:
    answer = await api.post(f"/v1/bookings/{booking['id']}/cancel", json={"reason": "canary"}, headers=who.writing())
    assert answer.status_code == 200, answer.text


def _event(content: bytes) -> Any:
    calendar: Any = Calendar.from_ical(content)
    [event] = calendar.walk("VEVENT")
    return event


def _when(booking: dict[str, Any]) -> str:
    return f"{datetime.fromisoformat(booking['starts_at']).astimezone(KOLKATA):%d %B %Y, %H:%M} (Asia/Kolkata)"


async def test_patient_and_doctor_fetch_the_visit_each_for_their_own_calendar(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, settings: Settings
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    booking = await _booked(api, patient, doctor, reason="canary")
    for person, summary in ((patient, "Video visit with Dr Meera Iyer"), (doctor, "Video visit")):
        answer = await _fetch(api, person, booking)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/calendar; method=REQUEST; charset=utf-8"
        assert answer.headers["content-disposition"] == 'attachment; filename="visit.ics"'
        assert answer.headers["cache-control"] == "no-store"
        assert b"canary" not in answer.content
        event = _event(answer.content)
        assert (event["uid"], event["sequence"]) == (f"{booking['id']}@amrutam", 0)
        assert (event["summary"], event["attendee"]) == (summary, f"mailto:{person.email}")
        assert event.decoded("dtstart") == datetime.fromisoformat(booking["starts_at"])
        assert event.decoded("dtend") == datetime.fromisoformat(booking["ends_at"])
        assert event["url"] == f"{settings.public_url}/v1/bookings/{booking['id']}"
        again = await _fetch(api, person, booking, **{"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


async def test_what_is_fetched_follows_the_visit_and_takes_it_out_when_it_is_cancelled(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    booking = await _booked(api, patient, doctor)
    later = {"starts_at": (await free_times(api, doctor))[7]}
    path = f"/v1/bookings/{booking['id']}/reschedule"
    assert (await api.post(path, json=later, headers=patient.writing())).status_code == 200
    moved = _event((await _fetch(api, patient, booking)).content)
    assert (moved["sequence"], moved.decoded("dtstart")) == (1, datetime.fromisoformat(later["starts_at"]))
    await _cancel(api, patient, booking)
    answer = await _fetch(api, patient, booking)
    assert answer.headers["content-type"] == "text/calendar; method=CANCEL; charset=utf-8"
    cancelled = _event(answer.content)
    assert (cancelled["sequence"], cancelled["status"]) == (2, "CANCELLED")
    assert cancelled["uid"] == moved["uid"]


async def test_what_was_never_confirmed_is_for_no_calendar(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    patient = await make_patient()
    booking = await _booked(api, patient, await make_doctor(fee=50000))
    for _ in range(2):
        refused = await _fetch(api, patient, booking)
        assert (refused.status_code, refused.json()["code"]) == (409, "invalid_state")
        assert "not confirmed" in refused.json()["detail"]
        if (await api.get(f"/v1/bookings/{booking['id']}", headers=patient.headers)).json()["status"] == "held":
            await _cancel(api, patient, booking)


async def test_the_patient_sees_that_the_doctor_fetched_it(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, db: Database
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    booking = await _booked(api, patient, doctor)
    for person in (patient, doctor):
        assert (await _fetch(api, person, booking)).status_code == 200
    async with db.connection() as connection:
        rows = await connection.fetch(
            "SELECT actor_id, actor_role, patient_id FROM audit WHERE subject = $1 AND action = 'booking.read'",
            UUID(booking["id"]),
        )
    assert [tuple(row) for row in rows] == [(doctor.id, "doctor", patient.id)]


async def test_support_has_no_place_in_a_visit(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, people: People
) -> None:
    booking = await _booked(api, await make_patient(), await make_doctor())
    answer = await _fetch(api, await people.staff(Role.SUPPORT), booking)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_both_sides_are_sent_the_visit_that_was_booked(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, outbox: Outbox
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    booking = await _booked(api, patient, doctor, reason="canary")
    when = _when(booking)
    for person, subject in (
        (patient, f"Video visit with Dr Meera Iyer: {when}"),
        (doctor, f"Video visit: {when}"),
    ):
        [mail] = await outbox(person.email)
        assert (mail["subject"], mail["attachments"]) == (subject, ["visit.ics"])
        assert when in mail["text"]
        assert "video visit" in mail["text"]
        assert "canary" not in mail["text"]


async def test_both_sides_are_told_of_another_time(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, outbox: Outbox
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    booking = await _booked(api, patient, doctor)
    path = f"/v1/bookings/{booking['id']}/reschedule"
    later = {"starts_at": (await free_times(api, doctor))[7]}
    moved = (await api.post(path, json=later, headers=patient.writing())).json()
    for person, subject in (
        (patient, f"Video visit with Dr Meera Iyer moved: {_when(moved)}"),
        (doctor, f"Video visit moved: {_when(moved)}"),
    ):
        [mail] = await outbox(person.email, subject=subject)
        assert _when(booking) in mail["text"]
        assert mail["attachments"] == ["visit.ics"]


async def test_whoever_did_not_cancel_is_told_and_the_visit_leaves_their_calendar(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, outbox: Outbox
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    first, second = await _booked(api, patient, doctor), await _booked(api, patient, doctor, 4)
    await _cancel(api, patient, first)
    [mail] = await outbox(doctor.email, subject=f"Video visit cancelled: {_when(first)}")
    assert mail["attachments"] == ["visit.ics"]
    assert "a patient has cancelled" in mail["text"]
    assert "canary" not in mail["text"]
    await _cancel(api, doctor, second)
    [mail] = await outbox(patient.email, subject="Your visit was called off")
    assert mail["attachments"] == ["visit.ics"]
    assert _when(second) in mail["text"]
    assert "takes the visit out of your calendar" in mail["text"]
    assert f"Video visit cancelled: {_when(second)}" not in {each["subject"] for each in await outbox(doctor.email)}


async def test_a_doctor_hears_nothing_of_a_hold_that_is_given_up(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, db: Database, temporal: Client
) -> None:
    patient, doctor = await make_patient(), await make_doctor(fee=50000)
    booking = await _booked(api, patient, doctor)
    await _cancel(api, patient, booking)
    async with db.connection() as connection:
        event_id = await connection.fetchval(
            "SELECT id FROM events WHERE subject = $1 AND type = 'booking.cancelled'", UUID(booking["id"])
        )

    async def sent() -> str | None:
        with suppress(RPCError):  # the relay has not come to it yet
            return await temporal.get_workflow_handle(f"mail/{event_id}", result_type=str).result()
        return None

    assert await until(sent) == "not_needed"
