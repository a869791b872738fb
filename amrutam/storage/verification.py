"""Submissions of doctors as rows, and what of them stands in the doctor's row."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple
from uuid import UUID

from amrutam.domain.common import Role
from amrutam.domain.doctor import Doctor
from amrutam.domain.errors import NotFound
from amrutam.domain.verification import OPEN, Identity, Practice, Standing, State, Submission, Submit, valid_until
from amrutam.storage import doctor as doctors
from amrutam.storage.pool import Connection, Row

_SUBMISSION = "SELECT v.* FROM verifications v"
_OPEN = [str(state) for state in OPEN]


class Listed(NamedTuple):
    """A submission with its doctor's profile as it is now."""

    submission: Submission
    doctor: Doctor


async def insert(db: Connection, command: Submit, identity: Identity) -> bool:
    """Add a pending submission of a locked doctor. False when this one is there already.

    Who has another one open meets the index on it: check before.
    """
    done = await db.execute(
        """INSERT INTO verifications (id, doctor_id, state, full_name, registration_number, registration_council,
                                      registration_valid_until, documents, note)
           VALUES ($1, $2, 'pending', $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING""",
        command.id, command.doctor_id, identity.full_name, identity.registration_number,
        identity.registration_council, command.registration_valid_until, command.documents, command.note,
    )  # fmt: skip
    return done == "INSERT 0 1"


async def find(db: Connection, submission_id: UUID) -> Submission:
    """Raises NotFound."""
    return _submission(await db.fetchrow(f"{_SUBMISSION} WHERE id = $1", submission_id))


async def open_of(db: Connection, doctor_id: UUID) -> Submission | None:
    """What of this doctor is not decided yet."""
    row = await db.fetchrow(f"{_SUBMISSION} WHERE doctor_id = $1 AND state = ANY ($2)", doctor_id, _OPEN)
    return _submission(row) if row else None


async def move(
    db: Connection,
    submission_id: UUID,
    state: State,
    *,
    reason: bytes | None = None,
    decided_by: UUID | None = None,
    answer_within: timedelta | None = None,
) -> Submission:
    """Put a submission of a locked doctor into another state."""
    await db.execute(
        """UPDATE verifications SET state = $2, reason = coalesce($3, reason), decided_by = coalesce($4, decided_by),
                  decided_at = CASE WHEN $4::uuid IS NULL THEN decided_at ELSE now() END, answer_by = now() + $5,
                  updated_at = now()
           WHERE id = $1""",
        submission_id, state, reason, decided_by, answer_within,
    )  # fmt: skip
    return await find(db, submission_id)


async def answer(
    db: Connection, submission_id: UUID, last_day: date, documents: Sequence[UUID], note: bytes | None
) -> Submission:
    """Add what an administrator asked for; an administrator is to decide again."""
    await db.execute(
        """UPDATE verifications SET registration_valid_until = $2, note = coalesce($4, note), updated_at = now(),
                  documents = (SELECT coalesce(array_agg(DISTINCT each), '{}') FROM unnest(documents || $3) AS each)
           WHERE id = $1""",
        submission_id, last_day, list(documents), note,
    )  # fmt: skip
    return await move(db, submission_id, State.PENDING)


async def approve(db: Connection, submission: Submission, last_day: date, by: UUID) -> None:
    """What a locked doctor says has been checked: they may be found and booked until the registration lapses."""
    await db.execute(
        """UPDATE verifications SET registration_valid_until = $2 WHERE id = $1""", submission.id, last_day
    )
    await move(db, submission.id, State.APPROVED, decided_by=by)
    await db.execute(
        """UPDATE doctors SET verified_until = $2, verification_id = $3, version = version + 1, updated_at = now(),
                  verified_at = CASE WHEN suspended_at IS NULL THEN now() END,
                  verified_before = CASE WHEN suspended_at IS NOT NULL THEN now() END
           WHERE id = $1""",
        submission.doctor_id, valid_until(last_day), submission.id,
    )  # fmt: skip


async def supersede(db: Connection, doctor_id: UUID) -> UUID | None:
    """Name or registration of a locked doctor are other ones: what was submitted of the old ones is void. Its id."""
    return await db.fetchval(
        """UPDATE verifications SET state = 'superseded', answer_by = NULL, updated_at = now()
           WHERE doctor_id = $1 AND state = ANY ($2) RETURNING id""",
        doctor_id, _OPEN,
    )  # fmt: skip


async def stands(db: Connection, submission: Submission) -> bool:
    """Whether the doctor is verified by this very submission."""
    return await db.fetchval(
        """SELECT EXISTS (SELECT FROM doctors WHERE id = $1 AND verification_id = $2
                          AND coalesce(verified_at, verified_before) IS NOT NULL)""",
        submission.doctor_id, submission.id,
    )  # fmt: skip


async def suspend(db: Connection, doctor_id: UUID, reason: bytes) -> None:
    """A locked doctor may not practise any more. What was verified is kept for when that is taken back."""
    await db.execute(
        """UPDATE doctors SET suspended_at = now(), suspension_reason = $2, verified_before = verified_at,
                  verified_at = NULL, version = version + 1, updated_at = now()
           WHERE id = $1 AND suspended_at IS NULL""",
        doctor_id, reason,
    )  # fmt: skip


async def reinstate(db: Connection, doctor_id: UUID) -> None:
    """A locked doctor may practise again, as far as they are verified."""
    await db.execute(
        """UPDATE doctors SET suspended_at = NULL, suspension_reason = NULL, verified_at = verified_before,
                  verified_before = NULL, version = version + 1, updated_at = now()
           WHERE id = $1 AND suspended_at IS NOT NULL""",
        doctor_id,
    )  # fmt: skip


async def practice(db: Connection, doctor_id: UUID) -> Practice:
    """Where this doctor stands. Raises NotFound."""
    row = await db.fetchrow(
        """SELECT suspended_at IS NOT NULL AS suspended, suspension_reason, verified_at IS NOT NULL AS verified,
                  NULLIF(verified_until, 'infinity') AS verified_until, verified_until <= now() AS lapsed
           FROM doctors WHERE id = $1""",
        doctor_id,
    )  # fmt: skip
    if row is None:
        raise NotFound
    last = await db.fetchrow(f"{_SUBMISSION} WHERE doctor_id = $1 ORDER BY id DESC LIMIT 1", doctor_id)
    submission = _submission(last) if last else None
    return Practice(
        standing=_standing(row, submission),
        verified_until=row["verified_until"] if row["verified"] else None,
        suspension_reason=row["suspension_reason"],
        submission=submission,
    )


def _standing(row: Row, submission: Submission | None) -> Standing:
    if row["suspended"]:
        return Standing.SUSPENDED
    if row["verified"]:
        return Standing.LAPSED if row["lapsed"] else Standing.VERIFIED
    if submission is None or submission.state in {State.SUPERSEDED, State.APPROVED}:
        return Standing.UNSUBMITTED
    return Standing(submission.state)


async def page(db: Connection, state: State, after: UUID | None, limit: int) -> list[Listed]:
    """Up to `limit` submissions in this state, the oldest first, with their doctors."""
    rows = await db.fetch(
        f"""{_SUBMISSION} WHERE v.state = $1 AND ($2::uuid IS NULL OR v.id > $2) ORDER BY v.id LIMIT $3""",
        state, after, limit,
    )  # fmt: skip
    found = await doctors.several(db, [row["doctor_id"] for row in rows])
    return [Listed(_submission(row), found[row["doctor_id"]]) for row in rows]


async def has_account(db: Connection, doctor_id: UUID) -> bool:
    """Whether the account is a doctor's still, and active."""
    return await db.fetchval(
        "SELECT EXISTS (SELECT FROM users WHERE id = $1 AND roles @> ARRAY[$2] AND suspended_at IS NULL)",
        doctor_id, str(Role.DOCTOR),
    )  # fmt: skip


async def may_practise(db: Connection, doctor_id: UUID) -> bool:
    """Whether neither the doctor nor the account is suspended; a verification is another thing."""
    barred = await db.fetchval("SELECT suspended_at IS NOT NULL FROM doctors WHERE id = $1", doctor_id)
    return barred is False and await has_account(db, doctor_id)


async def administrators(db: Connection) -> list[UUID]:
    """Who may decide."""
    rows = await db.fetch(
        """SELECT id FROM users WHERE roles @> ARRAY[$1] AND suspended_at IS NULL AND email_verified_at IS NOT NULL
           ORDER BY id""",
        str(Role.ADMIN),
    )  # fmt: skip
    return [row["id"] for row in rows]


def _submission(row: Row | None) -> Submission:
    if row is None:
        raise NotFound
    return Submission(
        id=row["id"],
        doctor_id=row["doctor_id"],
        state=row["state"],
        who=Identity(
            full_name=row["full_name"],
            registration_number=row["registration_number"],
            registration_council=row["registration_council"],
        ),
        registration_valid_until=row["registration_valid_until"],
        documents=row["documents"],
        note=row["note"],
        reason=row["reason"],
        answer_by=row["answer_by"],
        decided_at=row["decided_at"],
        submitted_at=row["submitted_at"],
    )
