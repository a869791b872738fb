"""The audit trail: insert-only for the application's role."""

from collections.abc import Collection
from uuid import UUID

from amrutam.domain.audit import Actor
from amrutam.storage.pool import Connection


async def append(db: Connection, actor: Actor, action: str, subject: UUID, *, patient_id: UUID | None = None) -> None:
    """Note that `actor` did `action` to `subject`, in the transaction of the act."""
    await _append(db, actor.id, actor.role, action, subject, patient_id, actor.request_id)


async def append_reads(db: Connection, actor: Actor, action: str, subject: UUID, patients: Collection[UUID]) -> None:
    """Note that `actor` saw data of each of `patients`. Committed before the caller answers, or the caller fails."""
    if patients:
        await db.execute(
            """INSERT INTO audit (actor_id, actor_role, action, subject, patient_id, request_id)
               SELECT $1, $2, $3, $4, patient_id, $6 FROM unnest($5::uuid[]) AS patient_id""",
            actor.id, actor.role, action, subject, list(patients), actor.request_id,
        )  # fmt: skip


async def append_system(db: Connection, action: str, subject: UUID, *, patient_id: UUID | None = None) -> None:
    """Note what the system did by itself: a timer, a sweep."""
    await _append(db, None, "system", action, subject, patient_id, "")


async def _append(
    db: Connection, actor_id: UUID | None, role: str, action: str, subject: UUID, patient_id: UUID | None, request: str
) -> None:
    await db.execute(
        """INSERT INTO audit (actor_id, actor_role, action, subject, patient_id, request_id)
           VALUES ($1, $2, $3, $4, $5, $6)""",
        actor_id, role, action, subject, patient_id, request,
    )  # fmt: skip
