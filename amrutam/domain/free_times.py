"""The times at which doctors are free, kept ready for searches: how far ahead, how exact, and in which form."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from amrutam.domain.availability import Availability, Slot
from amrutam.domain.common import Mode

# A search never tells of a free time what has been wrong for longer. Booking asks the calendar itself.
STALENESS = timedelta(seconds=60)
# How far ahead free times are known to searches, as far as slots are shown at once.
KEPT = timedelta(days=31)
# A calendar is read again after this long, so that the days that have come nearer are known; before it is a day.
FRESH = timedelta(hours=20)
# Spread over so much more time, so that not all calendars are due at once.
SPREAD = timedelta(hours=4)
# In minutes; Availability allows no shorter ones.
SHORTEST_SLOT = 5

# The largest bigint stands for "none", so that it comes last.
NONE = 2**63 - 1
# Modes as one number: the sum of theirs.
BITS: Mapping[Mode, int] = MappingProxyType({Mode.VIDEO: 1, Mode.AUDIO: 2, Mode.CHAT: 4})


class FreeTimes(NamedTuple):
    """The free times with the same modes: when each begins, in minutes since 1970, in order."""

    modes: int
    starts: list[int]

    @property
    def hours(self) -> list[int]:
        """In which hours since 1970 one begins."""
        return sorted({start // 60 for start in self.starts})


def minute_of(moment: datetime, *, up: bool = False) -> int:
    """Minutes since 1970, down to a whole one unless told to go up."""
    seconds = moment.timestamp()
    return int(-(-seconds // 60) if up else seconds // 60)


def without_moving_ends(availability: Availability) -> Availability:
    """The hours without notice and with some more of the horizon: what moves with the clock is applied when asked."""
    days = min(availability.horizon_days, KEPT.days) + 1
    return availability.model_copy(update={"minimum_notice_minutes": 0, "horizon_days": days})


def free_times(slots: Iterable[Slot]) -> list[FreeTimes]:
    """Slots in order, by their modes."""
    kept: dict[int, list[int]] = {}
    for slot in slots:
        modes = sum(BITS[mode] for mode in slot.modes)
        kept.setdefault(modes, []).append(minute_of(slot.starts_at))
    return [FreeTimes(modes, starts) for modes, starts in sorted(kept.items())]


def moment_of(start: int | None) -> datetime | None:
    """The moment so many minutes after 1970; None for none."""
    return None if start is None or start == NONE else datetime.fromtimestamp(start * 60, UTC)
