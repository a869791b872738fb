"""Reviews as their readers see them."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from pydantic import Field

from amrutam.domain.common import Instant, Message
from amrutam.domain.reviews import Review, ReviewState
from amrutam.storage import reviews as storage
from amrutam.storage.person_keys import DataKey
from amrutam.storage.pool import Connection
from web import paging
from web.context import Call


class PublicReview(Message):
    """A review as everybody sees it, who never learn whose it is."""

    id: UUID
    stars: int
    text: str | None
    created_at: Instant


class PublicReviewPage(Message):
    """A page of a doctor's reviews, the newest first."""

    items: list[PublicReview]
    next_cursor: str | None


class OwnReview(Message):
    """A review as its author sees it."""

    id: UUID
    booking_id: UUID
    doctor_id: UUID
    stars: int
    text: str | None
    state: ReviewState = Field(description="published ones are shown, and count in the doctor's rating")
    moderation_reason: str | None = Field(description="why it was rejected")
    version: int
    editable_until: Instant
    editable: bool = Field(description="whether it may still be changed; it may always be withdrawn")
    created_at: Instant
    updated_at: Instant


class OwnReviewPage(Message):
    """A page of the caller's reviews, the newest first."""

    items: list[OwnReview]
    next_cursor: str | None


class ModeratedReview(Message):
    """A review as moderators see it."""

    id: UUID
    booking_id: UUID
    doctor_id: UUID
    patient_id: UUID
    stars: int
    text: str | None
    state: ReviewState
    moderated_by: UUID | None
    moderated_at: Instant | None
    moderation_reason: str | None
    version: int = Field(description='to be sent back with a decision: `If-Match: "v<version>"`')
    created_at: Instant
    updated_at: Instant


class ModeratedReviewPage(Message):
    """A page of reviews in one state, the oldest first."""

    items: list[ModeratedReview]
    next_cursor: str | None


class ReviewQuery(paging.Page):
    """Which reviews to list."""

    state: ReviewState = ReviewState.PENDING


def own(review: Review, key: DataKey | None, now: datetime) -> OwnReview:
    """For its author, at `now`. Raises SealError."""
    return OwnReview(
        id=review.id,
        booking_id=review.booking_id,
        doctor_id=review.doctor_id,
        stars=review.stars,
        text=storage.text_of(review, key),
        state=review.state,
        moderation_reason=storage.reason_of(review, key) if review.state is ReviewState.REJECTED else None,
        version=review.version,
        editable_until=review.editable_until,
        editable=now < review.editable_until,
        created_at=review.created_at,
        updated_at=review.updated_at,
    )


def moderated(review: Review, key: DataKey | None) -> ModeratedReview:
    """For moderators. Raises SealError."""
    return ModeratedReview(
        id=review.id,
        booking_id=review.booking_id,
        doctor_id=review.doctor_id,
        patient_id=review.patient_id,
        stars=review.stars,
        text=storage.text_of(review, key),
        state=review.state,
        moderated_by=review.moderated_by,
        moderated_at=review.moderated_at,
        moderation_reason=storage.reason_of(review, key),
        version=review.version,
        created_at=review.created_at,
        updated_at=review.updated_at,
    )


async def all_moderated(call: Call, db: Connection, found: Sequence[Review]) -> list[ModeratedReview]:
    """Each of them for moderators. Raises SealError, KmsUnavailable."""
    keys = await call.services.person_keys.several(db, {each.patient_id for each in found})
    return [moderated(each, keys.get(each.patient_id)) for each in found]
