"""Reviews: what a patient thought of a completed visit, how long it may change, and what it adds to a rating."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, NamedTuple
from uuid import UUID

from pydantic import AfterValidator, Field

from amrutam.domain.booking import Booking, Status
from amrutam.domain.common import Instant, Message, Prose
from amrutam.domain.errors import InvalidState, NotFound
from amrutam.domain.events import Event

LONGEST_TEXT = 2000


class ReviewState(StrEnum):
    """Where a review stands. Those that are published are shown and count."""

    PENDING = "pending"
    PUBLISHED = "published"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


class Decision(StrEnum):
    """What a moderator decides."""

    PUBLISH = "publish"
    REJECT = "reject"


# A moderator may take a decision back: a complaint comes after publishing, an appeal after rejecting.
_DECIDED: Mapping[Decision, ReviewState] = {
    Decision.PUBLISH: ReviewState.PUBLISHED,
    Decision.REJECT: ReviewState.REJECTED,
}


def _nothing_if_blank(text: str | None) -> str | None:
    return text or None


Stars = Annotated[int, Field(ge=1, le=5, strict=True, examples=[5])]
Text = Annotated[
    Annotated[Prose, Field(max_length=LONGEST_TEXT)] | None,
    AfterValidator(_nothing_if_blank),
    Field(description="what the patient says; shown once somebody has read it"),
]


class WriteReview(Message):
    """Review a visit."""

    booking_id: UUID = Field(description="the visit: a completed booking of yours with this doctor")
    stars: Stars
    text: Text = None


class EditReview(Message):
    """Change a review. What is left out stays; a `text` of null takes the text away."""

    stars: Stars = Field(default=5, description="left out: as they are")  # the default is never read
    text: Text = None

    def stars_of(self, review: "Review") -> int:
        """The stars that the review has then."""
        return self.stars if "stars" in self.model_fields_set else review.stars

    def text_of(self, text: str | None) -> str | None:
        """The text that the review has then, which had `text`."""
        return self.text if "text" in self.model_fields_set else text


class Moderate(Message):
    """Decide whether a review is shown."""

    decision: Decision
    reason: Annotated[Prose, Field(min_length=1, max_length=500)] | None = Field(
        None, description="why, in words for the author, who is told it when the review is rejected"
    )


class Review(Message):
    """A review as rows know it. `text` and `moderation_reason` are sealed with the patient's key."""

    id: UUID
    booking_id: UUID
    doctor_id: UUID
    patient_id: UUID
    stars: int
    text: bytes | None
    state: ReviewState
    version: int
    editable_until: Instant
    moderated_by: UUID | None
    moderated_at: Instant | None
    moderation_reason: bytes | None
    created_at: Instant
    updated_at: Instant

    @property
    def weight(self) -> "Weight":
        """What it adds to the doctor's rating as it stands."""
        return Weight(self.stars, 1) if self.state is ReviewState.PUBLISHED else NOTHING

    def check_editable(self, now: datetime) -> None:
        """Raises InvalidState once the time for changing it has passed."""
        if now >= self.editable_until:
            raise InvalidState("The time for changing this review has passed; it can still be withdrawn.")

    def decided(self, decision: Decision) -> ReviewState:
        """The state to which a moderator's decision takes it. Raises InvalidState where there is nothing to decide."""
        then = _DECIDED[decision]
        if self.text is None:
            raise InvalidState("The review has no text: there is nothing to decide.")
        if then is self.state:
            raise InvalidState(f"The review is {then} already.")
        return then


class Weight(NamedTuple):
    """Stars and number of reviews."""

    stars: int
    number: int

    def since(self, before: "Weight") -> "Weight":
        """By how much it differs from what it was before."""
        return Weight(self.stars - before.stars, self.number - before.number)


NOTHING = Weight(0, 0)


def first_state(text: str | None) -> ReviewState:
    """Stars alone are shown at once; words wait until somebody has read them."""
    return ReviewState.PENDING if text else ReviewState.PUBLISHED


def check_reviewable(booking: Booking, doctor_id: UUID) -> None:
    """Raises NotFound for a visit of another doctor, InvalidState for one that is not completed."""
    if booking.doctor_id != doctor_id:
        raise NotFound
    if booking.status is not Status.COMPLETED:
        raise InvalidState(f"The booking is {booking.status}; only a completed one is reviewed.", pointer="/booking_id")


class ReviewChanged(Event):
    """A review, the subject, was written, edited, moderated or withdrawn."""

    type: ClassVar[str] = "review.changed"
    doctor_id: UUID
    state: ReviewState


class ReviewRejected(Event):
    """A moderator rejected a review; its author is the subject."""

    type: ClassVar[str] = "review.rejected"
    doctor_id: UUID
    review_id: UUID
