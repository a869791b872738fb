"""A visit as an entry for a calendar: put in, moved and taken out again, and nothing in it that is nobody's to read."""

from datetime import timedelta
from typing import Any

import pytest
from icalendar import Calendar

from amrutam.domain import invitation
from amrutam.domain.booking import Booking, Cancellation, Status
from amrutam.domain.common import Mode, Role
from amrutam.domain.errors import InvalidState
from tests.domain.samples import CONFIRMED_AT, PATIENT, STARTS_AT, a_booking

SENDER, ASHA, URL = "Amrutam <no-reply@amrutam.test>", "asha@example.com", "https://api.amrutam.test"


def _cancelled() -> Booking:
    said = Cancellation(by=Role.PATIENT, at=CONFIRMED_AT + timedelta(hours=1), reason=b"canary")
    return a_booking(Status.CANCELLED, cancellation=said, version=2)


def _written(booking: Booking, side: Role = Role.PATIENT) -> bytes:
    return invitation.write(booking, side, ASHA, SENDER, URL)


def _event(booking: Booking, side: Role = Role.PATIENT) -> Any:
    calendar: Any = Calendar.from_ical(_written(booking, side))
    [event] = calendar.walk("VEVENT")
    return event


def test_a_patient_is_invited_to_the_visit() -> None:
    assert _written(a_booking()).decode().replace("\r\n ", "").split("\r\n") == [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Amrutam//Amrutam//EN",
        "METHOD:REQUEST",
        "BEGIN:VEVENT",
        "SUMMARY:Video visit with Dr Meera Iyer",
        "DTSTART:20260301T114500Z",
        "DTEND:20260301T120000Z",
        "DTSTAMP:20260301T093015Z",
        "UID:00000000-0000-0000-0000-000000000002@amrutam",
        "SEQUENCE:0",
        "ATTENDEE;PARTSTAT=ACCEPTED;ROLE=REQ-PARTICIPANT;RSVP=FALSE:mailto:asha@example.com",
        "CLASS:PRIVATE",
        f"LOCATION:{URL}/v1/bookings/00000000-0000-0000-0000-000000000002",
        "ORGANIZER;CN=Amrutam:mailto:no-reply@amrutam.test",
        "STATUS:CONFIRMED",
        f"URL:{URL}/v1/bookings/00000000-0000-0000-0000-000000000002",
        "END:VEVENT",
        "END:VCALENDAR",
        "",
    ]
    assert invitation.content_type(a_booking()) == "text/calendar; method=REQUEST; charset=utf-8"


def test_a_cancelled_visit_is_taken_out_by_the_same_id_and_a_later_number() -> None:
    before, after = _event(a_booking()), _event(_cancelled())
    assert (after["uid"], after["sequence"]) == (before["uid"], before["sequence"] + 1)
    assert (after["status"], after.decoded("dtstamp")) == ("CANCELLED", CONFIRMED_AT.replace(hour=10, microsecond=0))
    assert b"\r\nMETHOD:CANCEL\r\n" in _written(_cancelled())
    assert invitation.content_type(_cancelled()) == "text/calendar; method=CANCEL; charset=utf-8"


def test_a_moved_visit_keeps_its_id_and_raises_its_number() -> None:
    later = STARTS_AT + timedelta(days=1)
    moved = _event(a_booking(starts_at=later, version=4))
    assert (moved["uid"], moved["sequence"]) == (_event(a_booking())["uid"], 3)
    assert moved.decoded("dtstart") == later


def test_a_doctor_reads_of_no_patient_and_nobody_of_the_reason() -> None:
    assert _event(a_booking(mode=Mode.CHAT), Role.DOCTOR)["summary"] == "Chat visit"
    for booking in (a_booking(), _cancelled()):
        for side in (Role.PATIENT, Role.DOCTOR):
            assert b"canary" not in _written(booking, side)
            assert str(PATIENT).encode() not in _written(booking, side)


def test_the_same_version_is_the_same_bytes() -> None:
    assert _written(a_booking()) == _written(a_booking())


@pytest.mark.parametrize(
    "name",
    [
        "Iyer, Meera; MD\\FRCP",
        'Dr "M" Iyer: x',
        "डॉ मीरा अय्यर " * 12,
        "Dr\r\nATTENDEE:mailto:mallory@example.com",
        "Dr\nIyer",
    ],
)
def test_a_name_is_text_whatever_it_holds_and_lines_are_short(name: str) -> None:
    written = _written(a_booking(doctor_name=name))
    assert max(map(len, written.split(b"\r\n"))) <= 75
    event = _event(a_booking(doctor_name=name))
    assert event["summary"] == f"Video visit with {name}".replace("\r\n", "\n")
    assert str(event["attendee"]) == f"mailto:{ASHA}"


@pytest.mark.parametrize("status", [Status.HELD, Status.AWAITING_PAYMENT, Status.EXPIRED, Status.CANCELLED])
def test_nobody_is_invited_to_what_was_never_confirmed(status: Status) -> None:
    with pytest.raises(InvalidState, match="not confirmed"):
        _written(a_booking(status, confirmed_at=None))


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.NO_SHOW])
def test_nobody_is_invited_to_what_is_over(status: Status) -> None:
    with pytest.raises(InvalidState, match="over"):
        _written(a_booking(status))
