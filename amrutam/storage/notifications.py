"""Of what each person wants to hear."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from amrutam.storage.pool import Connection

_WANTED = "SELECT reminder_minutes, version FROM notification_preferences WHERE user_id = $1"
_LOCKED = f"{_WANTED} FOR UPDATE"


class Wanted(NamedTuple):
    """A person's preferences; version 0 where they never said any."""

    reminder_minutes: list[int] | None
    version: int


async def wanted(db: Connection, user_id: UUID, *, lock: bool = False) -> Wanted:
    """What the person said; None for the minutes where they said nothing, which means all that the clinic offers."""
    row = await db.fetchrow(_LOCKED if lock else _WANTED, user_id)
    return Wanted(list(row["reminder_minutes"]), row["version"]) if row else Wanted(None, 0)


async def want(db: Connection, user_id: UUID, reminder_minutes: Sequence[int]) -> None:
    """Keep what the person says."""
    await db.execute(
        """INSERT INTO notification_preferences AS was (user_id, reminder_minutes) VALUES ($1, $2)
           ON CONFLICT (user_id) DO UPDATE
           SET reminder_minutes = EXCLUDED.reminder_minutes, version = was.version + 1, updated_at = now()""",
        user_id, sorted(set(reminder_minutes), reverse=True),
    )  # fmt: skip
