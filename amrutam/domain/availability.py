"""When a doctor can be booked: the slots that follow from hours on the doctor's wall clock, exceptions and claims.

The doctor's clock decides. Weekly hours begin and end at the first moment at which it shows their time or a later one;
a slot whose time is skipped by a change of the clock is not offered, one whose time comes twice is offered the first
time. So every slot lasts `slot_minutes` of real time, and none overlaps another. Extra hours are moments, and are cut
from their first one on; where weekly hours hold, these stand. Who is away is away: a slot that touches leave or a block
is not offered, whatever hours it is of.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import chain
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from amrutam.domain.common import Message, Mode
from amrutam.domain.errors import NotASlot, SlotTaken
from amrutam.domain.hours import Rule, overlaps, too_short
from amrutam.domain.wallclock import TimeZone, is_entered_once, moments_of
from amrutam.domain.windows import Extra, Span, starts, windows

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)


class Slot(NamedTuple):
    """A time that can be booked, in UTC, in any one of `modes`."""

    starts_at: datetime
    ends_at: datetime
    modes: tuple[Mode, ...]

    @property
    def span(self) -> Span:
        """Its time, without buffers."""
        return Span(self.starts_at, self.ends_at)


class Availability(Message):
    """A doctor's weekly hours, cut into slots. Exceptions such as leave are kept apart."""

    time_zone: TimeZone
    slot_minutes: int = Field(ge=5, le=240, strict=True)
    buffer_before_minutes: int = Field(default=0, ge=0, le=120, strict=True)
    buffer_after_minutes: int = Field(default=0, ge=0, le=120, strict=True)
    minimum_notice_minutes: int = Field(default=0, ge=0, le=43200, strict=True)
    horizon_days: int = Field(default=60, ge=1, le=365, strict=True, description="how far ahead one can book")
    max_bookings_per_day: int | None = Field(
        default=None, ge=1, le=500, strict=True, description="that begin on one date of the doctor's calendar"
    )
    rules: tuple[Rule, ...] = Field(max_length=100)

    @field_validator("rules")
    @classmethod
    def _hold_a_slot_and_do_not_overlap(cls, rules: tuple[Rule, ...], info: ValidationInfo) -> tuple[Rule, ...]:
        faults = [*too_short(rules, info.data.get("slot_minutes", 0)), *overlaps(rules)]
        if faults:
            raise ValidationError.from_exception_data("rules", faults)
        return rules

    @property
    def zone(self) -> ZoneInfo:
        """The zone of the doctor's wall clock."""
        return ZoneInfo(self.time_zone)

    @property
    def slot_length(self) -> timedelta:
        """How long each slot lasts."""
        return self.slot_minutes * _MINUTE

    def bookable(self, now: datetime) -> Span:
        """From the notice that the doctor needs to the horizon; a slot may start at either end, too."""
        return Span(now + self.minimum_notice_minutes * _MINUTE, now + self.horizon_days * _DAY)


def open_slots(
    availability: Availability,
    first: date,
    last: date,
    tz: ZoneInfo,
    *,
    now: datetime,
    blocked: Iterable[Span],
    taken: Iterable[Span],
    extra: Sequence[Extra] = (),
    booked: Iterable[datetime] = (),
) -> list[Slot]:
    """The slots that can be booked now and begin on a date of `first` to `last` in `tz`, the asker's zone; in order.

    `blocked` are the doctor's leave and blocks, `extra` the hours beside the weekly ones. `taken` are the doctor's
    claims, each with the buffers it was made with: a slot keeps its own buffers away from them, just as its claim would
    have to. `booked` is when the bookings begin that count for the cap a day; a date that is full offers nothing.
    """
    bookable = availability.bookable(now)
    # Dates far from now hold nothing to book, and may lie at the end of the calendar.
    first = max(first, bookable.starts_at.date() - 2 * _DAY)
    last = min(last, bookable.ends_at.date() + 2 * _DAY)
    if first > last:
        return []
    earliest, latest = moments_of(first, last, tz)
    since, until = max(earliest, bookable.starts_at), min(latest - timedelta.resolution, bookable.ends_at)
    busy = sorted(chain(blocked, _kept_away(availability, taken)))
    slots = _free(_slots(availability, extra, since, until), busy)
    if not is_entered_once(first, last, tz):
        slots = (slot for slot in slots if first <= slot.starts_at.astimezone(tz).date() <= last)
    if full := _full_days(availability, booked):
        slots = (slot for slot in slots if slot.starts_at.astimezone(availability.zone).date() not in full)
    return list(slots)


def slot_at(
    availability: Availability,
    starts_at: datetime,
    mode: Mode,
    *,
    now: datetime,
    blocked: Iterable[Span],
    extra: Sequence[Extra] = (),
) -> Slot:
    """The slot that begins at this moment and offers this mode. Raises NotASlot, which says why there is none.

    Whether somebody has taken it is not asked here, nor whether its day is full: see `check_day`.
    """
    _check_bookable(availability, starts_at, now)
    slot = next(_slots(availability, extra, starts_at, starts_at), None)
    if slot is None:
        raise NotASlot("The doctor offers no time that begins then.", pointer="/starts_at")
    if any(slot.span.overlaps(away) for away in blocked):
        raise NotASlot("The doctor is away at this time.", pointer="/starts_at")
    if mode not in slot.modes:
        raise NotASlot(f"At this time the doctor offers {' or '.join(slot.modes)}, not {mode}.", pointer="/mode")
    return slot


def check_day(availability: Availability, starts_at: datetime, booked: Iterable[datetime]) -> None:
    """Raises SlotTaken when the doctor takes no more bookings on the date on which this moment lies.

    `booked` is when the doctor's other bookings begin, at least those of that date.
    """
    day = starts_at.astimezone(availability.zone).date()
    if day in _full_days(availability, booked):
        most = availability.max_bookings_per_day
        raise SlotTaken(f"The doctor takes {most} a day at most, and {day} is full.", pointer="/starts_at")


def claimed_span(availability: Availability, slot: Slot) -> Span:
    """The time that a booking of this slot takes from the doctor: the slot and its buffers."""
    return Span(
        slot.starts_at - availability.buffer_before_minutes * _MINUTE,
        slot.ends_at + availability.buffer_after_minutes * _MINUTE,
    )


def bookings_outside(
    availability: Availability, bookings: Mapping[UUID, tuple[datetime, datetime, Mode]], *, extra: Sequence[Extra] = ()
) -> list[UUID]:
    """Those bookings (start, end, mode) that no longer lie within hours which offer their mode, in the order given.

    They need not begin where a slot does, and may reach from some hours into others that follow at once.
    """
    if not bookings:
        return []
    since = min(starts_at for starts_at, _, _ in bookings.values())
    until = max(ends_at for _, ends_at, _ in bookings.values())
    hours = list(windows(availability.rules, availability.zone, extra, since, until))
    offered = {mode: _joined(window.span for window in hours if mode in window.modes) for mode in Mode}
    return [
        booking
        for booking, (starts_at, ends_at, mode) in bookings.items()
        if not _within(Span(starts_at, ends_at), offered[mode])
    ]


def _check_bookable(availability: Availability, starts_at: datetime, now: datetime) -> None:
    bookable = availability.bookable(now)
    if starts_at < now:
        raise NotASlot("This time has passed.", pointer="/starts_at")
    if starts_at < bookable.starts_at:
        notice = availability.minimum_notice_minutes
        raise NotASlot(f"The doctor needs {notice} minutes of notice.", pointer="/starts_at")
    if starts_at > bookable.ends_at:
        days = availability.horizon_days
        raise NotASlot(f"The doctor can be booked {days} days ahead at most.", pointer="/starts_at")


def _slots(availability: Availability, extra: Sequence[Extra], since: datetime, until: datetime) -> Iterator[Slot]:
    """What weekly and extra hours offer from `since` to `until`, both included, in order."""
    zone, length = availability.zone, availability.slot_length
    for window in windows(availability.rules, zone, extra, since, until):
        modes = window.modes
        for starts_at in starts(window, length, zone, since, until):
            yield Slot(starts_at, starts_at + length, modes)


def _full_days(availability: Availability, booked: Iterable[datetime]) -> frozenset[date]:
    """The dates on the doctor's calendar that take no more bookings."""
    most = availability.max_bookings_per_day
    if most is None:
        return frozenset()
    of_day = Counter(starts_at.astimezone(availability.zone).date() for starts_at in booked)
    return frozenset(day for day, count in of_day.items() if count >= most)


def _kept_away(availability: Availability, taken: Iterable[Span]) -> Iterator[Span]:
    """Claims, widened so that a bare slot overlaps them just when its own claim would overlap `taken`."""
    before = availability.buffer_before_minutes * _MINUTE
    after = availability.buffer_after_minutes * _MINUTE
    return (Span(claim.starts_at - after, claim.ends_at + before) for claim in taken)


def _free(slots: Iterable[Slot], busy: Sequence[Span]) -> Iterator[Slot]:
    """The slots, in order, that overlap none of the sorted spans."""
    ahead = 0
    for slot in slots:
        while ahead < len(busy) and busy[ahead].ends_at <= slot.starts_at:
            ahead += 1
        # What lies ahead has not ended. It begins the earliest of those, so if it does not overlap, none does.
        if ahead == len(busy) or busy[ahead].starts_at >= slot.ends_at:
            yield slot


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Spans in order, those that follow each other at once made one."""
    joined: list[Span] = []
    for span in spans:
        if joined and joined[-1].ends_at == span.starts_at:
            joined[-1] = Span(joined[-1].starts_at, span.ends_at)
        else:
            joined.append(span)
    return joined


def _within(span: Span, offered: Sequence[Span]) -> bool:
    """Whether one of the sorted, separate spans holds the whole of `span`."""
    place = bisect_right(offered, span.starts_at, key=attrgetter("starts_at"))
    return place > 0 and span.ends_at <= offered[place - 1].ends_at
