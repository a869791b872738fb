"""Hours, exceptions and slots over HTTP."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import pytest

from amrutam.ids import new_id
from tests.people import EVERY_HOUR, Person
from tests.web.slots import book, free_times

Make = Callable[..., Awaitable[Person]]
HOURS = "/v1/doctors/me/availability"
EXCEPTIONS = "/v1/doctors/me/exceptions"
DAY = timedelta(days=1)


def _wire(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _tomorrow(hour: int = 0) -> datetime:
    return datetime.now(UTC).replace(hour=hour, minute=0, second=0, microsecond=0) + 2 * DAY


async def _replace(api: httpx.AsyncClient, doctor: Person, **fields: Any) -> httpx.Response:
    """Replace the hours that were just read."""
    etag = (await api.get(HOURS, headers=doctor.headers)).headers["etag"]
    return await api.put(HOURS, json={**EVERY_HOUR, **fields}, headers={**doctor.headers, "If-Match": etag})


async def _slots(api: httpx.AsyncClient, doctor: Person, **query: Any) -> httpx.Response:
    return await api.get(f"/v1/doctors/{doctor.id}/slots", params=query)


async def test_slots_read_as_the_contract_says(api: httpx.AsyncClient, make_doctor: Make) -> None:
    doctor, day = await make_doctor(fee=50000), _tomorrow().date().isoformat()
    answer = await _slots(api, doctor, **{"from": day, "to": day, "tz": "America/New_York", "mode": "chat"})
    body = answer.json()
    first = datetime.fromisoformat(f"{day}T00:00:00").replace(tzinfo=ZoneInfo("America/New_York"))
    assert (body["doctor_id"], body["time_zone"]) == (str(doctor.id), "America/New_York")
    assert body["items"][0] == {
        "starts_at": _wire(first.astimezone(UTC)),
        "ends_at": _wire(first.astimezone(UTC) + timedelta(minutes=15)),
        "local_start": first.isoformat(),
        "modes": ["video", "chat"],
        "fee": {"amount": 50000, "currency": "INR"},
    }
    assert {slot["local_start"][:10] for slot in body["items"]} == {day}
    again = await api.get(answer.request.url, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_slots_are_by_default_of_seven_days_in_the_doctors_zone(
    api: httpx.AsyncClient, make_doctor: Make
) -> None:
    doctor = await make_doctor(time_zone="Pacific/Auckland")
    body = (await _slots(api, doctor)).json()
    today = datetime.now(ZoneInfo("Pacific/Auckland")).date()
    days = {slot["local_start"][:10] for slot in body["items"]}
    assert body["time_zone"] == "Pacific/Auckland"
    assert {(today + each * DAY).isoformat() for each in range(1, 6)} <= days
    assert len(days) <= 8


async def test_days_that_have_passed_hold_no_slot(api: httpx.AsyncClient, make_doctor: Make) -> None:
    doctor, today = await make_doctor(), datetime.now(UTC).date()
    past = await _slots(api, doctor, **{"from": "2020-01-01", "to": "2020-01-31"})
    half = await _slots(api, doctor, **{"from": str(today - 20 * DAY), "to": str(today + 5 * DAY)})
    assert (past.status_code, past.json()["items"]) == (200, [])
    assert min(slot["starts_at"] for slot in half.json()["items"]) >= _wire(datetime.now(UTC) - timedelta(minutes=1))


async def test_a_mode_that_is_not_offered_has_no_slots(api: httpx.AsyncClient, make_doctor: Make) -> None:
    assert (await _slots(api, await make_doctor(), mode="audio")).json()["items"] == []


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"from": "2026-12-01", "to": "2027-01-01"}, "/to"),
        ({"from": "2026-12-02", "to": "2026-12-01"}, "/to"),
        ({"from": "tomorrow"}, "/from"),
        ({"tz": "Mars/Olympus"}, "/tz"),
        ({"mode": "telepathy"}, "/mode"),
        ({"days": "3"}, "/days"),
    ],
)
async def test_slots_that_cannot_be_asked_for_are_refused_by_field(
    api: httpx.AsyncClient, make_doctor: Make, query: dict[str, str], pointer: str
) -> None:
    answer = await _slots(api, await make_doctor(), **query)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


async def test_the_ends_of_the_calendar_hold_no_slots_and_no_error(api: httpx.AsyncClient, make_doctor: Make) -> None:
    doctor = await make_doctor()
    for query in ({"from": "9999-12-25"}, {"from": "0001-01-01", "to": "0001-01-05"}):
        answer = await _slots(api, doctor, **query, tz="Pacific/Kiritimati")
        assert (answer.status_code, answer.json()["items"]) == (200, [])


async def test_hours_are_replaced_and_their_slots_change_at_once(api: httpx.AsyncClient, make_doctor: Make) -> None:
    doctor = await make_doctor()
    before = await free_times(api, doctor)
    answer = await _replace(api, doctor, slot_minutes=60)
    assert answer.status_code == 200, answer.text
    assert answer.json().pop("bookings_outside") == []
    read = await api.get(HOURS, headers=doctor.headers)
    assert {**read.json(), "bookings_outside": []} == answer.json()
    assert read.headers["etag"] == answer.headers["etag"]
    assert len(await free_times(api, doctor)) == len(before) // 4


async def test_bookings_outside_the_new_hours_are_named_and_kept(
    api: httpx.AsyncClient, make_doctor: Make, make_patient: Make
) -> None:
    doctor, patient = await make_doctor(), await make_patient()
    times = await free_times(api, doctor)
    booked = await book(api, patient, doctor, times[3])
    assert booked.status_code == 201, booked.text
    answer = await _replace(api, doctor, rules=[])
    assert answer.json()["bookings_outside"] == [booked.json()["id"]]
    kept = await api.get(f"/v1/bookings/{booked.json()['id']}", headers=patient.headers)
    assert kept.json()["status"] == "confirmed"
    assert (await _replace(api, doctor)).json()["bookings_outside"] == []


async def test_hours_that_were_not_read_or_make_no_sense_are_refused(api: httpx.AsyncClient, make_doctor: Make) -> None:
    doctor = await make_doctor()
    missing = await api.put(HOURS, json=EVERY_HOUR, headers=doctor.headers)
    stale = await api.put(HOURS, json=EVERY_HOUR, headers={**doctor.headers, "If-Match": '"v99"'})
    assert (missing.status_code, stale.status_code) == (428, 412)
    rule = {"weekday": "mon", "start": "09:00", "end": "12:00", "modes": ["video"]}
    overlap = await _replace(api, doctor, rules=[rule, {**rule, "start": "11:00"}])
    assert (overlap.status_code, overlap.json()["errors"][0]["pointer"]) == (422, "/rules/1/start")


async def test_an_exception_takes_its_time_back_and_gives_it_again(api: httpx.AsyncClient, make_doctor: Make) -> None:
    doctor, noon = await make_doctor(), _tomorrow(12)
    before = await free_times(api, doctor)
    wanted = {"starts_at": _wire(noon), "ends_at": _wire(noon + timedelta(hours=1))}
    kept = {"kind": "leave", **wanted, "modes": None, "note": None}

    made = await api.post(EXCEPTIONS, json=wanted, headers=doctor.headers)

    assert made.status_code == 201, made.text
    leave_id = made.json()["id"]
    assert made.json() == {"id": leave_id, **kept, "bookings": []}
    assert made.headers["location"] == f"{EXCEPTIONS}/{leave_id}"
    listed = (await api.get(EXCEPTIONS, headers=doctor.headers)).json()
    assert listed == {"items": [{"id": leave_id, **kept}], "next_cursor": None}
    gone = sorted(set(before) - set(await free_times(api, doctor)))
    assert gone == [_wire(noon + timedelta(minutes=15 * each)) for each in range(4)]
    assert (await api.delete(f"{EXCEPTIONS}/{leave_id}", headers=doctor.headers)).status_code == 204
    assert await free_times(api, doctor) == before


async def test_a_booking_within_an_exception_stands_and_is_named(
    api: httpx.AsyncClient, make_doctor: Make, make_patient: Make
) -> None:
    doctor, patient, noon = await make_doctor(), await make_patient(), _tomorrow(12)
    booked = await book(api, patient, doctor, _wire(noon))
    assert booked.status_code == 201, booked.text
    wanted = {"starts_at": _wire(noon), "ends_at": _wire(noon + timedelta(hours=1))}
    made = await api.post(EXCEPTIONS, json=wanted, headers=doctor.headers)
    assert made.json()["bookings"] == [booked.json()["id"]]
    refused = await book(api, await make_patient(), doctor, _wire(noon + timedelta(minutes=30)))
    assert (refused.status_code, refused.json()["code"]) == (422, "not_a_slot")


async def test_extra_hours_are_offered_beside_the_weekly_ones_in_their_own_modes(
    api: httpx.AsyncClient, make_doctor: Make, make_patient: Make
) -> None:
    doctor, noon = await make_doctor(rules=[]), _tomorrow(12)
    wanted = {"kind": "extra", "starts_at": _wire(noon), "ends_at": _wire(noon + timedelta(minutes=40))}
    made = await api.post(EXCEPTIONS, json={**wanted, "modes": ["video"]}, headers=doctor.headers)
    assert made.status_code == 201, made.text
    assert await free_times(api, doctor) == [_wire(noon), _wire(noon + timedelta(minutes=15))]
    by_chat = await book(api, await make_patient(), doctor, _wire(noon), mode="chat")
    assert (by_chat.status_code, by_chat.json()["errors"][0]["pointer"]) == (422, "/mode")
    booked = await book(api, await make_patient(), doctor, _wire(noon))
    assert booked.status_code == 201, booked.text
    assert (await _replace(api, doctor, rules=[])).json()["bookings_outside"] == []
    assert (await api.delete(f"{EXCEPTIONS}/{made.json()['id']}", headers=doctor.headers)).status_code == 204
    assert await free_times(api, doctor) == []
    assert (await _replace(api, doctor, rules=[])).json()["bookings_outside"] == [booked.json()["id"]]


async def test_why_a_doctor_is_busy_is_for_the_doctor_alone(
    api: httpx.AsyncClient, make_doctor: Make, make_patient: Make
) -> None:
    doctor, noon, note = await make_doctor(), _tomorrow(12), "The dentist at last"
    wanted = {"kind": "block", "starts_at": _wire(noon), "ends_at": _wire(noon + timedelta(minutes=15)), "note": note}
    assert (await api.post(EXCEPTIONS, json=wanted, headers=doctor.headers)).json()["note"] == note
    assert (await api.get(EXCEPTIONS, headers=doctor.headers)).json()["items"][0]["note"] == note
    refused = await book(api, await make_patient(), doctor, _wire(noon))
    assert (refused.status_code, refused.json()["detail"]) == (422, "The doctor is away at this time.")
    assert note not in refused.text + (await _slots(api, doctor)).text
    assert _wire(noon) not in await free_times(api, doctor)


async def test_a_full_day_offers_nothing_and_is_refused_until_a_booking_is_cancelled(
    api: httpx.AsyncClient, make_doctor: Make, make_patient: Make
) -> None:
    doctor, patient = await make_doctor(time_zone="UTC", max_bookings_per_day=1), await make_patient()
    times = await free_times(api, doctor)
    first = await book(api, patient, doctor, times[0])
    assert first.status_code == 201, first.text
    assert await free_times(api, doctor) == []
    assert len(await free_times(api, doctor, days_ahead=3)) == len(times)
    refused = await book(api, await make_patient(), doctor, times[9])
    assert (refused.status_code, refused.json()["code"]) == (409, "slot_taken")
    assert "1 a day at most" in refused.json()["detail"]
    cancelled = await api.post(f"/v1/bookings/{first.json()['id']}/cancel", json={}, headers=patient.writing())
    assert cancelled.status_code == 200, cancelled.text
    assert await free_times(api, doctor) == times


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"kind": "holiday"}, "/kind"),
        ({"kind": "extra"}, "/modes"),
        ({"kind": "extra", "modes": []}, "/modes"),
        ({"kind": "block", "modes": ["video"]}, "/modes"),
        ({"kind": "extra", "modes": ["video"], "minutes": 24 * 60 + 1}, "/ends_at"),
        ({"kind": "extra", "modes": ["video"], "minutes": 14}, "/ends_at"),
        ({"kind": "extra", "modes": ["video"], "seconds": 30}, "/starts_at"),
        ({"note": "n" * 501}, "/note"),
    ],
)
async def test_an_exception_that_makes_no_sense_is_refused_by_field(
    api: httpx.AsyncClient, make_doctor: Make, changes: dict[str, Any], pointer: str
) -> None:
    given = dict(changes)
    noon = _tomorrow(12) + timedelta(seconds=given.pop("seconds", 0))
    wanted = {"starts_at": _wire(noon), "ends_at": _wire(noon + timedelta(minutes=given.pop("minutes", 60))), **given}
    answer = await api.post(EXCEPTIONS, json=wanted, headers=(await make_doctor()).headers)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


async def test_one_key_makes_one_exception(api: httpx.AsyncClient, make_doctor: Make) -> None:
    doctor, noon, key = await make_doctor(), _tomorrow(12), str(new_id())
    wanted = {"starts_at": _wire(noon), "ends_at": _wire(noon + timedelta(hours=1))}
    first, second = [await api.post(EXCEPTIONS, json=wanted, headers=doctor.writing(key)) for _ in range(2)]
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert first.headers["location"] == second.headers["location"]
    assert second.headers["idempotency-replayed"] == "true"
    assert len((await api.get(EXCEPTIONS, headers=doctor.headers)).json()["items"]) == 1


@pytest.mark.parametrize(
    ("from_now", "to_then"),
    [(timedelta(days=-3), timedelta(days=-2)), (DAY, timedelta(hours=-1)), (DAY, timedelta()), (DAY, 367 * DAY)],
)
async def test_a_time_that_cannot_be_taken_back_is_refused(
    api: httpx.AsyncClient, make_doctor: Make, from_now: timedelta, to_then: timedelta
) -> None:
    doctor, starts_at = await make_doctor(), datetime.now(UTC) + from_now
    length = to_then if from_now > timedelta() else to_then - from_now
    wanted = {"starts_at": _wire(starts_at), "ends_at": _wire(starts_at + length)}
    answer = await api.post(EXCEPTIONS, json=wanted, headers=doctor.headers)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/ends_at")


async def test_nobody_removes_another_doctors_exception(
    api: httpx.AsyncClient, make_doctor: Make, some_id: UUID
) -> None:
    owner, other, noon = await make_doctor(), await make_doctor(), _tomorrow(12)
    wanted = {"starts_at": _wire(noon), "ends_at": _wire(noon + timedelta(hours=1))}
    leave_id = (await api.post(EXCEPTIONS, json=wanted, headers=owner.headers)).json()["id"]
    for wrong in (leave_id, some_id):
        assert (await api.delete(f"{EXCEPTIONS}/{wrong}", headers=other.headers)).status_code == 404
    assert len((await api.get(EXCEPTIONS, headers=owner.headers)).json()["items"]) == 1


async def test_exceptions_are_listed_in_pages(api: httpx.AsyncClient, make_doctor: Make) -> None:
    doctor, noon = await make_doctor(), _tomorrow(12)
    for each in range(3):
        wanted = {"starts_at": _wire(noon + each * DAY), "ends_at": _wire(noon + each * DAY + timedelta(hours=1))}
        assert (await api.post(EXCEPTIONS, json=wanted, headers=doctor.headers)).status_code == 201
    first = (await api.get(EXCEPTIONS, params={"limit": 2}, headers=doctor.headers)).json()
    rest = {"limit": 2, "cursor": first["next_cursor"]}
    second = (await api.get(EXCEPTIONS, params=rest, headers=doctor.headers)).json()
    assert [len(first["items"]), len(second["items"]), second["next_cursor"]] == [2, 1, None]
