"""Exceptions to the weekly hours: times that a doctor takes back, and hours that come beside the weekly ones."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import Field, ValidationInfo, field_validator

from amrutam.domain.common import Instant, Message, Prose
from amrutam.domain.errors import Fault, InvalidState, ValidationFailed
from amrutam.domain.events import Event
from amrutam.domain.hours import Modes

LONGEST = timedelta(days=366)
LONGEST_EXTRA = timedelta(days=1)
# Exceptions of one doctor that are not over: each is read whenever slots are.
MOST = 500


class Kind(StrEnum):
    """What an exception is to the weekly hours."""

    LEAVE = "leave"  # the doctor is away
    BLOCK = "block"  # the doctor has something else to do
    EXTRA = "extra"  # the doctor offers more


# Of the doctor's own affairs. Nobody else is shown it.
Note = Annotated[Prose, Field(max_length=500, description="for the doctor alone")]


class AddException(Message):
    """Offer nothing from `starts_at` up to `ends_at`, or for `extra` something. What is booked already stands.

    A leave or block wins over extra hours, whichever came first; where weekly hours hold, extra ones add nothing.
    """

    kind: Kind = Kind.LEAVE
    starts_at: Instant = Field(description="for `extra` a whole minute: the first slot begins then")
    ends_at: Instant = Field(description="after `starts_at`, at most 366 days later; for `extra` 24 hours")
    modes: Modes | None = Field(default=None, description="how one can be met at extra hours; for `extra` alone")
    note: Note | None = None

    @field_validator("starts_at")
    @classmethod
    def _on_the_minute(cls, starts_at: datetime, info: ValidationInfo) -> datetime:
        if info.data.get("kind") is Kind.EXTRA and (starts_at.second or starts_at.microsecond):
            raise ValueError("should be a whole minute, since slots begin there")
        return starts_at

    @field_validator("ends_at")
    @classmethod
    def _after_the_start_but_not_for_ever(cls, ends_at: datetime, info: ValidationInfo) -> datetime:
        starts_at = info.data.get("starts_at")
        longest = LONGEST_EXTRA if info.data.get("kind") is Kind.EXTRA else LONGEST
        if starts_at and ends_at <= starts_at:
            raise ValueError("should be after starts_at")
        if starts_at and ends_at - starts_at > longest:
            raise ValueError(f"should be at most {longest // timedelta(hours=1)} hours after starts_at")
        return ends_at

    @field_validator("modes")
    @classmethod
    def _of_extra_hours_alone(cls, modes: Modes | None, info: ValidationInfo) -> Modes | None:
        if modes and info.data.get("kind") is not Kind.EXTRA:
            raise ValueError("should be left out: only extra hours have modes")
        return modes

    def check(self, now: datetime, slot_minutes: int, ahead: int) -> None:
        """Whether it makes sense at `now` for a doctor with `ahead` exceptions that are not over.

        Raises ValidationFailed when all of it has passed (it may have begun: who falls ill says so afterwards), when
        extra hours name no mode or hold no slot; InvalidState when there are too many.
        """
        if self.ends_at <= now:
            raise _refused("/ends_at", "past", "This time has passed.")
        if self.kind is Kind.EXTRA and not self.modes:
            raise _refused("/modes", "missing", "Should name at least one mode of the extra hours.")
        if self.kind is Kind.EXTRA and self.ends_at - self.starts_at < timedelta(minutes=slot_minutes):
            detail = f"These hours are shorter than a slot of {slot_minutes} minutes."
            raise _refused("/ends_at", "window_too_short", detail)
        if ahead >= MOST:
            raise InvalidState(f"You have {MOST} exceptions to come; remove some first.")


def _refused(pointer: str, code: str, detail: str) -> ValidationFailed:
    return ValidationFailed(faults=[Fault(pointer=pointer, code=code, detail=detail)])


class KeptException(Message):
    """A time at which the weekly hours do not hold, or extra ones do."""

    id: UUID
    kind: Kind
    starts_at: Instant
    ends_at: Instant
    modes: Modes | None = Field(description="of extra hours; null for a leave or block")
    note: str | None = Field(description="for the doctor alone")


class ExceptionAdded(KeptException):
    """The exception, and the bookings that stand although the doctor is away."""

    bookings: list[UUID] = Field(
        description="ids of bookings that overlap a leave or block; they are kept until somebody acts"
    )


class AvailabilityChanged(Event):
    """The subject's weekly hours or exceptions are other ones now."""

    type: ClassVar[str] = "availability.changed"
