"""Until when a patient may choose another time."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from amrutam.domain.booking import Status
from amrutam.domain.cancel_day import Appointment, Way, check_date
from amrutam.domain.errors import ValidationFailed

ASKED_AT = datetime(2026, 3, 1, 10, tzinfo=UTC)


def _answer_by(hours_ahead: float, status: Status = Status.CONFIRMED, way: Way = Way.OFFER_TO_MOVE) -> datetime:
    booking_id = UUID("018f0000-0000-7000-8000-000000000000")
    starts_at = ASKED_AT + timedelta(hours=hours_ahead)
    return Appointment(id=booking_id, status=status, starts_at=starts_at).answer_by(way, ASKED_AT)


@pytest.mark.parametrize(
    ("hours_ahead", "hours_to_answer"),
    [(0.5, 0), (2.99, 0), (3, 1), (10, 8), (50, 48), (51, 48), (1000, 48)],
)
def test_there_are_two_days_to_answer_but_none_of_the_last_two_hours_and_less_than_one_is_no_time(
    hours_ahead: float, hours_to_answer: float
) -> None:
    assert _answer_by(hours_ahead) - ASKED_AT == timedelta(hours=hours_to_answer)


@pytest.mark.parametrize("status", [Status.HELD, Status.AWAITING_PAYMENT])
def test_who_has_not_paid_is_not_asked(status: Status) -> None:
    assert _answer_by(100, status) == ASKED_AT


def test_nobody_is_asked_where_the_day_is_just_cancelled() -> None:
    assert _answer_by(100, way=Way.CANCEL) == ASKED_AT


def test_days_from_today_to_a_year_ahead_can_be_given_up() -> None:
    today = date(2026, 3, 1)
    check_date(today, today)
    check_date(today + timedelta(days=366), today)
    for day in (today - timedelta(days=1), today + timedelta(days=367)):
        with pytest.raises(ValidationFailed):
            check_date(day, today)
