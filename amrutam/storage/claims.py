"""Who holds which time. The exclusion constraint is the truth; everything else only makes it cheap to obey."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from uuid import UUID

from asyncpg import Range

from amrutam.domain.availability import Span
from amrutam.domain.errors import HoldExpired
from amrutam.storage.pool import Connection


async def queue_for(db: Connection, resources: Iterable[UUID]) -> None:
    """Wait for everyone who works on the same doctor or patient, until the transaction ends.

    In one order for all, so that two bookings never wait for each other.
    """
    numbers = sorted({_lock_number(resource) for resource in resources})
    await db.execute("SELECT pg_advisory_xact_lock(number) FROM unnest($1::bigint[]) AS number", numbers)


def _lock_number(resource: UUID) -> int:
    """A signed 64-bit number; the random tail of a UUIDv7, which differs where its time does not."""
    return int.from_bytes(resource.bytes[8:], signed=True)


async def take(db: Connection, booking_id: UUID, times: Mapping[UUID, Span], expires_at: datetime | None) -> set[UUID]:
    """Claim each resource's span until `expires_at` (for good when None); returns the resources that others hold.

    Empty means that all are ours; otherwise the caller must roll back. Expired claims in the way are removed.
    """
    resources, spans = list(times), _ranges(times)
    await db.execute(
        """DELETE FROM claims c USING unnest($1::uuid[], $2::tstzrange[]) AS wanted (resource_id, during)
           WHERE c.resource_id = wanted.resource_id AND c.during && wanted.during AND c.expires_at <= now()""",
        resources, spans,
    )  # fmt: skip
    rows = await db.fetch(
        """INSERT INTO claims (booking_id, resource_id, during, expires_at)
           SELECT $1, resource_id, during, $4 FROM unnest($2::uuid[], $3::tstzrange[]) AS wanted (resource_id, during)
           ON CONFLICT DO NOTHING RETURNING resource_id""",
        booking_id, resources, spans, expires_at,
    )  # fmt: skip
    return times.keys() - {row["resource_id"] for row in rows}


def _ranges(times: Mapping[UUID, Span]) -> list[Range[datetime]]:
    return [Range(span.starts_at, span.ends_at) for span in times.values()]


async def move(db: Connection, booking_id: UUID, times: Mapping[UUID, Span]) -> set[UUID]:
    """Have a booking's claims at other times, in place; returns the resources that others hold then.

    Empty means that it is done; otherwise nothing was changed. Who works on the same resources waits for this
    transaction (`queue_for`), so what is free now stays so until it ends. Expired claims in the way are removed.
    Raises HoldExpired, after which the caller must roll back, where the booking's own claims have run out.
    """
    resources, spans = list(times), _ranges(times)
    await db.execute(
        """DELETE FROM claims c USING unnest($1::uuid[], $2::tstzrange[]) AS wanted (resource_id, during)
           WHERE c.resource_id = wanted.resource_id AND c.during && wanted.during AND c.expires_at <= now()
             AND c.booking_id <> $3""",
        resources, spans, booking_id,
    )  # fmt: skip
    if held := await overlapping(db, booking_id, times):
        return held
    done = await db.execute(
        """UPDATE claims c SET during = wanted.during
           FROM unnest($2::uuid[], $3::tstzrange[]) AS wanted (resource_id, during)
           WHERE c.booking_id = $1 AND c.resource_id = wanted.resource_id
             AND (c.expires_at IS NULL OR c.expires_at > now())""",
        booking_id, resources, spans,
    )  # fmt: skip
    if done != f"UPDATE {len(times)}":
        raise HoldExpired
    return set()


async def overlapping(db: Connection, booking_id: UUID, times: Mapping[UUID, Span]) -> set[UUID]:
    """The resources whose span another booking holds now. Expired holds count as free. Decides nothing: `take` does."""
    rows = await db.fetch(
        """SELECT DISTINCT c.resource_id FROM claims c
           JOIN unnest($1::uuid[], $2::tstzrange[]) AS wanted (resource_id, during)
             ON c.resource_id = wanted.resource_id AND c.during && wanted.during
           WHERE c.booking_id <> $3 AND (c.expires_at IS NULL OR c.expires_at > now())""",
        list(times), _ranges(times), booking_id,
    )  # fmt: skip
    return {row["resource_id"] for row in rows}


async def of_resource(db: Connection, resource_id: UUID, within: Span) -> list[Span]:
    """The times of one doctor or patient that are held now and touch `within`, in order."""
    rows = await db.fetch(
        """SELECT lower(during) AS starts_at, upper(during) AS ends_at FROM claims
           WHERE resource_id = $1 AND during && $2 AND (expires_at IS NULL OR expires_at > now()) ORDER BY 1""",
        resource_id, Range(within.starts_at, within.ends_at),
    )  # fmt: skip
    return [Span(row["starts_at"], row["ends_at"]) for row in rows]


async def extend(db: Connection, booking_id: UUID, expires_at: datetime) -> bool:
    """Hold a booking's times until then; false where one of its claims has run out: the caller must roll back."""
    done = await db.execute(
        "UPDATE claims SET expires_at = $2 WHERE booking_id = $1 AND expires_at > now()", booking_id, expires_at
    )
    return done == "UPDATE 2"


async def confirm(db: Connection, booking_id: UUID) -> bool:
    """Hold a booking's times for good; false, and nothing changed, where one of its claims has run out."""
    done = await db.execute(
        """UPDATE claims SET expires_at = NULL
           WHERE booking_id = $1
             AND 2 = (SELECT count(*) FROM claims WHERE booking_id = $1 AND expires_at > now())""",
        booking_id,
    )  # fmt: skip
    return done == "UPDATE 2"


async def release(db: Connection, booking_id: UUID) -> None:
    """Give every time of a booking back."""
    await db.execute("DELETE FROM claims WHERE booking_id = $1", booking_id)


async def forget_before(db: Connection, moment: datetime, limit: int) -> int:
    """Remove up to `limit` claims that ended before `moment`; returns how many."""
    gone = await db.fetch(
        """DELETE FROM claims WHERE (booking_id, resource_id) IN
           (SELECT booking_id, resource_id FROM claims WHERE upper(during) < $1 LIMIT $2) RETURNING 1""",
        moment, limit,
    )  # fmt: skip
    return len(gone)
