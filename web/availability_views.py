"""Hours, exceptions and slots as clients see them."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from itertools import groupby
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import Field

from amrutam.domain.availability import Availability, Slot
from amrutam.domain.common import Instant, Message, Mode, Money
from amrutam.domain.errors import Fault, ValidationFailed
from amrutam.domain.exceptions import KeptException
from amrutam.domain.wallclock import CalendarDate, TimeZone, offset_of_utc_day
from amrutam.domain.windows import Span
from amrutam.storage.availability import Bookable
from web import parsing

MOST_DAYS = 31
USUAL_DAYS = 7
_DAY = timedelta(days=1)
# No horizon is longer; zones and slots reach a little over it.
_FARTHEST = 370 * _DAY
# A date somewhere in the world lies within a day of that date in UTC, and the whole of the doctor's date within two.
_AROUND = 3 * _DAY
# A moment is told from its distance to the one and the other: a time without a zone is told twice as quickly.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = _EPOCH.replace(tzinfo=None)
# Where the offset begins in a time of whole seconds.
_OFFSET = len("2026-03-01T10:00:00")


class AvailabilityKept(Availability):
    """The hours that stand now."""

    bookings_outside: list[UUID] = Field(
        description="ids of the doctor's bookings to come that lie outside these hours; they are kept"
    )


class ExceptionPage(Message):
    """A page of exceptions."""

    items: list[KeptException]
    next_cursor: str | None


class SlotView(Message):
    """A time that can be booked."""

    starts_at: Instant
    ends_at: Instant
    local_start: str = Field(
        description="`starts_at` on the clock of `time_zone`", examples=["2026-03-01T10:00:00+05:30"]
    )
    modes: list[Mode]
    fee: Money = Field(description="of the mode that was asked for, else of the cheapest of `modes`")


class SlotList(Message):
    """A doctor's free times."""

    doctor_id: UUID
    time_zone: str
    items: list[SlotView]


class Asked(NamedTuple):
    """The dates, inclusive, in `zone`, and the mode for which slots are wanted."""

    first: date
    last: date
    zone: ZoneInfo
    mode: Mode | None


class SlotQuery(Message):
    """Which slots to show. Dates are inclusive, in `tz`; days that have passed hold none."""

    first: CalendarDate | None = Field(None, alias="from", description="default: today")
    last: CalendarDate | None = Field(None, alias="to", description=f"default: {USUAL_DAYS} days in all")
    tz: TimeZone | None = Field(None, description="default: the doctor's")
    mode: Mode | None = None

    def reach(self, now: datetime) -> Span:
        """What holds all that can be in the way of a slot on these dates, whichever the zone."""
        today = now.date()
        first = min(max(self.first or today, today - _AROUND), today + _FARTHEST)
        last = max(min(self.last or first + USUAL_DAYS * _DAY, first + MOST_DAYS * _DAY), first)
        return Span(_midnight(first) - _AROUND, _midnight(last) + _DAY + _AROUND)

    def asked_of(self, doctor: Bookable, now: datetime) -> Asked:
        """What is asked of this doctor, cut to the dates that can hold a slot. Raises ValidationFailed."""
        zone = ZoneInfo(self.tz or doctor.availability.time_zone)
        today = now.astimezone(zone).date()
        first, last = self._dates(today)
        near, far = today - 2 * _DAY, today + (doctor.availability.horizon_days + 2) * _DAY
        return Asked(min(max(first, near), far), max(min(last, far), near), zone, self.mode)

    def _dates(self, today: date) -> tuple[date, date]:
        first = self.first or today
        last = self.last or min(first, date.max - USUAL_DAYS * _DAY) + (USUAL_DAYS - 1) * _DAY
        if last < first:
            raise _refused("before_from", "Should not be before `from`.")
        if (last - first).days >= MOST_DAYS:
            raise _refused("too_long", f"At most {MOST_DAYS} days can be asked for.")
        return first, last


def _refused(code: str, detail: str) -> ValidationFailed:
    return ValidationFailed(faults=[Fault(pointer="/to", code=code, detail=detail)])


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def rendered(doctor: Bookable, asked: Asked, now: datetime) -> bytes:
    """The body of a `SlotList`. Put together by hand: a month may hold three thousand slots."""
    slots = doctor.open_slots(asked.first, asked.last, asked.zone, now=now)
    offers = {modes: _offer(doctor.fees, modes, asked.mode) for modes in {slot.modes for slot in slots}}
    items = ",".join(_items((slot for slot in slots if offers[slot.modes]), offers, asked.zone))
    return f'{{"doctor_id":"{doctor.doctor_id}","time_zone":"{asked.zone.key}","items":[{items}]}}'.encode()


def _offer(fees: Mapping[Mode, Money], modes: Iterable[Mode], asked: Mode | None) -> str | None:
    """The part of an item that slots of the same modes share. None where the mode asked for is not among them."""
    offered = [mode for mode in modes if mode in fees]
    if not offered or asked not in {None, *offered}:
        return None
    fee = fees[asked] if asked else min((fees[mode] for mode in offered), key=lambda fee: fee.amount)
    return f'"modes":{parsing.dump(offered).decode()},"fee":{fee.model_dump_json()}'


def _items(slots: Iterable[Slot], offers: Mapping[tuple[Mode, ...], str | None], zone: ZoneInfo) -> Iterator[str]:
    end, end_text = _EPOCH, ""
    for day, of_day in groupby(slots, lambda slot: slot.starts_at.date()):
        offset = offset_of_utc_day(day, zone)
        ending = _EPOCH.astimezone(timezone(offset)).isoformat()[_OFFSET:] if offset is not None else ""
        for starts_at, ends_at, modes in of_day:
            start = _NAIVE_EPOCH + (starts_at - _EPOCH)
            start_text = end_text if starts_at == end else start.isoformat()  # often one begins when another ends
            end, end_text = ends_at, (start + (ends_at - starts_at)).isoformat()
            local = (starts_at.astimezone(zone) if offset is None else start + offset).isoformat() + ending
            yield f'{{"starts_at":"{start_text}Z","ends_at":"{end_text}Z","local_start":"{local}",{offers[modes]}}}'
