"""Housekeeping: partitions ahead of time, and what is past its lifetime removed in short batches."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from temporalio import activity

from amrutam.domain.common import Message
from amrutam.settings import Settings
from amrutam.storage import auth, claims, email_change, invitations, mfa, operations, partitions, passwords, sessions
from amrutam.storage.pool import Connection, Database

BATCH = 1000


class Housekeeping(Message):
    """What one round did: names of new partitions, and rows removed by kind."""

    partitions: list[str]
    removed: dict[str, int]


Removal = Callable[[Connection, datetime, int], Awaitable[int]]


class MaintenanceActivities:
    """Keeps the lifetimes that settings state."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db = db
        self._lifetimes: dict[str, tuple[Removal, timedelta]] = {
            "claims": (claims.forget_before, timedelta(hours=settings.keep_claims_hours)),
            "operations": (operations.forget_before, timedelta(days=settings.keep_operations_days)),
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
        return Housekeeping(partitions=made, removed=removed)

    async def _remove(self, forget: Removal, before: datetime) -> int:
        total = 0
        while True:
            async with self._db.connection() as db:
                gone = await forget(db, before, BATCH)
            total += gone
            if gone < BATCH:
                return total
