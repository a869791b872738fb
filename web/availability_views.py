"""Hours, exceptions and slots as clients see them."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
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
    """The body of a `SlotList`. Built by hand: a month may hold three thousand slots."""
    slots = open_slots(
        doctor.availability, asked.first, asked.last, asked.zone, now=now, blocked=doctor.blocked, taken=taken
    )
    fees = {mode: fee.model_dump() for mode, fee in doctor.fees.items()}
    items: list[dict[str, Any]] = []
    for slot in slots:
        modes = [mode for mode in slot.modes if mode in fees]
        if asked.mode in modes or (modes and asked.mode is None):
            items.append(_item(slot, modes, _fee(fees, [asked.mode] if asked.mode else modes), asked.zone))
    return parsing.dump({"doctor_id": str(doctor.doctor_id), "time_zone": asked.zone.key, "items": items})


def _fee(fees: dict[Mode, dict[str, Any]], modes: Sequence[Mode]) -> dict[str, Any]:
    return min((fees[mode] for mode in modes), key=lambda fee: fee["amount"])


def _item(slot: Slot, modes: Sequence[Mode], fee: dict[str, Any], zone: ZoneInfo) -> dict[str, Any]:
    return {
        "starts_at": _utc(slot.starts_at),
        "ends_at": _utc(slot.ends_at),
        "local_start": slot.starts_at.astimezone(zone).isoformat(),
        "modes": modes,
        "fee": fee,
    }


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
