"""The hours of a doctor's week."""

from collections.abc import Iterator, Sequence
from datetime import date, time
from enum import StrEnum
from typing import Annotated, LiteralString

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from amrutam.domain.common import Message, Mode
from amrutam.domain.wallclock import CalendarDate, WallTime

_DAY_MINUTES = 24 * 60
_WEEK_MINUTES = 7 * _DAY_MINUTES


class Weekday(StrEnum):
    """A day of the week, in the doctor's zone."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"

    @property
    def number(self) -> int:
        """As `date.weekday()` counts: Monday is 0."""
        return _NUMBERS[self]


_NUMBERS = {weekday: number for number, weekday in enumerate(Weekday)}


def _distinct(modes: tuple[Mode, ...]) -> tuple[Mode, ...]:
    if len(set(modes)) < len(modes):
        raise ValueError("should name each mode once")
    return modes


# How one can be met at some hours.
Modes = Annotated[tuple[Mode, ...], Field(min_length=1), AfterValidator(_distinct)]


class Rule(Message):
    """Hours that come back every week. An `end` at or before `start` is on the next day."""

    weekday: Weekday
    start: WallTime
    end: WallTime
    modes: Modes
    valid_from: CalendarDate | None = Field(default=None, description="first date on which these hours may begin")
    valid_to: CalendarDate | None = Field(default=None, description="last date on which these hours may begin")

    @field_validator("valid_to")
    @classmethod
    def _not_before_valid_from(cls, valid_to: date | None, info: ValidationInfo) -> date | None:
        valid_from = info.data.get("valid_from")
        if valid_from and valid_to and valid_to < valid_from:
            raise ValueError("should not be before valid_from")
        return valid_to

    @property
    def minutes(self) -> int:
        """How long the hours last on the wall clock, 1 to 1440 minutes."""
        # From 0..1439 to 1..1440: hours that end when they began last a whole day.
        return (_minute_of_day(self.end) - _minute_of_day(self.start) - 1) % _DAY_MINUTES + 1

    @property
    def minute_of_week(self) -> int:
        """When the hours begin, in minutes since Monday 00:00 on the wall clock."""
        return self.weekday.number * _DAY_MINUTES + _minute_of_day(self.start)

    def is_valid_on(self, day: date) -> bool:
        """Whether the hours may begin on this date of the doctor's calendar, if it is their weekday."""
        return (self.valid_from is None or self.valid_from <= day) and (self.valid_to is None or day <= self.valid_to)


def _minute_of_day(value: time) -> int:
    return value.hour * 60 + value.minute


def too_short(rules: Sequence[Rule], slot_minutes: int) -> Iterator[InitErrorDetails]:
    for index, rule in enumerate(rules):
        if rule.minutes < slot_minutes:
            yield _fault(
                index, "end", "window_too_short", f"These hours are shorter than a slot of {slot_minutes} minutes"
            )


def overlaps(rules: Sequence[Rule]) -> Iterator[InitErrorDetails]:
    """One fault for each rule that overlaps another, at the later one of the two."""
    # The week twice, so that hours which run from Sunday into Monday meet those of Monday.
    twice = sorted(
        (rule.minute_of_week + wrap, index) for wrap in (0, _WEEK_MINUTES) for index, rule in enumerate(rules)
    )
    found: dict[int, int] = {}
    for place, (start, one) in enumerate(twice):
        for other_start, other in twice[place + 1 :]:
            if other_start >= start + rules[one].minutes:
                break
            days_later = other_start // _DAY_MINUTES - start // _DAY_MINUTES
            if _ever_both(rules[one], rules[other], days_later):
                found.setdefault(max(one, other), min(one, other))
    for index, other in sorted(found.items()):
        yield _fault(index, "start", "rules_overlap", f"Rules {other} and {index} overlap")


def _ever_both(one: Rule, other: Rule, days_later: int) -> bool:
    """Whether on some date `one` begins, and `other` begins that many days later."""
    # Ordinals, since the first and last dates of the calendar have no neighbour.
    first = max(_ordinal(one.valid_from, date.min), _ordinal(other.valid_from, date.min) - days_later)
    last = min(_ordinal(one.valid_to, date.max), _ordinal(other.valid_to, date.max) - days_later)
    days_to_weekday = (one.weekday.number + 1 - first) % 7  # ordinal 1 is a Monday
    return first + days_to_weekday <= last


def _ordinal(day: date | None, otherwise: date) -> int:
    return (day or otherwise).toordinal()


def _fault(index: int, field: str, code: LiteralString, detail: str) -> InitErrorDetails:
    return InitErrorDetails(
        type=PydanticCustomError(code, "{detail}", {"detail": detail}), loc=(index, field), input=None
    )
