"""What a storm left behind: bookings lost or doubled, answers changed, caches that lie, invariants broken."""

import asyncio
import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
from redis.asyncio import Redis

from amrutam.ids import new_id
from amrutam.storage.pool import Database
from tests.people import Person

_NEXT_FREE = re.compile(rb'"next_available_at":(null|"[^"]*")')


@dataclass(frozen=True)
class Verdict:
    """What the storm left behind. All but `accepted` must be zero or empty."""

    accepted: int
    lost: int
    doubled: int
    stuck: int
    changed_answers: int
    stale: Sequence[str]
    faults: Sequence[str]
    broken: Sequence[str]

    @property
    def calm(self) -> bool:
        """Whether nothing was lost, doubled, stuck or stale."""
        wrong = (self.lost, self.doubled, self.stuck, self.changed_answers, self.stale, self.faults, self.broken)
        return not any(wrong)

    def __str__(self) -> str:
        return (
            f"accepted {self.accepted}, lost {self.lost}, doubled {self.doubled}, stuck {self.stuck}, "
            f"told otherwise {self.changed_answers}, stale {len(self.stale)}, "
            f"faults {len(self.faults)}, broken {len(self.broken)}"
        )


async def lost_and_doubled(db: Database, accepted: Sequence[UUID]) -> tuple[int, int]:
    """How many of the accepted bookings are not there, and how many pairs share a doctor's time."""
    async with db.connection() as connection:
        there = await connection.fetchval("SELECT count(*) FROM bookings WHERE id = ANY ($1)", accepted)
        doubled = await connection.fetchval(
            """SELECT count(*) FROM bookings a JOIN bookings b ON a.doctor_id = b.doctor_id AND a.id < b.id
                 AND tstzrange(a.starts_at, a.ends_at) && tstzrange(b.starts_at, b.ends_at)
               WHERE a.status = 'confirmed' AND b.status = 'confirmed'"""
        )
    return len(accepted) - int(there), int(doubled)


async def caught_up(db: Database) -> bool:
    """Whether every consumer of events has seen all."""
    async with db.connection() as connection:
        return not await connection.fetchval(
            """SELECT count(*) FROM watermarks w
               WHERE EXISTS (SELECT FROM events e WHERE (e.xid, e.id) > (w.xid, w.id))"""
        )


class Visitors:
    """Read all the time, so that what a change should have dropped from the caches is there to be found."""

    def __init__(self, http: httpx.AsyncClient, doctors: Sequence[Person], author: Person) -> None:
        self._http = http
        self._author = author
        day = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()
        self._slots = {doctor.id: f"/v1/doctors/{doctor.id}/slots?from={day}&to={day}&tz=UTC" for doctor in doctors}
        self._profiles = ["/v1/doctors?limit=50&sort=fee", *(f"/v1/doctors/{each.id}" for each in (*doctors, author))]

    async def read(self) -> None:
        """Until cancelled."""
        while True:
            for path in (*self._profiles, *self._slots.values()):
                with contextlib.suppress(httpx.TransportError):
                    await self._http.get(path)
            await asyncio.sleep(0.1)

    async def rewrite(self, over: asyncio.Event) -> None:
        """The author, who takes no bookings, changes their profile again and again."""
        while not over.is_set():
            with contextlib.suppress(httpx.TransportError):
                mine = await self._http.get("/v1/doctors/me", headers=self._author.headers)
                if mine.is_success:
                    headers = {**self._author.headers, "If-Match": mine.headers["etag"]}
                    await self._http.put("/v1/doctors/me", json={**mine.json(), "bio": new_id().hex}, headers=headers)
            await asyncio.sleep(0.2)

    async def stale(self, redis: Redis, doctors: Sequence[Person]) -> list[str]:
        """What is told otherwise once the caches are empty. Nothing may change meanwhile, no hold of `doctors` end."""
        paths = [*self._profiles, *(self._slots[doctor.id] for doctor in doctors)]
        cached = [await self._told(path) for path in paths]
        await redis.flushall()
        true = [await self._told(path) for path in paths]
        return [path for path, before, after in zip(paths, cached, true, strict=True) if before != after]

    async def _told(self, path: str) -> bytes:
        answer = await self._http.get(path)
        answer.raise_for_status()
        return _NEXT_FREE.sub(b"", answer.content)  # bookings change it, and do not empty the caches for that
