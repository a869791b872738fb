"""Hours as moments: the weekly ones, read from the doctor's wall clock, and extra ones beside them."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from heapq import merge
from itertools import islice, takewhile
from operator import attrgetter
from typing import NamedTuple
from zoneinfo import ZoneInfo

from amrutam.domain.common import Mode
from amrutam.domain.hours import Rule
from amrutam.domain.wallclock import first_moment, is_skipped, offset_of_day, steady_offset

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)


class Span(NamedTuple):
    """The time from `starts_at` up to, not including, `ends_at`; both aware, the end after the start."""

    starts_at: datetime
    ends_at: datetime

    def overlaps(self, other: "Span") -> bool:
        """Whether they share a moment; those that only touch do not."""
        return self.starts_at < other.ends_at and other.starts_at < self.ends_at


class Extra(NamedTuple):
    """Hours of one date beside the weekly ones, at most a day long, in UTC."""

    span: Span
    modes: tuple[Mode, ...]


class Window(NamedTuple):
    """Hours without a break, in UTC, in any one of `modes`.

    `wall` is when they open on the doctor's clock (naive), given where that clock may be changed within them.
    """

    opens_at: datetime
    closes_at: datetime
    modes: tuple[Mode, ...]
    wall: datetime | None = None

    @property
    def span(self) -> Span:
        """From opening to closing."""
        return Span(self.opens_at, self.closes_at)


def windows(
    rules: Iterable[Rule], zone: ZoneInfo, extra: Sequence[Extra], since: datetime, until: datetime
) -> Iterator[Window]:
    """All hours that touch the time from `since` to `until`, both included; in order, none overlapping.

    Where hours overlap, the weekly ones stand, then the extra ones that begin the earliest.
    """
    if not extra:
        return _weekly(rules, zone, since, until)
    # Extra hours that touch an end reach up to a day beyond it, and there must keep off the weekly ones, too.
    weekly = list(_weekly(rules, zone, since - _DAY, until + _DAY))
    both = merge(weekly, _beside(weekly, extra), key=attrgetter("opens_at"))
    return (window for window in both if window.closes_at > since and window.opens_at <= until)


def starts(window: Window, length: timedelta, zone: ZoneInfo, since: datetime, until: datetime) -> Iterator[datetime]:
    """When the slots of these hours begin, of those that begin from `since` to `until`, both included."""
    if window.wall is not None:
        yield from (each for each in _changing_starts(window, window.wall, length, zone) if since <= each <= until)
        return
    starts_at, last = window.opens_at, min(window.closes_at - length, until)
    if starts_at < since:
        starts_at -= (starts_at - since) // length * length  # rounded down, hence away from `since`
    while starts_at <= last:
        yield starts_at
        starts_at += length


def _changing_starts(window: Window, wall: datetime, length: timedelta, zone: ZoneInfo) -> Iterator[datetime]:
    """Where the clock is changed meanwhile: follows the wall clock from slot to slot."""
    free_from, last = window.opens_at, window.closes_at - length
    while (starts_at := first_moment(wall, zone)) <= last:
        if starts_at >= free_from and not is_skipped(wall, zone):
            yield starts_at
            free_from = starts_at + length
        wall += length


def _weekly(rules: Iterable[Rule], zone: ZoneInfo, since: datetime, until: datetime) -> Iterator[Window]:
    of_weekday = _by_weekday(rules)
    # Hours that touch `since` began less than 25 hours before it, which is two dates back when a change skips a date.
    day = since.astimezone(zone).date() - 3 * _DAY
    last_day = until.astimezone(zone).date() + _DAY
    while day <= last_day:
        for rule in of_weekday.get(day.weekday(), ()):
            if rule.is_valid_on(day):
                window = _window(rule, day, zone)
                if window.closes_at > since and window.opens_at <= until:
                    yield window
        day += _DAY


def _by_weekday(rules: Iterable[Rule]) -> Mapping[int, Sequence[Rule]]:
    """Rules by `date.weekday()`, each day's in order."""
    found: dict[int, list[Rule]] = defaultdict(list)
    for rule in sorted(rules, key=attrgetter("start")):
        found[rule.weekday.number].append(rule)
    return found


def _window(rule: Rule, day: date, zone: ZoneInfo) -> Window:
    length, offset = rule.minutes * _MINUTE, offset_of_day(day, zone)
    if offset is None:  # on this or the next date the clock is changed, perhaps not within these hours
        opens = datetime.combine(day, rule.start)
        closes = opens + length
        offset = steady_offset(opens, closes, zone)
        if offset is None:
            return Window(first_moment(opens, zone), first_moment(closes, zone), rule.modes, opens)
    opens_at = datetime.combine(day, rule.start, UTC) - offset
    return Window(opens_at, opens_at + length, rule.modes)


def _beside(weekly: Sequence[Window], extra: Iterable[Extra]) -> Iterator[Window]:
    """What extra hours add to the weekly ones, in order."""
    reached = datetime.min.replace(tzinfo=UTC)
    for (starts_at, ends_at), modes in sorted(extra):
        # Those before began no later, so they cover all up to the last of their ends.
        for part in _left_of(max(starts_at, reached), ends_at, weekly):
            yield Window(*part, modes)
        reached = max(reached, ends_at)


def _left_of(starts_at: datetime, ends_at: datetime, weekly: Sequence[Window]) -> Iterator[Span]:
    """The parts of a time that no weekly hours cover; none where it ends before it begins."""
    place = bisect_right(weekly, starts_at, key=attrgetter("opens_at"))
    for window in takewhile(lambda window: window.opens_at < ends_at, islice(weekly, max(place - 1, 0), None)):
        if starts_at < window.opens_at:
            yield Span(starts_at, window.opens_at)
        starts_at = max(starts_at, window.closes_at)
    if starts_at < ends_at:
        yield Span(starts_at, ends_at)
