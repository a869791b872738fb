"""Sealing the audit trail, link by link, and saying outside the database how far it is sealed."""

import asyncio
import time
from datetime import UTC, datetime

from temporalio import activity

from amrutam.domain.audit_seals import BEGINNING, seal
from amrutam.domain.common import Message
from amrutam.gateways.checkpoints import Checkpoints
from amrutam.storage import audit_seals
from amrutam.storage.pool import Database
from amrutam.telemetry import AUDIT_UNSEALED_SECONDS

# Rows under one seal: verification holds as many in memory.
BATCH = 1000
# Well under the time that the activity has; what is left is sealed by the next round.
ROUND_SECONDS = 45.0


class Sealing(Message):
    """What one round sealed, and the age in seconds of the oldest row that it left."""

    rows: int
    seals: int
    checkpoint: bool
    oldest_unsealed_seconds: float


class AuditActivities:
    """Needs PostgreSQL's primary, and the place of the checkpoints (none: none are kept)."""

    def __init__(self, db: Database, checkpoints: Checkpoints | None) -> None:
        self._db = db
        self._checkpoints = checkpoints

    @activity.defn(name="audit.seal")
    async def seal(self) -> Sealing:
        """Seal what has been committed, then keep a signed checkpoint of the newest seal."""
        counts = await self._seal_all()
        async with self._db.connection() as db:
            newest = await audit_seals.last(db)
            _, age = await audit_seals.waiting(db, newest.last if newest else BEGINNING)
        AUDIT_UNSEALED_SECONDS.set(age)
        kept = False
        if newest and self._checkpoints:
            kept = await asyncio.to_thread(self._checkpoints.write, newest, datetime.now(UTC))
        return Sealing(rows=sum(counts), seals=len(counts), checkpoint=kept, oldest_unsealed_seconds=age)

    async def _seal_all(self) -> list[int]:
        """Rows under each new seal."""
        deadline, counts = time.monotonic() + ROUND_SECONDS, list[int]()
        while time.monotonic() < deadline:
            if rows := await self._seal_batch():
                counts.append(rows)
            if rows < BATCH:
                break
        return counts

    async def _seal_batch(self) -> int:
        """Add one link; returns its rows."""
        async with self._db.transaction() as db:
            if not await audit_seals.become_only_sealer(db):
                return 0
            before = await audit_seals.last(db)
            rows = await audit_seals.unsealed(db, before.last if before else BEGINNING, BATCH)
            if rows:
                await audit_seals.insert(db, seal(before, rows))
            return len(rows)
