"""A day that a doctor gives up: nothing more can be booked on it, and what was booked is called off or moved."""

from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from pydantic import Field

from amrutam.domain.audit import Actor
from amrutam.domain.booking import UNPAID, Status
from amrutam.domain.common import Instant, Message
from amrutam.domain.errors import Fault, ValidationFailed
from amrutam.domain.events import Event
from amrutam.domain.wallclock import CalendarDate

# As long as a patient may take to choose another time; and how long before the visit they must have chosen, so that
# nobody sets out for a visit that is off.
ANSWER_WITHIN, ANSWER_BEFORE = timedelta(days=2), timedelta(hours=2)
# Who has less than this is not asked, but told.
SHORTEST_ANSWER = timedelta(hours=1)
FARTHEST = timedelta(days=366)


class Way(StrEnum):
    """What becomes of the bookings of the day."""

    CANCEL = "cancel"
    OFFER_TO_MOVE = "offer_to_move"


class CancelDay(Message):
    """Give up a date of the doctor's own calendar. `id` is the operation's, the exception's and the workflow's."""

    id: UUID
    doctor_id: UUID
    date: CalendarDate
    way: Way
    actor: Actor


class DayCancelled(Message):
    """The day is closed; `bookings` stood on it then, the earliest first."""

    id: UUID
    date: CalendarDate
    time_zone: str
    starts_at: Instant
    ends_at: Instant
    way: Way
    asked_at: Instant
    bookings: list[UUID] = Field(description="ids of those that are called off, or whose patients are asked to move")


class Appointment(Message):
    """A booking of the day that stands and has not begun."""

    id: UUID
    status: Status
    starts_at: Instant

    def answer_by(self, way: Way, asked_at: datetime) -> datetime:
        """Until when the patient may choose another time; `asked_at` where it is called off at once.

        Who has not paid yet has lost nothing and chooses afresh.
        """
        if way is Way.CANCEL or self.status in UNPAID:
            return asked_at
        latest = min(asked_at + ANSWER_WITHIN, self.starts_at - ANSWER_BEFORE)
        return latest if latest - asked_at >= SHORTEST_ANSWER else asked_at


class OfferMove(Message):
    """Ask a patient who booked `starts_at` to choose another time until `answer_by`. `cause_id` is the day's."""

    booking_id: UUID
    starts_at: Instant
    answer_by: Instant
    cause_id: UUID
    actor: Actor


class MoveOffered(Event):
    """The subject, a booking, will be called off unless its patient chooses another time."""

    type: ClassVar[str] = "booking.move_offered"
    doctor_id: UUID
    patient_id: UUID
    answer_by: Instant


class MoveWithdrawn(Event):
    """The doctor is there after all: the subject, a booking, stands as it was."""

    type: ClassVar[str] = "booking.move_withdrawn"
    doctor_id: UUID
    patient_id: UUID


def check_date(day: date, today: date) -> None:
    """Raises ValidationFailed for a date that is over, or farther ahead than anybody can book."""
    if day < today:
        raise _refused("past", f"This date has passed: on the doctor's calendar it is {today}.")
    if day - today > FARTHEST:
        raise _refused("too_far", f"Should be at most {FARTHEST.days} days ahead.")


def _refused(code: str, detail: str) -> ValidationFailed:
    return ValidationFailed(faults=[Fault(pointer="/date", code=code, detail=detail)])
