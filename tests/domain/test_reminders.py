"""When a patient is reminded."""

from datetime import UTC, datetime, timedelta

import pytest

from amrutam.domain.errors import ValidationFailed
from amrutam.domain.reminders import Preferences, next_reminder

NOON = datetime(2030, 3, 1, 12, tzinfo=UTC)
OFFERED = [1440, 60, 10]


@pytest.mark.parametrize(
    ("before", "due"),
    [(3000, 1440), (1441, 1440), (1440, 60), (61, 60), (60, 10), (11, 10), (10, None), (5, None), (-5, None)],
)
def test_the_next_reminder_is_the_first_that_is_still_to_come(before: int, due: int | None) -> None:
    now = NOON - timedelta(minutes=before)
    assert next_reminder(NOON, now, OFFERED) == (NOON - timedelta(minutes=due) if due else None)


def test_a_person_wants_what_the_clinic_offers() -> None:
    Preferences(reminder_minutes=[60]).check(OFFERED)
    Preferences(reminder_minutes=[]).check(OFFERED)
    with pytest.raises(ValidationFailed) as refused:
        Preferences(reminder_minutes=[60, 61]).check(OFFERED)
    assert refused.value.faults[0].pointer == "/reminder_minutes/1"
