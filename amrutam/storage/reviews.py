"""Reviews as rows, and the sum of them in a doctor's row.

Whoever changes a review locks it first and its doctor's row last, so that nobody waits in a circle.
"""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from amrutam.crypto import place
from amrutam.domain.errors import NotFound
from amrutam.domain.reviews import NOTHING, Review, ReviewState, Weight
from amrutam.storage.person_keys import DataKey, PersonKeys
from amrutam.storage.pool import Connection, Row

_REVIEW = """
SELECT id, booking_id, doctor_id, patient_id, stars, text, state, version, editable_until, moderated_by, moderated_at,
       moderation_reason, created_at, updated_at
FROM reviews"""


class NewReview(NamedTuple):
    """A row to be. `text` is sealed."""

    id: UUID
    booking_id: UUID
    doctor_id: UUID
    patient_id: UUID
    stars: int
    text: bytes | None
    state: ReviewState
    editable_until: datetime


class PublicReview(NamedTuple):
    """What everybody may see of a review."""

    id: UUID
    stars: int
    text: str | None
    created_at: datetime


class Rejection(NamedTuple):
    """What its author is told of a review that was rejected."""

    doctor_name: str
    reason: str | None


async def insert(db: Connection, review: NewReview) -> Review | None:
    """The new row; None when the visit has a review already."""
    row = await db.fetchrow(
        """INSERT INTO reviews (id, booking_id, doctor_id, patient_id, stars, text, state, editable_until)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
           ON CONFLICT (booking_id) DO NOTHING RETURNING *""",
        *review,
    )  # fmt: skip
    return _review(row) if row else None


async def find(db: Connection, review_id: UUID) -> Review | None:
    """The review as it stands, unless it was withdrawn."""
    row = await db.fetchrow(f"{_REVIEW} WHERE id = $1 AND state <> 'withdrawn'", review_id)
    return _review(row) if row else None


async def lock(db: Connection, review_id: UUID) -> Review:
    """The review, kept from other transactions until this one ends. Raises NotFound, also for a withdrawn one."""
    row = await db.fetchrow(f"{_REVIEW} WHERE id = $1 AND state <> 'withdrawn' FOR UPDATE", review_id)
    if row is None:
        raise NotFound
    return _review(row)


async def edit(db: Connection, review_id: UUID, stars: int, text: bytes | None, state: ReviewState) -> Review:
    """A locked review, changed by its author."""
    row = await db.fetchrow(
        """UPDATE reviews SET stars = $2, text = $3, state = $4, version = version + 1, updated_at = now()
           WHERE id = $1 RETURNING *""",
        review_id, stars, text, state,
    )  # fmt: skip
    return _changed(row)


async def moderate(db: Connection, review_id: UUID, state: ReviewState, by: UUID, reason: bytes | None) -> Review:
    """A locked review, with what a moderator decided of it."""
    row = await db.fetchrow(
        """UPDATE reviews SET state = $2, moderated_by = $3, moderation_reason = $4, moderated_at = now(),
                  version = version + 1, updated_at = now()
           WHERE id = $1 RETURNING *""",
        review_id, state, by, reason,
    )  # fmt: skip
    return _changed(row)


async def withdraw(db: Connection, review_id: UUID) -> Review:
    """A locked review, taken back: its words are gone."""
    row = await db.fetchrow(
        """UPDATE reviews SET state = 'withdrawn', text = NULL, moderation_reason = NULL, version = version + 1,
                  updated_at = now()
           WHERE id = $1 RETURNING *""",
        review_id,
    )
    return _changed(row)


async def count(db: Connection, doctor_id: UUID, difference: Weight) -> None:
    """Add to the doctor's rating what a review has changed. The last lock that a transaction takes."""
    if difference == NOTHING:
        return
    await db.execute(
        "UPDATE doctors SET rating_sum = rating_sum + $2, rating_count = rating_count + $3 WHERE id = $1",
        doctor_id, difference.stars, difference.number,
    )  # fmt: skip


async def published(
    db: Connection, keys: PersonKeys, doctor_id: UUID, before: UUID | None, limit: int
) -> list[PublicReview]:
    """Up to `limit` of a doctor's published reviews, the newest first, before the one with the id `before`.

    The words of somebody who was erased are gone; their stars stay. Raises SealError, KmsUnavailable.
    """
    rows = await db.fetch(
        f"""{_REVIEW} WHERE doctor_id = $1 AND state = 'published' AND ($2::uuid IS NULL OR id < $2)
           ORDER BY id DESC LIMIT $3""",
        doctor_id, before, limit,
    )  # fmt: skip
    reviews = [_review(row) for row in rows]
    held = await keys.several(db, {each.patient_id for each in reviews if each.text})
    return [
        PublicReview(each.id, each.stars, text_of(each, held.get(each.patient_id)), each.created_at) for each in reviews
    ]


async def by_state(db: Connection, state: ReviewState, after: UUID | None, limit: int) -> list[Review]:
    """Up to `limit` reviews in this state, the oldest first, after the one with the id `after`."""
    rows = await db.fetch(
        f"{_REVIEW} WHERE state = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3", state, after, limit
    )
    return [_review(row) for row in rows]


async def of_patient(db: Connection, patient_id: UUID, before: UUID | None, limit: int) -> list[Review]:
    """Up to `limit` of a patient's reviews, the newest first, before the one with the id `before`."""
    rows = await db.fetch(
        f"""{_REVIEW} WHERE patient_id = $1 AND state <> 'withdrawn' AND ($2::uuid IS NULL OR id < $2)
           ORDER BY id DESC LIMIT $3""",
        patient_id, before, limit,
    )  # fmt: skip
    return [_review(row) for row in rows]


async def rejection(db: Connection, keys: PersonKeys, review_id: UUID) -> Rejection | None:
    """What to tell the author; None when the review is not rejected any more. Raises SealError, KmsUnavailable."""
    review = await find(db, review_id)
    if review is None or review.state is not ReviewState.REJECTED:
        return None
    name = await db.fetchval("SELECT full_name FROM doctors WHERE id = $1", review.doctor_id)
    key = (await keys.several(db, [review.patient_id])).get(review.patient_id)
    return Rejection(name, reason_of(review, key))


def sealed(key: DataKey, review_id: UUID, column: str, text: str | None) -> bytes | None:
    """Words as they lie in a column of the row."""
    return key.seal(text, place("reviews", review_id, column)) if text else None


def text_of(review: Review, key: DataKey | None) -> str | None:
    """The author's words; None where there are none, or their key is gone. Raises SealError."""
    return _opened(review, "text", review.text, key)


def reason_of(review: Review, key: DataKey | None) -> str | None:
    """The moderator's words, as `text_of`."""
    return _opened(review, "moderation_reason", review.moderation_reason, key)


def _opened(review: Review, column: str, words: bytes | None, key: DataKey | None) -> str | None:
    return key.open(words, place("reviews", review.id, column)) if words and key else None


def _changed(row: Row | None) -> Review:
    if row is None:
        raise NotFound
    return _review(row)


def _review(row: Row) -> Review:
    return Review.model_validate(dict(row))
