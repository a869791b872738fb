"""Seals over the audit trail. Hashes are made here, not by the database, whose functions its superuser may change."""

from collections.abc import Sequence
from datetime import datetime

from amrutam.domain.audit_seals import Place, Seal, SealedRow
from amrutam.storage.pool import Connection, Row

# The place, then every other column in the order in which they are hashed.
_ROW = """SELECT xid::text::bigint, id, actor_id, actor_role, action, subject, patient_id, outcome, request_id,
                 trace_id, sealed_for, address, reason
          FROM audit"""
_SEAL = "SELECT number, last_xid::text::bigint AS xid, last_id AS id, marks, digest FROM audit_seals"


async def become_only_sealer(db: Connection) -> bool:
    """Whether this transaction is the one that seals; false while another is."""
    return await db.fetchval("SELECT pg_try_advisory_xact_lock(hashtextextended('amrutam.audit_seals', 0))")


async def last(db: Connection) -> Seal | None:
    """The newest link: how far sealing has come."""
    row = await db.fetchrow(f"{_SEAL} ORDER BY number DESC LIMIT 1")
    return _seal_of(row) if row else None


async def last_before(db: Connection, moment: datetime) -> Seal | None:
    """The newest link that was there by then."""
    row = await db.fetchrow(f"{_SEAL} WHERE sealed_at < $1 ORDER BY number DESC LIMIT 1", moment)
    return _seal_of(row) if row else None


async def after(db: Connection, number: int, limit: int) -> Sequence[Seal]:
    """Up to `limit` links that follow the one with this number."""
    rows = await db.fetch(f"{_SEAL} WHERE number > $1 ORDER BY number LIMIT $2", number, limit)
    return [_seal_of(row) for row in rows]


async def insert(db: Connection, seal: Seal) -> None:
    """Add the next link."""
    await db.execute(
        "INSERT INTO audit_seals (number, last_xid, last_id, marks, digest) VALUES ($1, $2::text::xid8, $3, $4, $5)",
        seal.number, str(seal.last.xid), seal.last.id, seal.marks, seal.digest,
    )  # fmt: skip


async def unsealed(db: Connection, after: Place, limit: int) -> Sequence[SealedRow]:
    """Up to `limit` rows after this place, in the order of commits, that no open transaction can come before."""
    rows = await db.fetch(
        f"""{_ROW}
            WHERE (xid, id) > ($1::text::xid8, $2::uuid) AND xid < pg_snapshot_xmin(pg_current_snapshot())
            ORDER BY audit.xid, audit.id LIMIT $3""",
        str(after.xid), after.id, limit,
    )  # fmt: skip
    return [_row_of(row) for row in rows]


async def rows_between(db: Connection, after: Place, until: Place, limit: int) -> Sequence[SealedRow]:
    """Up to `limit` rows after one place and up to another."""
    rows = await db.fetch(
        f"""{_ROW}
            WHERE (xid, id) > ($1::text::xid8, $2::uuid) AND (xid, id) <= ($3::text::xid8, $4::uuid)
            ORDER BY audit.xid, audit.id LIMIT $5""",
        str(after.xid), after.id, str(until.xid), until.id, limit,
    )  # fmt: skip
    return [_row_of(row) for row in rows]


async def exists(db: Connection, place: Place) -> bool:
    """Whether a row with this id is somewhere in the trail."""
    return await db.fetchval("SELECT EXISTS (SELECT FROM audit WHERE id = $1)", place.id)


async def is_marked(db: Connection, place: Place) -> bool:
    """Whether any seal knows a row with this id. Reads all seals."""
    found = await db.fetchval(
        """SELECT EXISTS (SELECT FROM audit_seals, generate_series(9, octet_length(marks), 56) AS start
                          WHERE substr(marks, start, 16) = $1)""",
        place.id.bytes,
    )
    return bool(found)


async def waiting(db: Connection, after: Place) -> tuple[int, float]:
    """How many rows no seal covers yet, 100,000 at most, and how old the oldest of them is, in seconds."""
    row = await db.fetchrow(
        """SELECT count(*), coalesce(extract(epoch FROM now() - min(uuid_extract_timestamp(id))), 0)::float8
           FROM (SELECT id FROM audit WHERE (xid, id) > ($1::text::xid8, $2::uuid)
                 ORDER BY audit.xid, audit.id LIMIT 100000) AS waiting""",
        str(after.xid), after.id,
    )  # fmt: skip
    return (row[0], row[1]) if row else (0, 0.0)


def _seal_of(row: Row) -> Seal:
    return Seal(row["number"], Place(row["xid"], row["id"]), row["marks"], row["digest"])


def _row_of(row: Row) -> SealedRow:
    xid, row_id, *values = row.values()
    return SealedRow(Place(xid, row_id), values)
