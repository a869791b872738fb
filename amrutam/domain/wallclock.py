"""Time as people read it from a clock on the wall, and the moments that it stands for."""

import re
import zoneinfo
from bisect import bisect_left
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer
from pydantic.json_schema import WithJsonSchema


def _wall_time(value: Any) -> time:
    if isinstance(value, time) and value == value.replace(second=0, microsecond=0, tzinfo=None):
        return value
    if isinstance(value, str) and re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", value):
        return time.fromisoformat(value)
    raise ValueError("should be a time of the day from 00:00 to 23:59, such as 09:30")


def _calendar_date(value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        return date.fromisoformat(value)
    raise ValueError("should be a date, such as 2026-03-01")


@cache
def _zone_names() -> frozenset[str]:
    # `localtime` is whatever the machine is set to, and `Factory` says that nobody set it.
    return frozenset(available_timezones() - {"localtime", "Factory"})


def _known_zone(name: str) -> str:
    if name not in _zone_names():
        raise ValueError("should be an IANA time zone, such as Asia/Kolkata")
    return name


WallTime = Annotated[
    time,
    BeforeValidator(_wall_time),
    PlainSerializer(lambda value: value.isoformat("minutes"), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$", "examples": ["09:30"]}),
]
CalendarDate = Annotated[
    date,
    BeforeValidator(_calendar_date),
    WithJsonSchema({"type": "string", "format": "date", "examples": ["2026-03-01"]}),
]
TimeZone = Annotated[str, AfterValidator(_known_zone), Field(description="IANA time zone", examples=["Asia/Kolkata"])]


def first_moment(wall: datetime, zone: ZoneInfo) -> datetime:
    """When a clock in `zone` first shows the naive time `wall` or, if a change skips that, a later one. In UTC."""
    before, after = _offsets(wall, zone)
    moment = (wall - before).replace(tzinfo=UTC)
    return moment if before >= after else _change(moment - (after - before), moment, zone)


def is_skipped(wall: datetime, zone: ZoneInfo) -> bool:
    """Whether a change of the clock passes over the naive time `wall`."""
    before, after = _offsets(wall, zone)
    return before < after


def steady_offset(opens: datetime, closes: datetime, zone: ZoneInfo) -> timedelta | None:
    """The offset from UTC that holds from one naive time to another at most two days later, or None if it changes.

    The two ends tell, since no zone has changed its clock twice within four days since 1970.
    """
    offset, *others = {*_offsets(opens, zone), *_offsets(closes, zone)}
    return None if others else offset


@lru_cache(maxsize=16384)  # the days of the next weeks in the zones of doctors are asked for again and again
def offset_of_day(day: date, zone: ZoneInfo) -> timedelta | None:
    """The offset from UTC that holds on this date and the next one, or None if the clock is changed meanwhile."""
    opens = _midnight(day)
    return steady_offset(opens, opens + timedelta(days=2), zone)


@lru_cache(maxsize=16384)
def offset_of_utc_day(day: date, zone: ZoneInfo) -> timedelta | None:
    """The offset that holds in `zone` on this date of UTC, or None if the clock is changed meanwhile."""
    midnight = _midnight(day).replace(tzinfo=UTC)
    offset, *others = {_offset(each.astimezone(zone)) for each in (midnight, midnight + timedelta(days=1))}
    return None if others else offset


def moments_of(first: date, last: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """From and until, in UTC: within lies every moment at which the calendar in `zone` shows a date of first..last.

    Others lie within, too, where the clock is changed around midnight: a date may be left and entered again.
    """
    opens = _midnight(first)
    closes = _midnight(last) + timedelta(days=1)
    return (
        (opens - max(_offsets(opens, zone))).replace(tzinfo=UTC),
        (closes - min(_offsets(closes, zone))).replace(tzinfo=UTC),
    )


def is_entered_once(first: date, last: date, zone: ZoneInfo) -> bool:
    """Whether `moments_of` holds no moment of another date: no change of the clock concerns the two midnights."""
    opens, closes = _offsets(_midnight(first), zone), _offsets(_midnight(last) + timedelta(days=1), zone)
    return opens[0] == opens[1] and closes[0] == closes[1]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time())


def _offsets(wall: datetime, zone: ZoneInfo) -> tuple[timedelta, timedelta]:
    """Offsets from UTC before and after the change that concerns `wall`; equal if there is none (PEP 495)."""
    return _offset(wall.replace(tzinfo=zone, fold=0)), _offset(wall.replace(tzinfo=zone, fold=1))


def _offset(moment: datetime) -> timedelta:
    return moment.utcoffset() or timedelta()


def _change(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """The first second after `low`, up to `high`, at which the clock has another offset than at `low`."""
    seconds = range(int((high - low).total_seconds()))
    before = _offset(low.astimezone(zone))
    changed = bisect_left(
        seconds, x=True, key=lambda each: _offset((low + timedelta(seconds=each)).astimezone(zone)) != before
    )
    return low + timedelta(seconds=changed)


def wall_clock(moment: datetime, time_zone: str) -> str:
    """A moment as somebody in this zone reads it."""
    return f"{moment.astimezone(ZoneInfo(time_zone)):%d %B %Y, %H:%M} ({time_zone})"


def use_pinned_tzdata() -> None:
    """Take time zones from the pinned `tzdata` package alone, so that every process, wherever it runs, has the same."""
    zoneinfo.reset_tzpath(to=())
