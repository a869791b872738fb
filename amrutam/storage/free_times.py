"""When doctors are free, kept in tables for searches. Booking never asks here: it asks the calendar and the claims.

`free_times` holds what a calendar says for some weeks, without the doctor's notice and horizon: these move with the
clock, so they are applied when a search asks, and when `listings.next_start` is looked up anew. A calendar is read
again when something has changed, when somebody's hold ends, and once a day. One process at a time writes here, by its
sweep.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog

from amrutam.domain.free_times import FRESH, KEPT, SPREAD, FreeTimes, free_times, without_moving_ends
from amrutam.domain.windows import Span
from amrutam.storage import availability as availabilities
from amrutam.storage.pool import Connection

log = structlog.get_logger()

_UTC = ZoneInfo("UTC")
_DAY = timedelta(days=1)
# What is in the way of the first and the last slot lies so near.
_NEAR = timedelta(days=2)

# Of the doctors that `chosen` names: the first start that needs no more notice than there is, if it lies within the
# horizon; and when that is another one. Starts are in order, so the first is found by halves.
_ADVANCE = """
WITH chosen AS ({chosen})
UPDATE listings l
SET next_start = n.next_start, next_video_start = n.video, next_audio_start = n.audio, next_chat_start = n.chat,
    passes_at = n.passes_at
FROM (SELECT chosen.doctor_id,
             COALESCE(min(start) FILTER (WHERE near), 9223372036854775807) AS next_start,
             COALESCE(min(start) FILTER (WHERE near AND modes & 1 <> 0), 9223372036854775807) AS video,
             COALESCE(min(start) FILTER (WHERE near AND modes & 2 <> 0), 9223372036854775807) AS audio,
             COALESCE(min(start) FILTER (WHERE near AND modes & 4 <> 0), 9223372036854775807) AS chat,
             COALESCE(min(to_timestamp((start - CASE WHEN near THEN notice_minutes ELSE horizon_minutes END) * 60)),
                      'infinity') AS passes_at
      FROM chosen
           LEFT JOIN free_times f ON f.doctor_id = chosen.doctor_id
           LEFT JOIN LATERAL (SELECT extract(epoch FROM now()) / 60 AS minute) AS clock ON true
           LEFT JOIN LATERAL (
               SELECT f.starts[width_bucket((ceil(clock.minute) + f.notice_minutes)::int - 1, f.starts) + 1] AS start
           ) AS first ON true
           LEFT JOIN LATERAL (SELECT first.start <= floor(clock.minute) + f.horizon_minutes AS near) AS asked ON true
      GROUP BY chosen.doctor_id) AS n
WHERE l.doctor_id = n.doctor_id"""
_PASSED = _ADVANCE.format(
    chosen="""SELECT doctor_id FROM listings WHERE passes_at < now()
              ORDER BY passes_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED"""
)
_NAMED = _ADVANCE.format(chosen="SELECT doctor_id FROM listings WHERE doctor_id = ANY ($1) FOR NO KEY UPDATE")


def calendar_of(event_type: str, subject: UUID, data: str) -> UUID | None:
    """The doctor whose free times are others since this fact; None for one that changes none."""
    match event_type.partition(".")[0]:
        case "doctor" | "availability":
            return subject
        case "booking":
            return UUID(json.loads(data)["doctor_id"])
        case _:
            return None


async def mark_changed(db: Connection, doctor_ids: Sequence[UUID]) -> None:
    """These doctors' calendars are to be read again at once. Who is reading one now is waited for."""
    await db.execute(
        """UPDATE free_calendars c SET recompute_at = now()
           FROM (SELECT doctor_id FROM free_calendars WHERE doctor_id = ANY ($1)
                 ORDER BY doctor_id FOR NO KEY UPDATE) AS due
           WHERE c.doctor_id = due.doctor_id AND c.recompute_at > now()""",
        doctor_ids,
    )  # fmt: skip


async def advance_passed(db: Connection, limit: int) -> int:
    """Look up the next free time of up to `limit` doctors whose last one has passed; returns how many."""
    return _count(await db.execute(_PASSED, limit))


async def recompute_due(db: Connection, now: datetime, limit: int) -> int:
    """Read up to `limit` calendars that are due; returns how many. The transaction keeps `mark_changed` waiting."""
    rows = await db.fetch(
        """SELECT c.doctor_id FROM free_calendars c JOIN listings l ON l.doctor_id = c.doctor_id
           WHERE c.recompute_at <= now()
           ORDER BY c.recompute_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED""",
        limit,
    )  # fmt: skip
    due = [row["doctor_id"] for row in rows]
    if not due:
        return 0
    # Both rows are ours now: this waits for nobody who takes a verification away. What is read from here on is at least
    # as new as the news that made the row due.
    for doctor_id in due:
        try:
            await _recompute(db, doctor_id, now)
        except (ValueError, ArithmeticError, LookupError):  # one calendar that nobody can read must not stop the others
            log.exception("sweep.unreadable", doctor_id=str(doctor_id))
            await _forget(db, doctor_id)
    await db.execute(
        """UPDATE free_calendars SET recompute_at = LEAST(
               now() + $2::interval + $3::interval * random(),
               (SELECT min(expires_at) FROM claims WHERE resource_id = doctor_id AND during && tstzrange(now(), NULL)
                                                     AND expires_at > now()))
           WHERE doctor_id = ANY ($1)""",
        due, FRESH, SPREAD,
    )  # fmt: skip
    await db.execute(_NAMED, due)
    return len(due)


async def _recompute(db: Connection, doctor_id: UUID, now: datetime) -> None:
    """Store the free times that the doctor's calendar gives. A doctor who may not be booked has none."""
    until = now + KEPT + _DAY
    bookable = await availabilities.bookable(db, doctor_id, Span(now - _NEAR, until + _NEAR))
    if bookable is None:
        await _forget(db, doctor_id)
        return
    hours = bookable.availability
    ahead = bookable._replace(availability=without_moving_ends(hours))
    found = free_times(ahead.open_slots(now.date(), until.date(), _UTC, now=now))
    modes = [each.modes for each in found]
    await db.execute("DELETE FROM free_times WHERE doctor_id = $1 AND modes <> ALL ($2)", doctor_id, modes)
    minutes = (hours.slot_minutes, hours.minimum_notice_minutes, hours.horizon_days * 24 * 60)
    for each in found:
        await _store(db, doctor_id, each, minutes)


async def _forget(db: Connection, doctor_id: UUID) -> None:
    await db.execute("DELETE FROM free_times WHERE doctor_id = $1", doctor_id)


async def _store(db: Connection, doctor_id: UUID, times: FreeTimes, minutes: tuple[int, int, int]) -> None:
    """`minutes` are those of a slot, of the notice and of the horizon. Nothing is written where nothing changed."""
    await db.execute(
        """INSERT INTO free_times AS was
                  (doctor_id, modes, starts, hours, slot_minutes, notice_minutes, horizon_minutes, specialties)
           SELECT id, $2, $3, $4, $5, $6, $7, specialties FROM doctors WHERE id = $1
           ON CONFLICT (doctor_id, modes) DO UPDATE
           SET starts = EXCLUDED.starts, hours = EXCLUDED.hours, slot_minutes = EXCLUDED.slot_minutes,
               notice_minutes = EXCLUDED.notice_minutes, horizon_minutes = EXCLUDED.horizon_minutes,
               specialties = EXCLUDED.specialties
           WHERE (was.starts, was.slot_minutes, was.notice_minutes, was.horizon_minutes, was.specialties)
                 IS DISTINCT FROM (EXCLUDED.starts, EXCLUDED.slot_minutes, EXCLUDED.notice_minutes,
                                   EXCLUDED.horizon_minutes, EXCLUDED.specialties)""",
        doctor_id, times.modes, times.starts, times.hours, *minutes,
    )  # fmt: skip


async def overdue_seconds(db: Connection) -> float:
    """For how long the row has been due that has waited longest; 0 where none is."""
    return await db.fetchval(
        """SELECT COALESCE(max(extract(epoch FROM now() - due)::float8), 0)
           FROM (SELECT min(passes_at) AS due FROM listings
                 UNION ALL SELECT min(recompute_at) FROM free_calendars) AS oldest
           WHERE due < now()"""
    )


def _count(done: str) -> int:
    return int(done.rpartition(" ")[2])
