"""Reminders of visits: when they are due, and of which of them a person wants to hear."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID

from pydantic import Field

from amrutam.domain.common import Instant, Message
from amrutam.domain.errors import Fault, ValidationFailed
from amrutam.domain.events import Event

# One that comes later than this is no help: it is left out, and the next one is waited for.
LATE = timedelta(minutes=5)


class Preferences(Message):
    """Of what somebody wants to hear."""

    reminder_minutes: list[int] = Field(
        description="how long before a visit to be reminded, in minutes; of those that the clinic offers; empty: never",
        examples=[[1440, 60]],
        max_length=10,
    )

    def check(self, offered: Sequence[int]) -> None:
        """Raises ValidationFailed for what the clinic does not offer."""
        for place, minutes in enumerate(self.reminder_minutes):
            if minutes not in offered:
                detail = f"One of: {', '.join(map(str, offered))}."
                fault = Fault(pointer=f"/reminder_minutes/{place}", code="not_offered", detail=detail)
                raise ValidationFailed(faults=[fault])


class ReminderDue(Event):
    """A visit comes nearer. Its patient may not want to hear of it: that is looked up when the mail is sent."""

    type: ClassVar[str] = "visit.reminder_due"
    doctor_id: UUID
    patient_id: UUID
    starts_at: Instant
    minutes: int


def next_reminder(starts_at: datetime, now: datetime, minutes: Sequence[int]) -> datetime | None:
    """The first moment later than `now` that is so many minutes before the visit; None where there is none."""
    moments = (starts_at - timedelta(minutes=each) for each in minutes)
    return min((moment for moment in moments if moment > now), default=None)
