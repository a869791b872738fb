"""Doctors and their bookings as rows, the same ones for the same day, spread as unevenly as in life.

Few specialties have most of the doctors, a few doctors most of the bookings, and the near days more than the far ones.
Nothing here touches a database: rows are tuples, claims are bytes in PostgreSQL's binary form.
"""

import json
import random
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import accumulate, product
from math import log
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from asyncpg import Range

from amrutam.domain.availability import Availability, open_slots
from amrutam.domain.catalogue import Language, Specialty
from amrutam.domain.common import Mode
from amrutam.domain.free_times import BITS, KEPT, minute_of

SEED = 6
# How far ahead there are bookings.
BOOKED_DAYS = 60
# What the doctor in the middle has, and how far the others are from it: 53 for each doctor on average.
_USUAL_BOOKINGS, _SPREAD = 26.0, 1.32
# The more, the fuller are the near days.
_HASTE = 2.2
_VISITS_OF_A_PATIENT = 3
_DAY = timedelta(days=1)
_UTC = ZoneInfo("UTC")

_FIRSTS = """
Asha José Meera Rahul Fatima Wei Lakshmi Omar Priya Karthik Zadie Jonas Élodie Imran Sunita Kamau Beatriz Minh Sita
Arjun Farid Hannah Yusuf Anjali Deepak Kavita Suresh Neha Vikram Pooja Ravi Sneha Manoj Divya Anil Rekha Sanjay Geeta
Nikhil Shreya Amit Kiran Rohan Swati Varun Isha Aditi Gaurav Naveen Tara
"""
_COMMON_LASTS = """
Sharma Kumar Singh Patel Gupta Menon Iyer Khan Nair Reddy Das Rao Verma Joshi Mehta Krishnamurthy Thapa Fischer Okafor
Nguyen Schäfer Oliveira Haddad Mutua Wong Garcia
"""
_SYLLABLES = "ka ri mo sha ven da ra su ni ta bha la go pe chi na ma ro thi ya"
_RARE_LASTS = ["".join(each).capitalize() for each in product(_SYLLABLES.split(), repeat=3)][::3]
_FIRST_NAMES, _LASTS = _FIRSTS.split(), _COMMON_LASTS.split() + _RARE_LASTS
_ZONES = ("Asia/Kolkata",) * 14 + ("Asia/Dubai", "Asia/Singapore", "Europe/London", "Europe/Berlin", "America/New_York")
_LANGUAGES = ("hi", "bn", "ta", "te", "mr", "gu", "kn", "ml", "pa", "ur", *sorted({*Language} - {"en", "hi"}))
_FIELDS = ("general_medicine", "pediatrics", "dermatology", "gynecology", "ayurveda", "psychology", "orthopedics")
_SPECIALTIES = (*_FIELDS, *sorted({*Specialty} - {*_FIELDS}))
_MODES = (("video",), ("video", "chat"), ("video", "audio"), ("video", "audio", "chat"), ("audio", "chat"))
_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# Weekdays by their places, begin, end.
_SHAPES: tuple[tuple[tuple[range, str, str], ...], ...] = (
    ((range(5), "09:00", "13:00"), (range(5), "17:00", "20:00")),
    ((range(6), "10:00", "14:00"),),
    ((range(5), "18:00", "22:00"),),
    ((range(1, 6, 2), "09:00", "17:00"),),
    ((range(7), "07:00", "09:00"),),
    ((range(4, 7), "22:00", "02:00"),),
    ((range(5), "09:00", "17:00"),),
)
_SLOT_MINUTES = (10, 15, 15, 20, 20, 30, 30)

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
# A row of claims: booking, resource, the range with its flags (the lower end belongs to it), and no end of a hold.
_CLAIM = struct.Struct(">h i16s i16s iB iq iq i")
COPY_HEAD, COPY_TAIL = b"PGCOPY\n\xff\r\n\0" + bytes(8), struct.pack(">h", -1)


def _zipf(count: int, power: float) -> list[float]:
    """Cumulated weights: the second has 1/2**power of the first's, and so on."""
    return list(accumulate(1 / rank**power for rank in range(1, count + 1)))


_SPECIALTY_WEIGHTS = _zipf(len(_SPECIALTIES), 0.9)
_LANGUAGE_WEIGHTS = _zipf(len(_LANGUAGES), 0.9)
_LAST_WEIGHTS = _zipf(len(_LASTS), 0.7)


class Crowd(NamedTuple):
    """Rows of some doctors, in the columns that `bench.directory` names; `claims` as COPY's binary rows."""

    users: list[tuple[object, ...]]
    doctors: list[tuple[object, ...]]
    calendars: list[tuple[object, ...]]
    exceptions: list[tuple[object, ...]]
    free_times: list[tuple[object, ...]]
    bookings: list[tuple[object, ...]]
    claims: bytearray

    @property
    def rows(self) -> int:
        """How many there are in all."""
        return sum(map(len, self[:-1])) + len(self.claims) // _CLAIM.size

    @property
    def doctors_claims(self) -> int:
        """How many claims hold a time of a doctor; as many hold one of a patient."""
        return len(self.claims) // _CLAIM.size // 2


class _Times(NamedTuple):
    """All slots of some hours, in order: when each begins, in minutes since 1970."""

    length: int
    starts: list[int]


def doctor_id(number: int) -> UUID:
    """Of the doctor with this number, from 0. A UUIDv7 as of 2025, one for each second."""
    tail = random.Random(f"{SEED}/{number}").getrandbits(62)  # noqa: S311 - the same in every run
    return _uuid7(1_735_689_600_000 + number * 1000, number & 0xFFF, tail)


def names() -> list[str]:
    """Every first and last name that there is."""
    return [*_FIRST_NAMES, *_LASTS]


def someone(chance: random.Random) -> str:
    """A full name as doctors of the crowd have, the frequent ones more often."""
    last = chance.choices(_LASTS, cum_weights=_LAST_WEIGHTS)[0]
    return f"{chance.choice(_FIRST_NAMES)} {last}"


def specialty(chance: random.Random) -> str:
    """A code, the frequent ones more often."""
    return chance.choices(_SPECIALTIES, cum_weights=_SPECIALTY_WEIGHTS)[0]


def language(chance: random.Random) -> str:
    """A code beside English, the frequent ones more often."""
    return chance.choices(_LANGUAGES, cum_weights=_LANGUAGE_WEIGHTS)[0]


def crowd(first: int, last: int, midnight: datetime) -> Crowd:
    """The doctors with the numbers from `first` up to `last`, that one left out. Times begin at `midnight`, in UTC."""
    made = Crowd([], [], [], [], [], [], bytearray())
    for number in range(first, last):
        _add(made, number, midnight)
    return made


def _add(made: Crowd, number: int, midnight: datetime) -> None:
    chance, key = random.Random(f"{SEED}:{number}"), doctor_id(number)  # noqa: S311 - the same in every run
    name, zone, modes = f"Dr. {someone(chance)}", chance.choice(_ZONES), chance.choice(_MODES)
    made.users.append((key, f"{number}@crowd.bench.amrutam.test", "no password", name, ["doctor"], zone, "en"))
    fields = list(dict.fromkeys(specialty(chance) for _ in range(chance.choice((1, 1, 1, 2)))))
    made.doctors.append((key, name, *_profile(chance, fields, modes, midnight)))
    shape, minutes = chance.randrange(len(_SHAPES)), chance.choice(_SLOT_MINUTES)
    hours = _hours(zone, shape, minutes, modes) | {
        "minimum_notice_minutes": chance.choice((0, 30, 60, 120)),
        "horizon_days": chance.randint(32, 90),
        # One in thirty. Only theirs are the bookings that a list of slots reads.
        "max_bookings_per_day": chance.randint(8, 30) if number % 30 == 0 else None,
    }
    made.calendars.append((key, json.dumps(hours)))
    times = _times(zone, shape, minutes, midnight)
    open_starts = times.starts
    if chance.random() < 0.15:  # noqa: PLR2004 - one in seven is on leave for some days
        open_starts = _on_leave(made, key, times, chance, midnight)
    taken = _taken(open_starts, chance)
    _book(made, key, taken, minutes, modes, chance, capped=number % 30 == 0, midnight=midnight)
    _free(made, key, fields, open_starts, taken, hours, modes, midnight)


def _profile(
    chance: random.Random, fields: Sequence[str], modes: Sequence[str], midnight: datetime
) -> tuple[object, ...]:
    fee = 0 if chance.random() < 0.005 else 5_000 * round(chance.lognormvariate(log(10), 0.6))  # noqa: PLR2004
    fees = {mode: {"amount": fee + 5_000 * place, "currency": "INR"} for place, mode in enumerate(reversed(modes))}
    tongues = list(dict.fromkeys(["en", *(language(chance) for _ in range(chance.randint(0, 2)))]))
    reviews = int(chance.lognormvariate(2, 1.6)) if chance.random() < 0.8 else 0  # noqa: PLR2004
    stars = min(max(round(reviews * chance.gauss(4.3, 0.4)), reviews), reviews * 5)
    return (
        chance.choice(("female", "male", "female", "male", None)), list(fields), tongues,
        "Sees people of all ages, explains what can be done, and takes the time that this needs. " * 2,
        chance.randint(1, 40), "MBBS, MD", f"NMC-{chance.getrandbits(30)}", "National Medical Commission",
        list(modes), json.dumps(fees), fee, midnight - _DAY, reviews, stars,
    )  # fmt: skip


def _hours(zone: str, shape: int, minutes: int, modes: Sequence[str]) -> dict[str, object]:
    return {
        "time_zone": zone,
        "slot_minutes": minutes,
        "rules": [
            {"weekday": _WEEK[day], "start": start, "end": end, "modes": list(modes)}
            for days, start, end in _SHAPES[shape]
            for day in days
        ],
    }


@lru_cache(maxsize=1024)
def _times(zone: str, shape: int, minutes: int, midnight: datetime) -> _Times:
    hours = Availability.model_validate(_hours(zone, shape, minutes, ["video"]) | {"horizon_days": BOOKED_DAYS})
    until = midnight.date() + BOOKED_DAYS * _DAY
    slots = open_slots(hours, midnight.date(), until, _UTC, now=midnight, blocked=(), taken=())
    return _Times(minutes, [minute_of(slot.starts_at) for slot in slots])


def _on_leave(made: Crowd, key: UUID, times: _Times, chance: random.Random, midnight: datetime) -> list[int]:
    """The starts that are left; the leave itself is added."""
    begins = midnight + chance.randint(0, 40) * _DAY
    ends = begins + chance.randint(1, 7) * _DAY
    made.exceptions.append((_uuid7(1_735_689_600_000, 0, chance.getrandbits(62)), key, Range(begins, ends), "leave"))
    first = bisect_right(times.starts, minute_of(begins) - times.length)
    return times.starts[:first] + times.starts[bisect_left(times.starts, minute_of(ends)) :]


def _taken(starts: Sequence[int], chance: random.Random) -> list[int]:
    """The starts that are booked: of a doctor whom many want, all of the nearest ones."""
    wanted = min(int(chance.lognormvariate(log(_USUAL_BOOKINGS), _SPREAD)), len(starts) * 9 // 10)
    full = wanted * 6 // 10 if wanted * 4 > len(starts) else 0
    chosen = set(range(full))
    while len(chosen) < wanted:
        chosen.add(int(len(starts) * chance.random() ** _HASTE))
    return [starts[place] for place in sorted(chosen)]


def _book(
    made: Crowd,
    key: UUID,
    taken: Sequence[int],
    minutes: int,
    modes: Sequence[str],
    chance: random.Random,
    *,
    capped: bool,
    midnight: datetime,
) -> None:
    """A claim of the doctor and one of the patient for each booking; a patient comes to one doctor some times."""
    made_at, mine = int((midnight - 20 * _DAY).timestamp() * 1000), key.bytes
    length = minutes * 60_000_000
    patients = [chance.getrandbits(128) for _ in range(len(taken) // _VISITS_OF_A_PATIENT + 1)]
    for place, start in enumerate(taken):
        booking = _uuid7(made_at + chance.getrandbits(30), 0, chance.getrandbits(62))
        patient = UUID(int=patients[place % len(patients)])
        # Ranges count microseconds since 2000, starts minutes since 1970.
        begins = start * 60_000_000 - 946_684_800_000_000
        for resource in (mine, patient.bytes):
            row = _CLAIM.pack(4, 16, booking.bytes, 16, resource, 25, 2, 8, begins, 8, begins + length, -1)
            made.claims.extend(row)
        if capped:
            starts_at = _EPOCH + timedelta(microseconds=begins)
            ends_at = starts_at + timedelta(minutes=minutes)
            made.bookings.append((booking, "confirmed", key, patient, patient, starts_at, ends_at, modes[0], 0, "INR"))


def _free(
    made: Crowd,
    key: UUID,
    fields: Sequence[str],
    starts: Sequence[int],
    taken: Sequence[int],
    hours: dict[str, object],
    modes: Sequence[str],
    midnight: datetime,
) -> None:
    """What the sweep would store: the free starts of the days that searches know of."""
    gone, until = set(taken), minute_of(midnight + KEPT + _DAY)
    free = [start for start in starts[: bisect_left(starts, until)] if start not in gone]
    if free:
        bits = sum(BITS[Mode(mode)] for mode in modes)
        minutes = (hours["slot_minutes"], hours["minimum_notice_minutes"], _minutes_of_days(hours["horizon_days"]))
        made.free_times.append((key, bits, *minutes, free, sorted({start // 60 for start in free}), list(fields)))


def _minutes_of_days(days: object) -> int:
    return int(str(days)) * 24 * 60


def _uuid7(milliseconds: int, middle: int, tail: int) -> UUID:
    return UUID(int=milliseconds << 80 | 7 << 76 | middle << 64 | 2 << 62 | tail)


def chunks(first: int, last: int, size: int) -> Iterator[tuple[int, int]]:
    """The numbers from `first` up to `last` in pieces of at most `size`."""
    for begin in range(first, last, size):
        yield begin, min(begin + size, last)
