"""A doctor gives up a day: nobody can book it any more, and what was booked is called off or moved."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from temporalio.client import Client
from temporalio.testing._timeskipping import TimeSkipper  # the public testing environment starts a server of its own

from tests.people import Person
from tests.polling import until
from tests.web.slots import book, free_times

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]
Outbox = Callable[..., Awaitable[list[dict[str, Any]]]]

# Doctors of these tests keep UTC, so that their days are those that `free_times` asks for.
DAYS_AHEAD = 4
# Of the patients, by whose clock mails are written.
KOLKATA = ZoneInfo("Asia/Kolkata")


def _day(days_ahead: int = DAYS_AHEAD) -> str:
    return (datetime.now(UTC) + timedelta(days=days_ahead)).date().isoformat()


@pytest.fixture
async def doctor(make_doctor: MakeDoctor) -> Person:
    """Offers every hour, free of charge."""
    return await make_doctor(time_zone="UTC")


async def _give_up(api: httpx.AsyncClient, doctor: Person, key: str | None = None, **said: Any) -> httpx.Response:
    body = {"date": _day(), **said}
    return await api.post("/v1/doctors/me/cancel-day", json=body, headers=doctor.writing(key))


async def _booked(api: httpx.AsyncClient, patient: Person, doctor: Person, starts_at: str) -> dict[str, Any]:
    answer = await book(api, patient, doctor, starts_at)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def _seen(api: httpx.AsyncClient, patient: Person, booking: dict[str, Any]) -> dict[str, Any]:
    return (await api.get(f"/v1/bookings/{booking['id']}", headers=patient.headers)).json()


async def _until_it_is(
    api: httpx.AsyncClient, patient: Person, booking: dict[str, Any], so: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    async def there() -> dict[str, Any] | None:
        seen = await _seen(api, patient, booking)
        return seen if so(seen) else None

    return await until(there)


def _is_off(seen: dict[str, Any]) -> bool:
    return seen["status"] == "cancelled"


def _is_asked(seen: dict[str, Any]) -> bool:
    return seen["move_by"] is not None


async def _fast_forward(temporal: Client, day: dict[str, Any], by: timedelta) -> Any:
    handle = temporal.get_workflow_handle(f"cancel-day/{day['id']}", result_type=int)
    await TimeSkipper(temporal).fast_forward(handle, by)
    return handle


async def test_its_bookings_are_called_off_its_patients_told_and_other_days_stand(
    api: httpx.AsyncClient, make_patient: MakePatient, doctor: Person, outbox: Outbox
) -> None:
    one, two, next_day = await make_patient(), await make_patient(), await make_patient()
    times = await free_times(api, doctor, days_ahead=DAYS_AHEAD)
    late, early = await _booked(api, one, doctor, times[-1]), await _booked(api, two, doctor, times[0])
    spared = await _booked(api, next_day, doctor, (await free_times(api, doctor, days_ahead=DAYS_AHEAD + 1))[0])
    answer = await _give_up(api, doctor)
    assert answer.status_code == 201, answer.text
    day = answer.json()
    assert day["bookings"] == [early["id"], late["id"]]
    assert (day["starts_at"], day["time_zone"], day["way"]) == (f"{_day()}T00:00:00Z", "UTC", "cancel")
    assert await free_times(api, doctor, days_ahead=DAYS_AHEAD) == []
    for patient, booking in ((one, late), (two, early)):
        assert (await _until_it_is(api, patient, booking, _is_off))["cancellation"]["by"] == "doctor"
        [mail] = await outbox(patient.email, subject="Your visit was called off")
        assert mail["attachments"] == ["visit.ics"]  # which takes it out of the calendar
    assert (await _seen(api, next_day, spared))["status"] == "confirmed"
    stranger = await make_patient()
    assert (await book(api, stranger, doctor, times[5])).json()["code"] == "not_a_slot"
    kept = await api.get("/v1/doctors/me/exceptions", headers=doctor.headers)
    assert [each["id"] for each in kept.json()["items"]] == [day["id"]]


async def test_one_key_gives_up_one_day_however_often_it_is_sent(
    api: httpx.AsyncClient, make_patient: MakePatient, doctor: Person, temporal: Client
) -> None:
    patient = await make_patient()
    booking = await _booked(api, patient, doctor, (await free_times(api, doctor, days_ahead=DAYS_AHEAD))[0])
    answers = await asyncio.gather(*(_give_up(api, doctor, "day-1") for _ in range(10)))
    assert {(each.status_code, each.text) for each in answers} == {(201, answers[0].text)}
    await _until_it_is(api, patient, booking, _is_off)
    handle = temporal.get_workflow_handle(f"cancel-day/{answers[0].json()['id']}", result_type=int)
    assert await handle.result() == 1
    again = await _give_up(api, doctor, "day-1")
    assert (again.text, again.headers["idempotency-replayed"]) == (answers[0].text, "true")
    kept = await api.get("/v1/doctors/me/exceptions", headers=doctor.headers)
    assert len(kept.json()["items"]) == 1


async def test_a_patient_who_is_asked_to_move_is_told_free_times_and_moves(
    api: httpx.AsyncClient, make_patient: MakePatient, doctor: Person, outbox: Outbox, temporal: Client
) -> None:
    patient = await make_patient()
    booking = await _booked(api, patient, doctor, (await free_times(api, doctor, days_ahead=DAYS_AHEAD))[9])
    day = (await _give_up(api, doctor, bookings="offer_to_move")).json()
    asked = await _until_it_is(api, patient, booking, _is_asked)
    assert (asked["status"], asked["starts_at"]) == ("confirmed", booking["starts_at"])
    assert datetime.fromisoformat(asked["move_by"]) - datetime.fromisoformat(day["asked_at"]) == timedelta(days=2)
    [mail] = await outbox(patient.email, subject="Please choose another time for your visit")
    written = re.findall(r"\n- (.*) \(Asia", mail["text"])
    offered = [datetime.strptime(each, "%d %B %Y, %H:%M").replace(tzinfo=KOLKATA) for each in written]
    lost = datetime.fromisoformat(booking["starts_at"])
    assert len(offered) == 5
    assert offered == sorted(offered)
    assert all(abs(each - lost) < timedelta(days=1) for each in offered)  # the day itself is closed
    elsewhere = (await free_times(api, doctor, days_ahead=DAYS_AHEAD + 1))[0]
    path = f"/v1/bookings/{booking['id']}/reschedule"
    moved = await api.post(path, json={"starts_at": elsewhere}, headers=patient.writing())
    assert (moved.status_code, moved.json()["move_by"]) == (200, None)
    handle = await _fast_forward(temporal, day, timedelta(days=3))
    assert await handle.result() == 0
    assert (await _seen(api, patient, booking))["starts_at"] == elsewhere


async def test_who_chooses_no_other_time_is_called_off_when_the_time_to_do_so_is_up(
    api: httpx.AsyncClient, make_patient: MakePatient, doctor: Person, outbox: Outbox, temporal: Client
) -> None:
    patient = await make_patient()
    booking = await _booked(api, patient, doctor, (await free_times(api, doctor, days_ahead=DAYS_AHEAD))[0])
    day = (await _give_up(api, doctor, bookings="offer_to_move")).json()
    await _until_it_is(api, patient, booking, _is_asked)
    handle = await _fast_forward(temporal, day, timedelta(hours=47))
    assert (await _seen(api, patient, booking))["status"] == "confirmed"
    await _fast_forward(temporal, day, timedelta(hours=2))
    assert await handle.result() == 1
    off = await _seen(api, patient, booking)
    assert (off["status"], off["move_by"]) == ("cancelled", None)
    assert await outbox(patient.email, subject="Your visit was called off")


async def test_who_has_not_paid_yet_is_called_off_at_once(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    doctor, patient = await make_doctor(time_zone="UTC", fee=50000), await make_patient()
    booking = await _booked(api, patient, doctor, (await free_times(api, doctor, days_ahead=DAYS_AHEAD))[0])
    assert (await _give_up(api, doctor, bookings="offer_to_move")).status_code == 201
    assert await _until_it_is(api, patient, booking, _is_off)


async def test_a_day_that_is_opened_again_leaves_the_visits_as_they_were(
    api: httpx.AsyncClient, make_patient: MakePatient, doctor: Person, outbox: Outbox, temporal: Client
) -> None:
    patient = await make_patient()
    times = await free_times(api, doctor, days_ahead=DAYS_AHEAD)
    booking = await _booked(api, patient, doctor, times[0])
    answer = await _give_up(api, doctor, bookings="offer_to_move")
    await _until_it_is(api, patient, booking, _is_asked)
    await outbox(patient.email, subject="Please choose another time for your visit")
    assert (await api.delete(answer.headers["location"], headers=doctor.headers)).status_code == 204
    assert (await _seen(api, patient, booking))["move_by"] is None
    assert await outbox(patient.email, subject="Your visit takes place after all")
    handle = await _fast_forward(temporal, answer.json(), timedelta(days=3))
    assert await handle.result() == 0
    assert (await _seen(api, patient, booking))["status"] == "confirmed"
    assert await free_times(api, doctor, days_ahead=DAYS_AHEAD) == times[1:]


async def test_another_exception_that_ends_opens_no_day(
    api: httpx.AsyncClient, make_patient: MakePatient, doctor: Person
) -> None:
    """Nobody is told that the visit takes place because of a block that was in the same day."""
    patient = await make_patient()
    booking = await _booked(api, patient, doctor, (await free_times(api, doctor, days_ahead=DAYS_AHEAD))[9])
    block = {"kind": "block", "starts_at": f"{_day()}T00:00:00Z", "ends_at": f"{_day()}T23:00:00Z"}
    added = await api.post("/v1/doctors/me/exceptions", json=block, headers=doctor.writing())
    await _give_up(api, doctor, bookings="offer_to_move")
    asked = await _until_it_is(api, patient, booking, _is_asked)
    assert (await api.delete(added.headers["location"], headers=doctor.headers)).status_code == 204
    assert (await _seen(api, patient, booking))["move_by"] == asked["move_by"]


async def test_a_day_is_given_up_once_until_it_is_opened_again(api: httpx.AsyncClient, doctor: Person) -> None:
    first = await _give_up(api, doctor, bookings="offer_to_move")
    second = await _give_up(api, doctor)
    assert (second.status_code, second.json()["code"]) == (409, "invalid_state")
    await api.delete(first.headers["location"], headers=doctor.headers)
    assert (await _give_up(api, doctor)).status_code == 201


async def test_claims_and_the_day_being_given_up_leave_no_booking_behind(
    api: httpx.AsyncClient, make_patient: MakePatient, doctor: Person
) -> None:
    """Whoever was quicker than the day is called off with it, and whoever was later is refused."""
    times = await free_times(api, doctor, days_ahead=DAYS_AHEAD)
    patients = [await make_patient() for _ in range(12)]
    *answers, given_up = await asyncio.gather(
        *(book(api, patient, doctor, time) for patient, time in zip(patients, times, strict=False)),
        _give_up(api, doctor),
    )
    booked = {each.json()["id"] for each in answers if each.status_code == 201}
    assert set(given_up.json()["bookings"]) == booked
    assert {each.json()["code"] for each in answers if each.status_code != 201} <= {"not_a_slot"}
    for patient, answer in zip(patients, answers, strict=True):
        if answer.status_code == 201:
            await _until_it_is(api, patient, answer.json(), _is_off)


@pytest.mark.parametrize(
    ("date", "code"), [("2020-01-01", "past"), (_day(500), "too_far"), ("tomorrow", "value_error"), (None, None)]
)
async def test_a_date_that_cannot_be_given_up_is_named(
    api: httpx.AsyncClient, doctor: Person, date: str | None, code: str | None
) -> None:
    refused = await _give_up(api, doctor, date=date)
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
    [fault] = refused.json()["errors"]
    assert fault["pointer"] == "/date"
    assert code in {None, fault["code"]}


async def test_a_day_is_that_of_the_doctors_own_calendar(
    api: httpx.AsyncClient, make_doctor: MakeDoctor, make_patient: MakePatient
) -> None:
    doctor = await make_doctor(time_zone="Asia/Kolkata")
    day = (await _give_up(api, doctor)).json()
    opens = datetime.fromisoformat(_day()).replace(tzinfo=UTC) - timedelta(hours=5, minutes=30)
    assert datetime.fromisoformat(day["starts_at"]) == opens
    assert datetime.fromisoformat(day["ends_at"]) == opens + timedelta(days=1)
    left = await free_times(api, doctor, days_ahead=DAYS_AHEAD)
    assert left[0] == (opens + timedelta(days=1)).isoformat().replace("+00:00", "Z")
    patient = await make_patient()
    assert (await _give_up(api, patient)).status_code == 403
