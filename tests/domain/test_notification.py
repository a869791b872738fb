"""Which mails an event of a booking asks for, and until when they are news."""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from amrutam.domain.booking import Booking, Status
from amrutam.domain.common import Role
from amrutam.domain.notification import SendMail, Template, mails_for
from tests.domain.samples import BOOKING, CONFIRMED_AT, DOCTOR, PATIENT, STARTS_AT, a_booking

EVENT = UUID(int=16)
EARLIER, ENDS_AT = STARTS_AT - timedelta(hours=1), STARTS_AT + timedelta(minutes=15)


def _asked(event: str, **more: Any) -> list[tuple[str, UUID, Template]]:
    """Who is told by which workflow and mail."""
    data = {"doctor_id": str(DOCTOR), "patient_id": str(PATIENT), **more}
    mails = mails_for(EVENT, event, BOOKING, json.dumps(data, default=str))
    assert {mail.booking_id for mail in mails} <= {BOOKING}
    return [(mail.workflow_id, mail.user_id, mail.template) for mail in mails]


def _to_both(template: Template) -> list[tuple[str, UUID, Template]]:
    return [(f"mail/{EVENT}", PATIENT, template), (f"mail/{EVENT}", DOCTOR, template)]


def test_both_sides_are_told_that_they_will_meet_and_when_it_is_moved() -> None:
    assert _asked("booking.confirmed", starts_at=STARTS_AT.isoformat()) == _to_both(Template.BOOKING_CONFIRMED)
    times = {"starts_at": STARTS_AT.isoformat(), "was_at": EARLIER.isoformat()}
    assert _asked("booking.moved", **times) == _to_both(Template.BOOKING_MOVED)


def test_a_mail_carries_the_times_that_its_event_told() -> None:
    data = {"doctor_id": str(DOCTOR), "patient_id": str(PATIENT), "starts_at": STARTS_AT.isoformat()}
    for mail in mails_for(EVENT, "booking.moved", BOOKING, json.dumps({**data, "was_at": EARLIER.isoformat()})):
        assert (mail.starts_at, mail.was_at) == (STARTS_AT, EARLIER)


@pytest.mark.parametrize(
    ("by", "told"),
    [
        (Role.PATIENT, [(f"mail/{EVENT}", DOCTOR, Template.BOOKING_CANCELLED)]),
        (Role.DOCTOR, [(f"mail/{EVENT}", PATIENT, Template.BOOKING_CALLED_OFF)]),
        (Role.ADMIN, [(f"mail/{EVENT}", PATIENT, Template.BOOKING_CALLED_OFF)]),
        (
            Role.SUPPORT,
            [
                (f"mail/{EVENT}", PATIENT, Template.BOOKING_CALLED_OFF),
                (f"mail/{EVENT}", DOCTOR, Template.BOOKING_CANCELLED),
            ],
        ),
    ],
)
def test_whoever_did_not_cancel_is_told(by: Role, told: list[tuple[str, UUID, Template]]) -> None:
    assert _asked("booking.cancelled", starts_at=STARTS_AT.isoformat(), by=by) == told


def test_a_patient_alone_is_asked_to_choose_another_time() -> None:
    assert _asked("booking.move_offered", answer_by=STARTS_AT.isoformat()) == [
        (f"mail/{EVENT}", PATIENT, Template.BOOKING_MOVE_OFFERED)
    ]
    assert _asked("booking.move_withdrawn") == [(f"mail/{EVENT}", PATIENT, Template.BOOKING_MOVE_WITHDRAWN)]


@pytest.mark.parametrize("event", ["booking.held", "booking.expired", "doctor.changed"])
def test_most_events_ask_for_no_mail(event: str) -> None:
    assert _asked(event) == []


def test_the_two_mails_of_one_event_have_ids_of_their_own_beside_each_other() -> None:
    one = SendMail(event_id=EVENT, template=Template.BOOKING_CONFIRMED, user_id=PATIENT)
    other = one.model_copy(update={"to_doctor": True})
    assert one.mail_id == EVENT
    assert abs(other.mail_id.int - EVENT.int) == 1


def test_what_an_older_version_asked_for_is_read_as_it_was_meant() -> None:
    ids = {"event_id": str(EVENT), "user_id": str(PATIENT), "booking_id": str(BOOKING)}
    old = SendMail.model_validate_json(json.dumps({**ids, "template": "booking_called_off"}))
    assert (old.workflow_id, old.mail_id, old.to_doctor, old.starts_at) == (f"mail/{EVENT}", EVENT, False, None)


def _is_news(template: Template, booking: Booking, now: datetime = CONFIRMED_AT) -> bool:
    mail = SendMail(event_id=EVENT, template=template, user_id=PATIENT, booking_id=BOOKING, starts_at=STARTS_AT)
    return mail.is_news_of(booking, now)


@pytest.mark.parametrize("template", [Template.BOOKING_CONFIRMED, Template.BOOKING_MOVED])
def test_a_time_is_told_while_the_visit_is_to_be_then(template: Template) -> None:
    assert _is_news(template, a_booking())
    assert not _is_news(template, a_booking(), ENDS_AT)
    assert not _is_news(template, a_booking(starts_at=EARLIER))
    for status in set(Status) - {Status.CONFIRMED}:
        assert not _is_news(template, a_booking(status)), status


def test_a_doctor_is_told_of_no_end_of_what_they_were_not_told_of() -> None:
    assert _is_news(Template.BOOKING_CANCELLED, a_booking(Status.CANCELLED))
    assert not _is_news(Template.BOOKING_CANCELLED, a_booking(Status.CANCELLED, confirmed_at=None))


def test_a_patient_is_asked_to_choose_while_that_can_be_done_and_told_that_it_need_not() -> None:
    asked = a_booking(move_by=STARTS_AT)
    assert _is_news(Template.BOOKING_MOVE_OFFERED, asked)
    assert not _is_news(Template.BOOKING_MOVE_OFFERED, asked, STARTS_AT)
    assert not _is_news(Template.BOOKING_MOVE_OFFERED, a_booking())
    assert _is_news(Template.BOOKING_MOVE_WITHDRAWN, a_booking())
    assert not _is_news(Template.BOOKING_MOVE_WITHDRAWN, asked)
    assert not _is_news(Template.BOOKING_MOVE_WITHDRAWN, a_booking(Status.CANCELLED))
    assert _is_news(Template.BOOKING_CALLED_OFF, a_booking(Status.CANCELLED))
