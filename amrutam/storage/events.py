"""Facts, written in the transaction of the change and read by consumers in an order that loses none."""

from typing import NamedTuple
from uuid import UUID

from amrutam.domain.events import Event
from amrutam.storage.pool import Connection


class StoredEvent(NamedTuple):
    """An event as consumers read it; `xid` and `id` are its place."""

    xid: str
    id: UUID
    type: str
    subject: UUID
    data: str
    age_seconds: float


async def append(db: Connection, event: Event) -> None:
    """Add a fact to the transaction."""
    await db.execute(
        "INSERT INTO events (type, subject, data) VALUES ($1, $2, $3)",
        event.type, event.subject, event.model_dump_json(exclude={"subject"}),
    )  # fmt: skip


async def register(db: Connection, consumer: str) -> None:
    """Make the consumer's watermark, at the beginning, if it has none yet."""
    await db.execute("INSERT INTO watermarks (consumer) VALUES ($1) ON CONFLICT DO NOTHING", consumer)


async def next_batch(db: Connection, consumer: str, limit: int) -> list[StoredEvent]:
    """Up to `limit` events that this consumer has not seen, oldest first. The caller's transaction moves the watermark.

    Only what lies below the snapshot's xmin is read: a transaction that is still open may yet commit a smaller place.
    """
    watermark = await db.fetchrow("SELECT xid::text, id FROM watermarks WHERE consumer = $1", consumer)
    if watermark is None:
        raise LookupError(f"consumer {consumer} is not registered")
    rows = await db.fetch(
        """SELECT xid::text, id, type, subject, data,
                  extract(epoch FROM now() - uuid_extract_timestamp(id))::float8 AS age_seconds
           FROM events
           WHERE (xid, id) > ($1::text::xid8, $2::uuid) AND xid < pg_snapshot_xmin(pg_current_snapshot())
           ORDER BY events.xid, events.id LIMIT $3""",
        watermark["xid"], watermark["id"], limit,
    )  # fmt: skip
    return [StoredEvent(*row) for row in rows]


async def move_watermark(db: Connection, consumer: str, last: StoredEvent) -> None:
    """Everything up to `last` is done, once this transaction commits."""
    await db.execute(
        "UPDATE watermarks SET xid = $2::text::xid8, id = $3, moved_at = now() WHERE consumer = $1",
        consumer, last.xid, last.id,
    )  # fmt: skip


async def become_only_reader(db: Connection, consumer: str) -> bool:
    """Whether this transaction now is the one that reads for `consumer`; false when another process is."""
    return await db.fetchval(
        "SELECT pg_try_advisory_xact_lock(hashtextextended('amrutam.consumer.' || $1, 0))", consumer
    )
