"""What is true of slots in every time zone, held against somebody who watches the doctor's clock minute by minute."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amrutam.domain.availability import (
    Availability,
    Slot,
    Span,
    bookings_outside,
    claimed_span,
    open_slots,
    slot_at,
)
from amrutam.domain.common import Mode
from amrutam.domain.errors import NotASlot
from amrutam.domain.hours import Rule, Weekday
from tests.domain.samples import rule

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
WEEK = 7 * 1440
DAYS = tuple(Weekday)
ZONES = sorted(available_timezones() - {"localtime", "Factory"})
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Question(NamedTuple):
    """Everything that `open_slots` is asked."""

    availability: Availability
    first: date
    last: date
    tz: ZoneInfo
    now: datetime
    blocked: list[Span]
    taken: list[Span]

    def answer(self) -> list[Slot]:
        """What can be booked."""
        return open_slots(
            self.availability, self.first, self.last, self.tz, now=self.now, blocked=self.blocked, taken=self.taken
        )


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
            "rules": draw(weekly_hours(slot)),
        }
    )
    around = datetime(day.year, day.month, day.day, tzinfo=UTC)
    spans = st.builds(span_around, st.just(around), st.integers(-2880, 2880), st.integers(1, 600))
    return Question(
        availability,
        first=day - draw(st.integers(0, 2)) * DAY,
        last=day + draw(st.integers(-1, 2)) * DAY,
        tz=ZoneInfo(draw(st.one_of(st.just(zone), st.sampled_from(ZONES)))),
        now=around - draw(st.integers(0, 4 * 1440)) * MINUTE,
        blocked=draw(st.lists(spans, max_size=3)),
        taken=draw(st.lists(spans, max_size=6)),
    )


class Clock:
    """A clock on the doctor's wall, looked at every minute of some days."""

    def __init__(self, zone: ZoneInfo, around: date) -> None:
        start = datetime(around.year, around.month, around.day, tzinfo=UTC) - 6 * DAY
        self.first_shown: dict[datetime, datetime] = {}
        self.reached: list[tuple[datetime, datetime]] = []  # each wall time that no earlier one equals or exceeds
        for minute in range(16 * 1440):
            moment = start + minute * MINUTE
            wall = moment.astimezone(zone).replace(tzinfo=None, fold=0)
            if self.first_shown.setdefault(wall, moment) is moment and (not self.reached or wall > self.reached[-1][0]):
                self.reached.append((wall, moment))

    def at_or_after(self, wall: datetime) -> datetime:
        """The first moment at which the clock shows this time or a later one."""
        low, high = 0, len(self.reached) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.reached[middle][0] >= wall else (middle + 1, high)
        return self.reached[low][1]


def offered_by(rule_: Rule, day: date, length: timedelta, clock: Clock) -> Iterator[Slot]:
    """The slots of one rule on one date, as somebody would find them who watches the clock."""
    wall = datetime.combine(day, rule_.start)
    closes = datetime.combine(day + DAY * (rule_.end <= rule_.start), rule_.end)
    free_from = clock.at_or_after(wall)
    while wall < closes:
        starts_at = clock.first_shown.get(wall)
        if starts_at and free_from <= starts_at and starts_at + length <= clock.at_or_after(closes):
            yield Slot(starts_at, starts_at + length, rule_.modes)
            free_from = starts_at + length
        wall += length


def watched(question: Question) -> list[Slot]:
    """What `open_slots` should answer, found by looking at the clock and asking each rule in turn."""
    availability = question.availability
    clock = Clock(availability.zone, question.first)
    days = [question.first + offset * DAY for offset in range(-4, 8)]
    slots = [
        slot
        for day in days
        for rule_ in availability.rules
        if DAYS[day.weekday()] is rule_.weekday
        for slot in offered_by(rule_, day, availability.slot_minutes * MINUTE, clock)
    ]
    return sorted(slot for slot in slots if is_open(slot, question))


def is_open(slot: Slot, question: Question) -> bool:
    availability, claim = question.availability, claimed_span(question.availability, slot)
    return (
        question.first <= slot.starts_at.astimezone(question.tz).date() <= question.last
        and slot.starts_at >= question.now + availability.minimum_notice_minutes * MINUTE
        and slot.starts_at <= question.now + availability.horizon_days * DAY
        and not any(slot.starts_at < away.ends_at and away.starts_at < slot.ends_at for away in question.blocked)
        and not any(claim.starts_at < other.ends_at and other.starts_at < claim.ends_at for other in question.taken)
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
    for slot in question.answer():
        wall = slot.starts_at.astimezone(availability.zone)
        assert wall.fold == 0
        assert any(on_grid(each, wall, availability.slot_minutes) for each in availability.rules)


def on_grid(rule_: Rule, wall: datetime, slot_minutes: int) -> bool:
    into = (wall.weekday() * 1440 + wall.hour * 60 + wall.minute - rule_.minute_of_week) % WEEK
    return into < rule_.minutes and into % slot_minutes == 0


@QUICK
@given(questions(), st.data())
def test_a_single_slot_is_found_just_where_the_list_has_it(question: Question, data: st.DataObject) -> None:
    free = question._replace(taken=[])
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
        return slot_at(question.availability, moment, mode, now=question.now, blocked=question.blocked)
    except NotASlot:
        return None


@QUICK
@given(questions())
def test_no_slot_that_is_offered_counts_as_outside_the_hours(question: Question) -> None:
    slots = enumerate(question.answer())
    bookings = {UUID(int=number): (slot.starts_at, slot.ends_at, slot.modes[-1]) for number, slot in slots}
    assert bookings_outside(question.availability, bookings) == []
