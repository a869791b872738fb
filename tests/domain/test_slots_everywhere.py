"""What is true of slots in every time zone, held against somebody who watches the doctor's clock minute by minute."""

from datetime import UTC, date, datetime
from functools import cache
from itertools import pairwise
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amrutam.domain.availability import Availability, Slot, Span, bookings_outside, slot_at
from amrutam.domain.common import Mode
from amrutam.domain.errors import NotASlot
from amrutam.domain.hours import Rule
from amrutam.domain.windows import Extra
from tests.domain.samples import available, rule
from tests.domain.watcher import DAY, DAYS, MINUTE, Question, watched

WEEK = 7 * 1440
ZONES = sorted(available_timezones() - {"localtime", "Factory"})
QUICK = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@cache
def interesting_days(zone: str) -> list[date]:
    """The dates of 2026 to 2028 on which the clock of a zone changes, or any one where it never does."""
    clock = ZoneInfo(zone)
    noons = [datetime(2026, 1, 1, 12, tzinfo=UTC) + day * DAY for day in range(3 * 365)]
    offsets = [noon.astimezone(clock).utcoffset() for noon in noons]
    days = [later.date() for later, (a, b) in zip(noons[1:], pairwise(offsets), strict=True) if a != b]
    return days or [date(2027, 6, 15)]


def clock_text(minute: int) -> str:
    """A minute of the week as the time of its day."""
    return f"{minute // 60 % 24:02}:{minute % 60:02}"


@st.composite
def weekly_hours(draw: st.DrawFn, slot: int) -> list[dict[str, Any]]:
    """Hours that do not overlap, in steps of 5 minutes; they may run over midnight and over the end of the week."""
    edges = sorted(draw(st.sets(st.integers(0, WEEK // 5 - 1), min_size=4, max_size=30)))
    edges = [5 * edge for edge in edges[1:]] + [5 * edges[0] + WEEK]
    hours = [(start, end) for start, end in pairwise(edges) if slot <= end - start <= 24 * 60]
    return [
        rule(
            DAYS[start // 1440 % 7],
            clock_text(start),
            clock_text(end),
            *draw(st.sets(st.sampled_from(Mode), min_size=1)),
        )
        for start, end in hours
    ]


def span_around(day: datetime, start: int, minutes: int) -> Span:
    return Span(day + start * MINUTE, day + (start + minutes) * MINUTE)


@st.composite
def questions(draw: st.DrawFn) -> Question:
    zone = draw(st.sampled_from(ZONES))
    day = draw(st.sampled_from(interesting_days(zone)))
    slot = draw(st.sampled_from([5, 7, 15, 30, 45, 50, 60, 90, 240]))
    buffers = st.sampled_from([0, 5, 20])
    availability = Availability.model_validate(
        {
            "time_zone": zone,
            "slot_minutes": slot,
            "buffer_before_minutes": draw(buffers),
            "buffer_after_minutes": draw(buffers),
            "minimum_notice_minutes": draw(st.sampled_from([0, 30, 1500])),
            "horizon_days": draw(st.integers(1, 5)),
            "max_bookings_per_day": draw(st.sampled_from([None, None, 1, 2])),
            "rules": draw(weekly_hours(slot)),
        }
    )
    around = datetime(day.year, day.month, day.day, tzinfo=UTC)
    hours = st.builds(span_around, st.just(around), st.integers(-2880, 2880), st.integers(1, 1440))
    modes = st.sampled_from([(Mode.VIDEO,), (Mode.AUDIO, Mode.CHAT)])
    spans = st.builds(span_around, st.just(around), st.integers(-2880, 2880), st.integers(1, 600))
    return Question(
        availability,
        first=day - draw(st.integers(0, 2)) * DAY,
        last=day + draw(st.integers(-1, 2)) * DAY,
        tz=ZoneInfo(draw(st.one_of(st.just(zone), st.sampled_from(ZONES)))),
        now=around - draw(st.integers(0, 4 * 1440)) * MINUTE,
        blocked=draw(st.lists(spans, max_size=3)),
        taken=draw(st.lists(spans, max_size=6)),
        extra=draw(st.lists(st.builds(Extra, hours, modes), max_size=4)),
        booked=[around + minute * MINUTE for minute in draw(st.lists(st.integers(-2880, 2880), max_size=5))],
    )


@QUICK
@given(questions())
def test_slots_are_those_that_somebody_finds_who_watches_the_clock(question: Question) -> None:
    assert question.answer() == watched(question)


@QUICK
@given(questions())
def test_slots_come_in_order_keep_their_length_and_never_overlap(question: Question) -> None:
    slots = question.answer()
    assert all(slot.ends_at - slot.starts_at == question.availability.slot_length for slot in slots)
    assert all(one.ends_at <= other.starts_at for one, other in pairwise(slots))


@QUICK
@given(questions())
def test_the_doctors_clock_shows_a_time_on_the_grid_of_a_rule_when_a_slot_begins(question: Question) -> None:
    availability = question.availability
    for slot in question._replace(extra=[]).answer():
        wall = slot.starts_at.astimezone(availability.zone)
        assert wall.fold == 0
        assert any(on_grid(each, wall, availability.slot_minutes) for each in availability.rules)


def on_grid(rule_: Rule, wall: datetime, slot_minutes: int) -> bool:
    into = (wall.weekday() * 1440 + wall.hour * 60 + wall.minute - rule_.minute_of_week) % WEEK
    return into < rule_.minutes and into % slot_minutes == 0


@QUICK
@given(questions())
def test_a_slot_lies_within_hours_and_keeps_off_who_is_away_and_what_is_taken(question: Question) -> None:
    availability = question.availability
    away = [*question.blocked, *question.taken]
    for slot in question.answer():
        assert not any(slot.span.overlaps(each) for each in away)
        as_booked = {UUID(int=0): (slot.starts_at, slot.ends_at, slot.modes[0])}
        assert bookings_outside(availability, as_booked, extra=question.extra) == []


@pytest.mark.parametrize("part", range(4))
def test_each_zone_has_the_slots_that_somebody_finds_who_watches_its_changes(part: int) -> None:
    """Hours over midnight and in the small hours, when clocks are changed, on a grid that no change fits."""
    weekly = [rule(day, *hours) for day in DAYS for hours in (("00:10", "04:15"), ("21:40", "00:10"))]
    for zone in ZONES[part::4]:
        for day in interesting_days(zone)[:2]:
            hours = available(*weekly, zone=zone, slot=25, buffer_after_minutes=5, max_bookings_per_day=2)
            around = datetime(day.year, day.month, day.day, tzinfo=UTC)
            question = Question(
                hours, day - DAY, day, hours.zone, around - 3 * DAY,
                blocked=[span_around(around, 70, 10)],
                taken=[span_around(around, -60, 30), span_around(around, 200, 30)],
                extra=[Extra(span_around(around, -300, 1000), (Mode.CHAT,))],
                booked=[around - 50 * MINUTE, around + 200 * MINUTE],
            )  # fmt: skip
            found = question.answer()
            assert found == watched(question), zone
            assert found == [alone(question, slot.starts_at, slot.modes[0]) for slot in found], zone


@QUICK
@given(questions(), st.data())
def test_a_single_slot_is_found_just_where_the_list_has_it(question: Question, data: st.DataObject) -> None:
    free = question._replace(taken=[], booked=[])
    offered = {slot.starts_at: slot for slot in free.answer()}
    midnight = datetime(question.first.year, question.first.month, question.first.day, tzinfo=UTC)
    tries = data.draw(st.lists(st.integers(-1440, 5 * 1440), max_size=30))
    moments = [midnight + minutes * MINUTE for minutes in tries] + list(offered)[:50]
    for moment in moments:
        if free.first <= moment.astimezone(free.tz).date() <= free.last:
            for mode in Mode:
                expected = offered.get(moment)
                found = alone(free, moment, mode)
                assert found == (expected if expected and mode in expected.modes else None)


def alone(question: Question, moment: datetime, mode: Mode) -> Slot | None:
    try:
        return slot_at(
            question.availability, moment, mode, now=question.now, blocked=question.blocked, extra=question.extra
        )
    except NotASlot:
        return None
