"""Exceptions to the weekly hours: times that a doctor takes back."""

from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID

from pydantic import Field, ValidationInfo, field_validator

from amrutam.domain.common import Instant, Message
from amrutam.domain.errors import Fault, ValidationFailed
from amrutam.domain.events import Event

LONGEST = timedelta(days=366)


class TakeLeave(Message):
    """Offer nothing from `starts_at` up to `ends_at`. What is booked already stands."""

    starts_at: Instant
    ends_at: Instant = Field(description="after `starts_at`, at most 366 days later")

    @field_validator("ends_at")
    @classmethod
    def _after_the_start_but_not_for_ever(cls, ends_at: datetime, info: ValidationInfo) -> datetime:
        starts_at = info.data.get("starts_at")
        if starts_at and ends_at <= starts_at:
            raise ValueError("should be after starts_at")
        if starts_at and ends_at - starts_at > LONGEST:
            raise ValueError(f"should be at most {LONGEST.days} days after starts_at")
        return ends_at

    def check_not_over(self, now: datetime) -> None:
        """Raises ValidationFailed when all of it has passed. It may have begun: who falls ill says so afterwards."""
        if self.ends_at <= now:
            raise ValidationFailed(faults=[Fault(pointer="/ends_at", code="past", detail="This time has passed.")])


class Leave(Message):
    """A time at which the weekly hours do not hold."""

    id: UUID
    starts_at: Instant
    ends_at: Instant


class LeaveTaken(Leave):
    """The time taken back, and the bookings within it that stand nevertheless."""

    bookings: list[UUID] = Field(description="ids of bookings that overlap it; they are kept until somebody acts")


class AvailabilityChanged(Event):
    """The subject's weekly hours or exceptions are other ones now."""

    type: ClassVar[str] = "availability.changed"
