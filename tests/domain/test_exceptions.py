"""What an exception must be to make sense when it is made. `tests/web/test_availability.py` has the rest."""

from datetime import UTC, datetime, timedelta

import pytest

from amrutam.domain.common import Mode
from amrutam.domain.errors import InvalidState, ValidationFailed
from amrutam.domain.exceptions import MOST, AddException, Kind

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_who_falls_ill_says_so_afterwards_but_not_when_all_is_over() -> None:
    AddException(starts_at=NOW - HOUR, ends_at=NOW + HOUR).check(NOW, slot_minutes=30, ahead=0)
    with pytest.raises(ValidationFailed) as refused:
        AddException(starts_at=NOW - HOUR, ends_at=NOW).check(NOW, slot_minutes=30, ahead=0)
    assert [fault.pointer for fault in refused.value.faults] == ["/ends_at"]


def test_extra_hours_hold_at_least_one_slot() -> None:
    extra = AddException(kind=Kind.EXTRA, starts_at=NOW, ends_at=NOW + HOUR, modes=(Mode.CHAT,))
    extra.check(NOW, slot_minutes=60, ahead=0)
    with pytest.raises(ValidationFailed, match="Some fields") as refused:
        extra.check(NOW, slot_minutes=61, ahead=0)
    assert [fault.code for fault in refused.value.faults] == ["window_too_short"]


def test_a_doctor_has_so_many_exceptions_to_come_and_no_more() -> None:
    leave = AddException(starts_at=NOW, ends_at=NOW + HOUR)
    leave.check(NOW, slot_minutes=30, ahead=MOST - 1)
    with pytest.raises(InvalidState, match=f"{MOST} exceptions to come"):
        leave.check(NOW, slot_minutes=30, ahead=MOST)
