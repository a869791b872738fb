"""Somebody who watches the doctor's clock minute by minute, and finds the slots that there are by plain counting."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple
from zoneinfo import ZoneInfo

from amrutam.domain.availability import Availability, Slot, Span, claimed_span, open_slots
from amrutam.domain.common import Mode
from amrutam.domain.hours import Rule, Weekday
from amrutam.domain.windows import Extra

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
DAYS = tuple(Weekday)


class Question(NamedTuple):
    """Everything that `open_slots` is asked. All of it in whole minutes, within some days."""

    availability: Availability
    first: date
    last: date
    tz: ZoneInfo
    now: datetime
    blocked: list[Span]
    taken: list[Span]
    extra: list[Extra]
    booked: list[datetime]

    def answer(self) -> list[Slot]:
        """What can be booked."""
        return open_slots(
            self.availability, self.first, self.last, self.tz,
            now=self.now, blocked=self.blocked, taken=self.taken, extra=self.extra, booked=self.booked,
        )  # fmt: skip


class Clock:
    """A clock on the doctor's wall, looked at every minute of some days."""

    def __init__(self, zone: ZoneInfo, around: date) -> None:
        start = datetime(around.year, around.month, around.day, tzinfo=UTC) - 5 * DAY
        naive = start.replace(tzinfo=None)
        self.first_shown: dict[datetime, datetime] = {}
        self.reached: list[tuple[datetime, datetime]] = []  # each wall time that no earlier one equals or exceeds
        for minute in range(12 * 1440):
            moment = start + minute * MINUTE
            wall = naive + minute * MINUTE + (moment.astimezone(zone).utcoffset() or timedelta())
            if self.first_shown.setdefault(wall, moment) is moment and (not self.reached or wall > self.reached[-1][0]):
                self.reached.append((wall, moment))

    def at_or_after(self, wall: datetime) -> datetime:
        """The first moment at which the clock shows this time or a later one."""
        low, high = 0, len(self.reached) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.reached[middle][0] >= wall else (middle + 1, high)
        return self.reached[low][1]


@lru_cache(maxsize=4)
def clock_of(zone: ZoneInfo, around: date) -> Clock:
    """Looking at a clock takes a while."""
    return Clock(zone, around)


def offered_by(rule_: Rule, day: date, length: timedelta, clock: Clock) -> Iterator[Slot]:
    """The slots of one rule on one date, as somebody would find them who watches the clock."""
    wall = datetime.combine(day, rule_.start)
    closes = datetime.combine(day + DAY * (rule_.end <= rule_.start), rule_.end)
    free_from, latest = clock.at_or_after(wall), closes_at(rule_, day, clock) - length
    while wall < closes:
        starts_at = clock.first_shown.get(wall)
        if starts_at and free_from <= starts_at and starts_at <= latest:
            yield Slot(starts_at, starts_at + length, rule_.modes)
            free_from = starts_at + length
        wall += length


def closes_at(rule_: Rule, day: date, clock: Clock) -> datetime:
    return clock.at_or_after(datetime.combine(day + DAY * (rule_.end <= rule_.start), rule_.end))


def minutes_of(span: Span) -> set[datetime]:
    """The minutes that begin within it."""
    return {span.starts_at + number * MINUTE for number in range((span.ends_at - span.starts_at) // MINUTE)}


def beside(question: Question, weekly: set[datetime]) -> Iterator[Slot]:
    """The slots of extra hours: of each run of minutes that neither weekly hours cover nor extra ones before."""
    covered, length = set(weekly), question.availability.slot_minutes
    for extra in sorted(question.extra):
        own = sorted(minutes_of(extra.span) - covered)
        for _, run in groupby(enumerate(own), lambda numbered: numbered[1] - numbered[0] * MINUTE):
            minutes = [minute for _, minute in run]
            for place in range(0, len(minutes) - length + 1, length):
                yield Slot(minutes[place], minutes[place] + length * MINUTE, extra.modes)
        covered |= minutes_of(extra.span)


def covered(question: Question) -> dict[datetime, tuple[Mode, ...]]:
    """Each minute of weekly or extra hours, with the modes that these offer."""
    offered = dict[datetime, tuple[Mode, ...]]()
    clock = clock_of(question.availability.zone, question.first)
    for day in days_of(question):
        for rule_ in question.availability.rules:
            if DAYS[day.weekday()] is rule_.weekday:
                opens_at = clock.at_or_after(datetime.combine(day, rule_.start))
                offered |= dict.fromkeys(minutes_of(Span(opens_at, closes_at(rule_, day, clock))), rule_.modes)
    for extra in sorted(question.extra):
        offered |= dict.fromkeys(minutes_of(extra.span) - offered.keys(), extra.modes)
    return offered


def days_of(question: Question) -> list[date]:
    """The dates whose hours may touch what is asked for."""
    return [question.first + offset * DAY for offset in range(-3, (question.last - question.first).days + 2)]


def watched(question: Question) -> list[Slot]:
    """What `open_slots` should answer, found by looking at the clock and asking all hours in turn."""
    availability, slots, weekly = question.availability, list[Slot](), set[datetime]()
    clock = clock_of(availability.zone, question.first)
    for day in days_of(question):
        for rule_ in availability.rules:
            if DAYS[day.weekday()] is rule_.weekday:
                slots += offered_by(rule_, day, availability.slot_minutes * MINUTE, clock)
                opens_at = clock.at_or_after(datetime.combine(day, rule_.start))
                weekly |= minutes_of(Span(opens_at, closes_at(rule_, day, clock)))
    slots += beside(question, weekly)
    return sorted(slot for slot in slots if is_open(slot, question))


def is_open(slot: Slot, question: Question) -> bool:
    """Whether nothing is in the way of a slot."""
    availability, claim = question.availability, claimed_span(question.availability, slot)
    day = slot.starts_at.astimezone(availability.zone).date()
    on_that_day = sum(each.astimezone(availability.zone).date() == day for each in question.booked)
    return (
        question.first <= slot.starts_at.astimezone(question.tz).date() <= question.last
        and slot.starts_at >= question.now + availability.minimum_notice_minutes * MINUTE
        and slot.starts_at <= question.now + availability.horizon_days * DAY
        and not any(slot.starts_at < away.ends_at and away.starts_at < slot.ends_at for away in question.blocked)
        and not any(claim.starts_at < other.ends_at and other.starts_at < claim.ends_at for other in question.taken)
        and (availability.max_bookings_per_day is None or on_that_day < availability.max_bookings_per_day)
    )
