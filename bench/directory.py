"""Fills the bench's database with a directory: doctors, their hours, free times and claims, by COPY from processes.

Indexes that COPY would have to keep are dropped before and made anew after, which takes a fraction of the time. Only
for a database that nobody else uses.
"""

import asyncio
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from io import BytesIO
from multiprocessing import get_context
from typing import NamedTuple

import asyncpg

from amrutam.storage import free_times
from bench import crowd
from bench.crowd import COPY_HEAD, COPY_TAIL, Crowd
from bench.progress import Progress

# Doctors in one transaction, and how many processes make and copy them.
CHUNK = 500
PROCESSES = 4
# How long the sweep leaves these calendars alone, so that it does nothing but follow the clock meanwhile.
SETTLED = timedelta(hours=12)

_COLUMNS = {
    "users": "id email password_hash full_name roles time_zone locale",
    "doctors": "id full_name gender specialties languages bio years_of_experience qualifications registration_number "
    "registration_council modes fees lowest_fee verified_at rating_count rating_sum",
    "calendars": "doctor_id availability",
    "availability_exceptions": "id doctor_id during kind",
    "free_times": "doctor_id modes slot_minutes notice_minutes horizon_minutes starts hours specialties",
    "bookings": "id status doctor_id patient_id booked_by starts_at ends_at mode fee_amount fee_currency",
}
_CLAIM_COLUMNS = ("booking_id", "resource_id", "during", "expires_at")
# Those whose indexes cost more than the rows. The keys stay, but for those of claims.
_REBUILT = ("listings", "listing_facets", "free_times", "doctors")
_INDEXES = """
SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS made
FROM pg_index WHERE indrelid = $1::regclass AND NOT indisprimary AND NOT indisunique"""
_CONSTRAINTS = """
SELECT conname AS name, pg_get_constraintdef(oid) AS made FROM pg_constraint
WHERE conrelid = 'claims'::regclass AND contype IN ('p', 'x') ORDER BY contype"""
_WORDS = """
INSERT INTO name_words (word, slips)
SELECT word, slips(word) FROM (SELECT DISTINCT unnest(search_words(name)) AS word FROM unnest($1::text[]) AS name) AS w
ON CONFLICT DO NOTHING"""
_FAST = {"synchronous_commit": "off", "maintenance_work_mem": "1GB", "max_parallel_maintenance_workers": "3"}


class Seeded(NamedTuple):
    """What there is now of doctors and their claims, and the seconds of copying and of making indexes."""

    doctors: int
    doctors_claims: int
    copy_seconds: float
    index_seconds: float


class _Index(NamedTuple):
    table: str
    drop: str
    make: str


async def grow(url: str, first: int, last: int, midnight: datetime) -> Seeded:
    """Add the doctors with the numbers from `first` up to `last`. `url` is the owner's."""
    began = time.monotonic()
    owner = await asyncpg.connect(url, server_settings=_FAST)
    try:
        indexes = await _indexes(owner)
        for index in indexes:
            await owner.execute(index.drop)
        await owner.execute(_WORDS, ["Dr", *crowd.names()])
        await _copy(url, first, last, midnight)
        copied = time.monotonic()
        await _rebuild(url, indexes)
        await owner.execute("VACUUM ANALYZE")
        claims = await owner.fetchval("SELECT count(*) FROM claims JOIN doctors ON id = resource_id")
    finally:
        await owner.close()
    return Seeded(last, claims, copied - began, time.monotonic() - copied)


async def _indexes(owner: "asyncpg.Connection[asyncpg.Record]") -> list[_Index]:
    """Those to be made anew, as they are now."""
    found = [
        _Index("claims", f"ALTER TABLE claims DROP CONSTRAINT {row['name']}", _constraint(row["name"], row["made"]))
        for row in await owner.fetch(_CONSTRAINTS)
    ]
    plain = dict[str, Sequence[asyncpg.Record]]()
    plain["claims"] = [
        row for row in await owner.fetch(_INDEXES, "claims") if not any(row["name"] in index.drop for index in found)
    ]
    for table in _REBUILT:
        plain[table] = await owner.fetch(_INDEXES, table)
    return found + [
        _Index(table, f"DROP INDEX {row['name']}", row["made"]) for table, rows in plain.items() for row in rows
    ]


def _constraint(name: str, made: str) -> str:
    return f"ALTER TABLE claims ADD CONSTRAINT {name} {made}"


async def _copy(url: str, first: int, last: int, midnight: datetime) -> None:
    progress, loop = Progress(f"{last:,} doctors", last - first), asyncio.get_running_loop()
    pool = ProcessPoolExecutor(PROCESSES, get_context("spawn"), _leave_signals_to_the_parent)

    async def copy(piece: tuple[int, int]) -> None:
        progress.add(*await loop.run_in_executor(pool, _copy_piece, url, *piece, midnight))

    try:
        async with asyncio.TaskGroup() as group:
            for piece in crowd.chunks(first, last, CHUNK):
                group.create_task(copy(piece))
    finally:
        pool.shutdown(cancel_futures=True)
        progress.end()


def _leave_signals_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _copy_piece(url: str, first: int, last: int, midnight: datetime) -> tuple[int, int]:
    """In a process of the pool; returns how many doctors, and how many rows."""
    made = crowd.crowd(first, last, midnight)
    asyncio.run(_insert(url, made))
    return last - first, made.rows


async def _insert(url: str, made: Crowd) -> None:
    """In one transaction: nobody sees a doctor whose calendar is not settled."""
    db = await asyncpg.connect(url, server_settings=_FAST)
    try:
        await db.set_type_codec("jsonb", schema="pg_catalog", encoder=_jsonb, decoder=bytes.decode, format="binary")
        async with db.transaction():
            rows = (made.users, made.doctors, made.calendars, made.exceptions, made.free_times, made.bookings)
            for (table, columns), records in zip(_COLUMNS.items(), rows, strict=True):
                await db.copy_records_to_table(table, columns=columns.split(), records=records)
            source = BytesIO(COPY_HEAD + made.claims + COPY_TAIL)
            await db.copy_to_table("claims", source=source, columns=_CLAIM_COLUMNS, format="binary")
            ids = [row[0] for row in made.doctors]
            await db.execute(
                """UPDATE free_calendars SET recompute_at = now() + $2::interval * (1 + random())
                   WHERE doctor_id = ANY ($1)""",
                ids, SETTLED,
            )  # fmt: skip
            await db.execute(
                "UPDATE listings SET passes_at = now() - interval '1 second' WHERE doctor_id = ANY ($1)", ids
            )
            await free_times.advance_passed(db, len(ids))
    finally:
        await db.close()


def _jsonb(text: str) -> bytes:
    return b"\x01" + text.encode()


async def _rebuild(url: str, indexes: Sequence[_Index]) -> None:
    """Those of claims beside all others: the exclusion constraint alone takes as long as the rest together."""
    ours = [index.make for index in indexes if index.table == "claims"]
    others = [index.make for index in indexes if index.table != "claims"]
    progress = Progress("indexes", len(indexes))
    try:
        async with asyncio.TaskGroup() as group:
            for statements in (ours, others):
                group.create_task(_execute_all(url, statements, progress))
    finally:
        progress.end()


async def _execute_all(url: str, statements: Sequence[str], progress: Progress) -> None:
    db = await asyncpg.connect(url, server_settings=_FAST)
    try:
        for statement in statements:
            await db.execute(statement)
            progress.add(1, 0)
    finally:
        await db.close()


def tomorrow() -> datetime:
    """The next midnight in UTC: all that is seeded lies ahead while the run goes on."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
