"""Housekeeping: partitions ahead of time, and what is past its lifetime removed in short batches."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from temporalio import activity

from amrutam.domain.common import Message
from amrutam.domain.documents import Purpose
from amrutam.gateways.documents import Documents
from amrutam.ids import first_id_at
from amrutam.settings import Settings
from amrutam.storage import (
    auth,
    claims,
    documents,
    email_change,
    invitations,
    mfa,
    operations,
    partitions,
    passwords,
    payment,
    sessions,
)
from amrutam.storage.pool import Connection, Database

BATCH = 1000
# Uploads that failed are looked for among the objects of so long before their lifetime's end: not the whole store.
LOOK_BACK = timedelta(days=30)


class Housekeeping(Message):
    """What one round did: names of new partitions, and rows removed by kind."""

    partitions: list[str]
    removed: dict[str, int]


Removal = Callable[[Connection, datetime, int], Awaitable[int]]


class MaintenanceActivities:
    """Keeps the lifetimes that settings state."""

    def __init__(self, db: Database, settings: Settings, store: Documents) -> None:
        self._db = db
        self._store = store
        self._keep_documents = timedelta(days=settings.keep_documents_days)
        self._lifetimes: dict[str, tuple[Removal, timedelta]] = {
            "claims": (claims.forget_before, timedelta(hours=settings.keep_claims_hours)),
            "operations": (operations.forget_before, timedelta(days=settings.keep_operations_days)),
            "webhooks": (payment.forget_webhooks_before, timedelta(days=settings.keep_webhooks_days)),
            "sessions": (sessions.forget_before, timedelta(days=settings.keep_sessions_days)),
            "known_devices": (sessions.forget_devices_before, timedelta(days=settings.keep_devices_days)),
            "factor_challenges": (mfa.forget_challenges_before, timedelta(days=settings.keep_sessions_days)),
            "email_tokens": (auth.forget_email_tokens_before, timedelta(days=settings.keep_sessions_days)),
            "password_resets": (passwords.forget_resets_before, timedelta(days=settings.keep_sessions_days)),
            "email_changes": (email_change.forget_before, timedelta(days=settings.keep_sessions_days)),
            "invitations": (invitations.forget_before, timedelta(days=settings.keep_sessions_days)),
        }

    @activity.defn(name="maintenance.keep_house")
    async def keep_house(self) -> Housekeeping:
        """Make the partitions of the months ahead and remove what is past its lifetime."""
        async with self._db.connection() as db:
            made = await partitions.ensure(db)
        now = datetime.now(UTC)
        removed = {name: await self._remove(forget, now - age) for name, (forget, age) in self._lifetimes.items()}
        removed["documents"] = await self._remove_documents(now - self._keep_documents)
        removed["objects"] = await self._remove_objects(now - self._keep_documents)
        return Housekeeping(partitions=made, removed=removed)

    async def _remove_documents(self, before: datetime) -> int:
        """What was deleted before then: the object, then its row, so that a round that is cut short is taken up."""
        total = 0
        while True:
            async with self._db.connection() as db:
                deleted = await documents.deleted_before(db, before, BATCH)
            for key in deleted.values():
                await self._store.delete(key)
            async with self._db.connection() as db:
                await documents.forget(db, deleted.keys())
            total += len(deleted)
            if len(deleted) < BATCH:
                return total

    async def _remove_objects(self, before: datetime) -> int:
        """Of uploads that came to nothing. A request lasts for seconds: what no row names after days never will be."""
        total = 0
        for purpose in Purpose:
            after = f"{purpose}/{first_id_at(before - LOOK_BACK)}"
            async for keys in self._store.older(purpose, after, before):
                async with self._db.connection() as db:
                    lost = set(keys) - await documents.named(db, keys)
                for key in lost:
                    await self._store.delete(key)
                total += len(lost)
        return total

    async def _remove(self, forget: Removal, before: datetime) -> int:
        total = 0
        while True:
            async with self._db.connection() as db:
                gone = await forget(db, before, BATCH)
            total += gone
            if gone < BATCH:
                return total
