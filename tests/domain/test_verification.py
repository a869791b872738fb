"""The states of a submission, walked from each to each; the end of a registration."""

from datetime import UTC, date, datetime
from itertools import product
from uuid import UUID

import pytest

from amrutam.domain.errors import InvalidState, ValidationFailed
from amrutam.domain.verification import (
    DECIDED,
    NEXT,
    OPEN,
    Identity,
    State,
    Submission,
    check_valid_until,
    kept_for,
    valid_until,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _submission(state: State, some_id: UUID) -> Submission:
    who = Identity(full_name="Dr Meera Iyer", registration_number="1", registration_council="A council")
    return Submission(
        id=some_id, doctor_id=some_id, state=state, who=who, registration_valid_until=date(2027, 1, 1),
        documents=[], submitted_at=NOW,
    )  # fmt: skip


@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_a_submission_goes_where_the_table_says_and_nowhere_else(before: State, after: State, some_id: UUID) -> None:
    submission = _submission(before, some_id)
    if after in NEXT[before]:
        submission.check_may_become(after)
    else:
        with pytest.raises(InvalidState):
            submission.check_may_become(after)


def test_what_is_decided_stays_so_and_what_is_open_can_be_decided() -> None:
    assert {state for state in State if NEXT[state]} == OPEN
    assert set(DECIDED.values()) == NEXT[State.PENDING] - {State.SUPERSEDED}


def test_a_registration_is_good_on_its_last_day_to_the_end() -> None:
    assert valid_until(date(2026, 2, 28)) == datetime(2026, 3, 1, tzinfo=UTC)
    check_valid_until(date(2026, 3, 1), NOW)


@pytest.mark.parametrize(
    ("now", "kept"),
    [
        (NOW, 30),
        (datetime(2026, 3, 1, 23, 59, 50, tzinfo=UTC), 10),
        (datetime(2026, 3, 1, 23, 59, 59, 990000, tzinfo=UTC), 0.1),
        (datetime(2026, 3, 2, tzinfo=UTC), 30),
    ],
)
def test_nothing_that_shows_a_doctor_is_kept_over_the_midnight_of_a_lapse(now: datetime, kept: float) -> None:
    assert kept_for(30, now) == kept


@pytest.mark.parametrize("last_day", [date(2026, 2, 28), date(1999, 1, 1), date(2090, 1, 1), date(9998, 12, 31)])
def test_a_registration_that_has_lapsed_or_never_would_is_refused_by_name(last_day: date) -> None:
    with pytest.raises(ValidationFailed) as refused:
        check_valid_until(last_day, NOW)
    assert [fault.pointer for fault in refused.value.faults] == ["/registration_valid_until"]
