"""Calendars: the hours that a doctor offers, and the exceptions to them.

A booking takes the calendar's row FOR SHARE, and whoever changes hours, exceptions, fees or verification takes it FOR
UPDATE. What the row guards is read by a later statement: one that waited for the lock still sees the other tables as
they were when it began.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from asyncpg import Range
from pydantic import TypeAdapter

from amrutam.domain.availability import Availability, Slot, check_day, open_slots, slot_at
from amrutam.domain.common import Mode, Money
from amrutam.domain.errors import DoctorUnavailable, InvalidState, NotFound
from amrutam.domain.exceptions import AddException, KeptException, Kind
from amrutam.domain.windows import Extra, Span
from amrutam.storage.pool import Connection, Row

# Over the longest slot with its buffers, extra hours that touch it, and the longest date.
_NEAR = timedelta(days=2)

_FEES = TypeAdapter(dict[Mode, Money])
_EXCEPTION = ("kinds", "modes", "starts", "ends")

# In one statement, hence of one moment. Times as two lists: a range costs the driver more than its ends. When bookings
# begin is looked up only where there is a cap, one by one by their ids: a join might read all that a doctor ever had.
# It is NULL for a claim of the doctor as somebody's patient.
_BOOKABLE = """
SELECT d.full_name, d.fees, c.availability, e.kinds, e.modes, e.starts, e.ends, t.starts AS taken_from,
       t.ends AS taken_to,
       ARRAY(SELECT (SELECT b.starts_at FROM bookings b WHERE b.id = k.booking_id AND b.doctor_id = d.id)
             FROM claims k
             WHERE c.availability->>'max_bookings_per_day' IS NOT NULL AND k.resource_id = d.id AND k.during && $2
               AND (k.expires_at IS NULL OR k.expires_at > now())) AS booked
FROM doctors d JOIN calendars c ON c.doctor_id = d.id,
     LATERAL (SELECT array_agg(kind) AS kinds, array_agg(array_to_string(modes, ' ')) AS modes,
                     array_agg(lower(during)) AS starts, array_agg(upper(during)) AS ends
              FROM availability_exceptions WHERE doctor_id = d.id AND during && $2) AS e,
     LATERAL (SELECT array_agg(lower(during)) AS starts, array_agg(upper(during)) AS ends
              FROM claims
              WHERE resource_id = d.id AND during && $2 AND (expires_at IS NULL OR expires_at > now())) AS t
WHERE d.id = $1 AND d.verified_at IS NOT NULL AND d.verified_until > now()"""


class Calendar(NamedTuple):
    """The weekly hours and the version of the row."""

    availability: Availability
    version: int


class Bookable(NamedTuple):
    """What a booking must know of its doctor, of the time that was asked about.

    `blocked` are leave and blocks, `extra` the hours beside the weekly ones, `taken` the doctor's claims with their
    buffers. `booked` is when the bookings begin that count for the cap a day; empty where there is no cap.
    """

    doctor_id: UUID
    doctor_name: str
    fees: Mapping[Mode, Money]
    availability: Availability
    blocked: list[Span]
    extra: list[Extra]
    taken: list[Span]
    booked: list[datetime]

    def open_slots(self, first: date, last: date, tz: ZoneInfo, *, now: datetime) -> list[Slot]:
        """The slots that can be booked now and begin on a date of `first` to `last` in `tz`; in order."""
        return open_slots(
            self.availability, first, last, tz,
            now=now, blocked=self.blocked, taken=self.taken, extra=self.extra, booked=self.booked,
        )  # fmt: skip

    def slot_at(self, starts_at: datetime, mode: Mode, *, now: datetime) -> Slot:
        """The slot that begins at this moment and offers this mode. Raises NotASlot, SlotTaken when its day is full.

        Whether somebody holds its time is not asked here.
        """
        slot = slot_at(self.availability, starts_at, mode, now=now, blocked=self.blocked, extra=self.extra)
        check_day(self.availability, starts_at, self.booked)
        return slot

    def without(self, starts_at: datetime) -> "Bookable":
        """As if the booking that begins then did not count for its day: for one that is moved."""
        return self._replace(booked=[each for each in self.booked if each != starts_at])


async def create(db: Connection, doctor_id: UUID, availability: Availability) -> None:
    """The calendar of a new doctor."""
    await db.execute(
        "INSERT INTO calendars (doctor_id, availability) VALUES ($1, $2)", doctor_id, availability.model_dump_json()
    )


async def for_booking(db: Connection, doctor_id: UUID, around: datetime) -> Bookable:
    """What stands for a time near `around`, and stays so until the transaction ends.

    Raises DoctorUnavailable for a doctor who is unknown or not verified.
    """
    await db.execute("SELECT 1 FROM calendars WHERE doctor_id = $1 FOR SHARE", doctor_id)
    found = await bookable(db, doctor_id, near(around))
    if found is None:
        raise DoctorUnavailable(pointer="/doctor_id")
    return found


def near(moment: datetime) -> Span:
    """What holds all that can be in the way of a slot that begins at this moment."""
    return Span(moment - _NEAR, moment + _NEAR)


async def bookable(db: Connection, doctor_id: UUID, within: Span) -> Bookable | None:
    """A verified doctor with exceptions, claims and bookings that touch `within`, as all stand at this moment.

    For a slot to be told rightly, `within` holds what is `near` it.
    """
    row = await db.fetchrow(_BOOKABLE, doctor_id, Range(*within))
    if row is None:
        return None
    extra, blocked = list[Extra](), list[Span]()
    for kind, modes, starts_at, ends_at in zip(*(row[each] or () for each in _EXCEPTION), strict=True):
        if kind == Kind.EXTRA:
            extra.append(Extra(Span(starts_at, ends_at), tuple(map(Mode, modes.split()))))
        else:
            blocked.append(Span(starts_at, ends_at))
    return Bookable(
        doctor_id,
        row["full_name"],
        _fees(row["fees"]),
        _availability(row["availability"]),
        blocked,
        extra,
        _spans(row["taken_from"], row["taken_to"]),
        [starts_at for starts_at in row["booked"] if starts_at],
    )


def _spans(starts: Iterable[datetime] | None, ends: Iterable[datetime] | None) -> list[Span]:
    return list(map(Span, starts or (), ends or ()))


# Read for every list of slots and every booking, changed by hand: most texts are the same as the last time.
@lru_cache(maxsize=1024)
def _availability(text: str) -> Availability:
    return Availability.model_validate_json(text)


@lru_cache(maxsize=1024)
def _fees(text: str) -> Mapping[Mode, Money]:
    return MappingProxyType(_FEES.validate_json(text))


async def find(db: Connection, doctor_id: UUID) -> Calendar:
    """Raises NotFound."""
    return _calendar(await db.fetchrow("SELECT availability, version FROM calendars WHERE doctor_id = $1", doctor_id))


async def lock(db: Connection, doctor_id: UUID) -> Calendar:
    """The calendar, kept from bookings and other changes until the transaction ends. Raises NotFound."""
    return _calendar(
        await db.fetchrow("SELECT availability, version FROM calendars WHERE doctor_id = $1 FOR UPDATE", doctor_id)
    )


def _calendar(row: Row | None) -> Calendar:
    if row is None:
        raise NotFound
    return Calendar(Availability.model_validate_json(row["availability"]), row["version"])


async def replace(db: Connection, doctor_id: UUID, availability: Availability) -> int:
    """Other hours for a locked calendar; returns its new version."""
    return await db.fetchval(
        """UPDATE calendars SET availability = $2, version = version + 1, updated_at = now()
           WHERE doctor_id = $1 RETURNING version""",
        doctor_id, availability.model_dump_json(),
    )  # fmt: skip


async def bookings_between(
    db: Connection, doctor_id: UUID, since: datetime, until: datetime | None
) -> dict[UUID, tuple[datetime, datetime, Mode]]:
    """The bookings (start, end, mode) that hold a time of the doctor within `since` to `until`, the earliest first.

    Without `until`: all that end later than `since`.
    """
    rows = await db.fetch(
        """SELECT b.id, b.starts_at, b.ends_at, b.mode FROM claims c JOIN bookings b ON b.id = c.booking_id
           WHERE c.resource_id = $1 AND b.doctor_id = $1 AND tstzrange(b.starts_at, b.ends_at) && $2 AND c.during && $2
             AND (c.expires_at IS NULL OR c.expires_at > now())
           ORDER BY b.starts_at, b.id""",
        doctor_id, Range(since, until),
    )  # fmt: skip
    return {row["id"]: (row["starts_at"], row["ends_at"], Mode(row["mode"])) for row in rows}


async def extra_hours(db: Connection, doctor_id: UUID, since: datetime) -> list[Extra]:
    """The doctor's extra hours that end later than `since`."""
    rows = await db.fetch(
        """SELECT lower(during) AS starts_at, upper(during) AS ends_at, modes FROM availability_exceptions
           WHERE doctor_id = $1 AND during && $2 AND kind = 'extra'""",
        doctor_id, Range(since, None),
    )  # fmt: skip
    return [Extra(Span(row["starts_at"], row["ends_at"]), tuple(map(Mode, row["modes"]))) for row in rows]


async def exceptions_ahead(db: Connection, doctor_id: UUID, now: datetime) -> int:
    """How many exceptions are not over."""
    return await db.fetchval(
        "SELECT count(*) FROM availability_exceptions WHERE doctor_id = $1 AND during && $2",
        doctor_id, Range(now, None),
    )  # fmt: skip


async def add_exception(
    db: Connection, exception_id: UUID, doctor_id: UUID, exception: AddException, *, given_up: date | None = None
) -> None:
    """Add to what the weekly hours offer, or take from it. The calendar must be locked."""
    await db.execute(
        """INSERT INTO availability_exceptions (id, doctor_id, during, kind, modes, note, given_up)
           VALUES ($1, $2, $3, $4, $5, $6, $7)""",
        exception_id, doctor_id, Range(exception.starts_at, exception.ends_at), exception.kind, exception.modes,
        exception.note, given_up,
    )  # fmt: skip


async def give_up(db: Connection, exception_id: UUID, doctor_id: UUID, day: date, leave: AddException) -> None:
    """Add the leave by which a date is given up; the calendar must be locked. Raises InvalidState the second time."""
    if await db.fetchval(
        "SELECT EXISTS (SELECT FROM availability_exceptions WHERE doctor_id = $1 AND during && $2 AND given_up = $3)",
        doctor_id, Range(leave.starts_at, leave.ends_at), day,
    ):  # fmt: skip
        raise InvalidState("You have given up this day already. To do otherwise, delete that exception first.")
    await add_exception(db, exception_id, doctor_id, leave, given_up=day)


async def keep_given_up(db: Connection, exception_id: UUID) -> bool:
    """Whether a day is given up still; its doctor cannot open it again before the transaction ends."""
    await db.execute(
        """SELECT 1 FROM calendars
           WHERE doctor_id = (SELECT doctor_id FROM availability_exceptions WHERE id = $1) FOR SHARE""",
        exception_id,
    )  # fmt: skip
    return await db.fetchval("SELECT EXISTS (SELECT FROM availability_exceptions WHERE id = $1)", exception_id)


async def remove_exception(db: Connection, exception_id: UUID, doctor_id: UUID) -> None:
    """As if it had never been. The calendar must be locked. Raises NotFound for what is not this doctor's."""
    done = await db.execute(
        "DELETE FROM availability_exceptions WHERE id = $1 AND doctor_id = $2", exception_id, doctor_id
    )
    if done != "DELETE 1":
        raise NotFound


async def exceptions_page(
    db: Connection, doctor_id: UUID, now: datetime, after: UUID | None, limit: int
) -> list[KeptException]:
    """Up to `limit` exceptions that are not over, in the order in which they were made, after the one with this id."""
    rows = await db.fetch(
        """SELECT id, kind, lower(during) AS starts_at, upper(during) AS ends_at, modes, note
           FROM availability_exceptions
           WHERE doctor_id = $1 AND during && $2 AND ($3::uuid IS NULL OR id > $3) ORDER BY id LIMIT $4""",
        doctor_id, Range(now, None), after, limit,
    )  # fmt: skip
    return [KeptException.model_validate(dict(row)) for row in rows]
