"""Hours, exceptions and slots as clients see them."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import Field

from amrutam.domain.availability import Availability, Slot, Span, open_slots
from amrutam.domain.common import Instant, Message, Mode, Money
from amrutam.domain.errors import Fault, ValidationFailed
from amrutam.domain.leave import Leave
from amrutam.domain.wallclock import CalendarDate, TimeZone, moments_of
from amrutam.storage.availability import Bookable
from web import parsing

MOST_DAYS = 31
USUAL_DAYS = 7
_DAY = timedelta(days=1)
# No horizon is longer; zones and slots reach a little over it.
_FARTHEST = 368 * _DAY
# Slots are in UTC: an ISO time without its `+00:00`.
_WITHOUT_OFFSET = -6


class AvailabilityKept(Availability):
    """The hours that stand now."""

    bookings_outside: list[UUID] = Field(
        description="ids of the doctor's bookings to come that lie outside these hours; they are kept"
    )


class LeavePage(Message):
    """A page of exceptions."""

    items: list[Leave]
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

    @property
    def span(self) -> Span:
        """What holds every claim that can be in the way of a slot on these dates."""
        earliest, latest = moments_of(self.first, self.last, self.zone)
        return Span(earliest - _DAY, latest + _DAY)


class SlotQuery(Message):
    """Which slots to show. Dates are inclusive, in `tz`; days that have passed hold none."""

    first: CalendarDate | None = Field(None, alias="from", description="default: today")
    last: CalendarDate | None = Field(None, alias="to", description=f"default: {USUAL_DAYS} days in all")
    tz: TimeZone | None = Field(None, description="default: the doctor's")
    mode: Mode | None = None

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


def within_reach(now: datetime) -> Span:
    """What holds every slot that can be booked at `now`."""
    return Span(now - _DAY, now + _FARTHEST)


def rendered(doctor: Bookable, asked: Asked, taken: Iterable[Span], now: datetime) -> bytes:
    """The body of a `SlotList`. Put together by hand: a month may hold three thousand slots."""
    slots = open_slots(
        doctor.availability, asked.first, asked.last, asked.zone, now=now, blocked=doctor.blocked, taken=taken
    )
    offers = {modes: _offer(doctor.fees, modes, asked.mode) for modes in {slot.modes for slot in slots}}
    items = [_item(slot, offer, asked.zone) for slot in slots if (offer := offers[slot.modes])]
    head = f'"doctor_id":"{doctor.doctor_id}","time_zone":"{asked.zone.key}"'
    return f'{{{head},"items":[{",".join(items)}]}}'.encode()


def _offer(fees: Mapping[Mode, Money], modes: Iterable[Mode], asked: Mode | None) -> str | None:
    """The part of an item that slots of the same modes share. None where the mode asked for is not among them."""
    offered = [mode for mode in modes if mode in fees]
    if not offered or asked not in {None, *offered}:
        return None
    fee = fees[asked] if asked else min((fees[mode] for mode in offered), key=lambda fee: fee.amount)
    return f'"modes":{parsing.dump(offered).decode()},"fee":{fee.model_dump_json()}'


def _item(slot: Slot, offer: str, zone: ZoneInfo) -> str:
    starts_at, ends_at = slot.starts_at.isoformat()[:_WITHOUT_OFFSET], slot.ends_at.isoformat()[:_WITHOUT_OFFSET]
    local = slot.starts_at.astimezone(zone).isoformat()
    return f'{{"starts_at":"{starts_at}Z","ends_at":"{ends_at}Z","local_start":"{local}",{offer}}}'
