"""What a doctor may write as weekly hours, and where a mistake is pointed at."""

from typing import Any

import pytest
from pydantic import ValidationError

from amrutam.domain.availability import Availability
from tests.domain.samples import available, rule


def faults(**changes: Any) -> list[tuple[Any, ...]]:
    valid = {"time_zone": "Asia/Kolkata", "slot_minutes": 30, "rules": [rule("mon", "09:00", "12:00")]}
    with pytest.raises(ValidationError) as refused:
        Availability.model_validate(valid | changes)
    return [error["loc"] for error in refused.value.errors()]


def test_availability_is_answered_as_it_was_given() -> None:
    given: dict[str, Any] = {
        "time_zone": "Asia/Kolkata",
        "slot_minutes": 15,
        "buffer_before_minutes": 0,
        "buffer_after_minutes": 5,
        "minimum_notice_minutes": 30,
        "horizon_days": 60,
        "max_bookings_per_day": 12,
        "rules": [
            {
                "weekday": "mon",
                "start": "22:00",
                "end": "02:00",
                "modes": ["video"],
                "valid_from": None,
                "valid_to": "2026-12-31",
            }
        ],
    }
    parsed = Availability.model_validate(given)
    assert parsed.model_dump(mode="json") == given
    assert Availability.model_validate_json(parsed.model_dump_json()) == parsed


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("time_zone", "Mars/Olympus"),
        ("time_zone", "../etc/passwd"),
        ("time_zone", "localtime"),
        ("time_zone", ""),
        ("slot_minutes", 4),
        ("slot_minutes", 241),
        ("slot_minutes", "30"),
        ("slot_minutes", True),
        ("buffer_before_minutes", -1),
        ("buffer_after_minutes", 121),
        ("minimum_notice_minutes", 43201),
        ("horizon_days", 0),
        ("horizon_days", 366),
        ("max_bookings_per_day", 0),
        ("max_bookings_per_day", 501),
        (
            "rules",
            [rule("mon", "00:00", "00:00", valid_from=f"{y}-01-01", valid_to=f"{y}-12-31") for y in range(1900, 2001)],
        ),
        ("colour", "blue"),
    ],
)
def test_a_wrong_value_is_refused_at_its_field(field: str, value: object) -> None:
    assert faults(**{field: value}) == [(field,)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("weekday", "monday"),
        ("start", "9:00"),
        ("start", "24:00"),
        ("start", "09:00:00"),
        ("start", 540),
        ("end", "12:60"),
        ("end", "\u0661\u0662:00"),
        ("end", "12:00Z"),
        ("modes", []),
        ("modes", ["video", "video"]),
        ("valid_from", "2026-02-30"),
        ("valid_from", "1735689600"),
        ("valid_from", 20260301),
        ("valid_to", "2026-03-01T00:00:00"),
    ],
)
def test_a_wrong_value_in_a_rule_is_refused_at_its_field(field: str, value: object) -> None:
    found = faults(rules=[rule("mon", "09:00", "12:00"), rule("tue", "09:00", "12:00") | {field: value}])
    assert [location[:3] for location in found] == [("rules", 1, field)]


def test_a_validity_that_ends_before_it_begins_is_refused() -> None:
    backwards = rule("mon", "09:00", "12:00", valid_from="2026-03-02", valid_to="2026-03-01")
    assert faults(rules=[backwards]) == [("rules", 0, "valid_to")]


def test_hours_shorter_than_a_slot_are_refused() -> None:
    assert faults(rules=[rule("mon", "23:50", "00:15")]) == [("rules", 0, "end")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (rule("mon", "09:00", "12:00"), rule("mon", "11:30", "13:00")),
        (rule("mon", "09:00", "12:00"), rule("mon", "09:00", "12:00", "chat")),
        (rule("mon", "22:00", "02:00"), rule("tue", "01:30", "03:00")),
        (rule("mon", "01:00", "03:00"), rule("sun", "22:00", "02:00")),
        (rule("mon", "08:00", "08:00"), rule("tue", "07:00", "09:00")),
        (
            rule("sun", "22:00", "02:00", valid_to="2026-03-01"),
            rule("mon", "00:00", "01:00", valid_from="2026-03-02"),
        ),
        (rule("mon", "09:00", "12:00", valid_to="0001-01-01"), rule("mon", "09:00", "12:00", valid_from="0001-01-01")),
    ],
)
def test_rules_that_overlap_are_refused_and_both_are_named(one: dict[str, Any], other: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="Rules 1 and 2 overlap") as refused:
        available(rule("thu", "09:00", "12:00"), one, other)
    assert [error["loc"] for error in refused.value.errors()] == [("rules", 2, "start")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (rule("mon", "09:00", "12:00"), rule("mon", "12:00", "13:00")),
        (rule("mon", "08:00", "08:00"), rule("tue", "08:00", "08:00")),
        (rule("sun", "22:00", "02:00"), rule("mon", "02:00", "03:00")),
        (rule("mon", "09:00", "12:00", valid_to="2026-03-08"), rule("mon", "09:00", "12:00", valid_from="2026-03-03")),
        (
            rule("sun", "22:00", "02:00", valid_to="2026-03-01"),
            rule("mon", "00:00", "01:00", valid_from="2026-03-03"),
        ),
    ],
)
def test_rules_that_only_touch_or_never_meet_are_accepted(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert len(available(one, other).rules) == 2
