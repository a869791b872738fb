"""Calendars: the hours that a doctor offers, and the times taken back.

A booking takes the calendar's row FOR SHARE, and whoever changes hours, exceptions, fees or verification takes it FOR
UPDATE. What the row guards is read by a later statement: one that waited for the lock still sees the other tables as
they were when it began.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from asyncpg import Range
from pydantic import TypeAdapter

from amrutam.domain.availability import Availability, Span
from amrutam.domain.common import Mode, Money
from amrutam.domain.errors import DoctorUnavailable, NotFound
from amrutam.domain.leave import Leave, TakeLeave
from amrutam.storage.pool import Connection, Row

# Over the longest slot with its buffers.
_NEAR = timedelta(days=1)

_FEES = TypeAdapter(dict[Mode, Money])

_BOOKABLE = """
SELECT d.full_name, d.fees, c.availability,
       ARRAY(SELECT e.during FROM availability_exceptions e
             WHERE e.doctor_id = d.id AND e.during && $2 ORDER BY e.during) AS blocked
FROM doctors d JOIN calendars c ON c.doctor_id = d.id
WHERE d.id = $1 AND d.verified_at IS NOT NULL"""


class Calendar(NamedTuple):
    """The weekly hours and the version of the row."""

    availability: Availability
    version: int


class Bookable(NamedTuple):
    """What a booking must know of its doctor. `blocked` are the exceptions near the time that was asked for."""

    doctor_id: UUID
    doctor_name: str
    fees: Mapping[Mode, Money]
    availability: Availability
    blocked: list[Span]


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
    found = await bookable(db, doctor_id, Span(around - _NEAR, around + _NEAR))
    if found is None:
        raise DoctorUnavailable(pointer="/doctor_id")
    return found


async def bookable(db: Connection, doctor_id: UUID, within: Span) -> Bookable | None:
    """A verified doctor with the exceptions that touch `within`, as it stands at this moment."""
    row = await db.fetchrow(_BOOKABLE, doctor_id, Range(*within))
    if row is None:
        return None
    return Bookable(
        doctor_id,
        row["full_name"],
        _FEES.validate_json(row["fees"]),
        Availability.model_validate_json(row["availability"]),
        [Span(during.lower, during.upper) for during in row["blocked"]],
    )


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
           WHERE c.resource_id = $1 AND tstzrange(b.starts_at, b.ends_at) && $2 AND c.during && $2
             AND (c.expires_at IS NULL OR c.expires_at > now())
           ORDER BY b.starts_at, b.id""",
        doctor_id, Range(since, until),
    )  # fmt: skip
    return {row["id"]: (row["starts_at"], row["ends_at"], Mode(row["mode"])) for row in rows}


async def add_leave(db: Connection, leave_id: UUID, doctor_id: UUID, leave: TakeLeave) -> None:
    """Take a time back. The calendar must be locked."""
    await db.execute(
        "INSERT INTO availability_exceptions (id, doctor_id, during) VALUES ($1, $2, $3)",
        leave_id, doctor_id, Range(leave.starts_at, leave.ends_at),
    )  # fmt: skip


async def remove_leave(db: Connection, leave_id: UUID, doctor_id: UUID) -> None:
    """Offer the time again. The calendar must be locked. Raises NotFound for what is not this doctor's."""
    done = await db.execute("DELETE FROM availability_exceptions WHERE id = $1 AND doctor_id = $2", leave_id, doctor_id)
    if done != "DELETE 1":
        raise NotFound


async def leave_page(db: Connection, doctor_id: UUID, now: datetime, after: UUID | None, limit: int) -> list[Leave]:
    """Up to `limit` exceptions that are not over, in the order in which they were made, after the one with this id."""
    rows = await db.fetch(
        """SELECT id, lower(during) AS starts_at, upper(during) AS ends_at FROM availability_exceptions
           WHERE doctor_id = $1 AND during && $2 AND ($3::uuid IS NULL OR id > $3) ORDER BY id LIMIT $4""",
        doctor_id, Range(now, None), after, limit,
    )  # fmt: skip
    return [Leave(id=row["id"], starts_at=row["starts_at"], ends_at=row["ends_at"]) for row in rows]
