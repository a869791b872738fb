"""Bookings that the clinic calls off, because their doctor is away or may not practise any more."""

from enum import StrEnum
from uuid import UUID

from amrutam.domain.audit import Actor
from amrutam.domain.common import Instant, Message


class Cause(StrEnum):
    """Why."""

    DOCTOR_AWAY = "doctor_away"
    DOCTOR_SUSPENDED = "doctor_suspended"


class CallOff(Message):
    """End one booking. `cause_id` names what it is for, so that asking twice ends it once.

    With `starts_at` only one that is for this time still: its patient may just have moved it.
    """

    booking_id: UUID
    cause: Cause
    cause_id: UUID
    starts_at: Instant | None = None
    actor: Actor


class Ahead(Message):
    """Bookings of a doctor who may not practise, that stand and begin at `since` or later, by id, after `after`."""

    doctor_id: UUID
    since: Instant
    after: UUID | None = None


class Suspension(Message):
    """A doctor who was suspended, by whom; `id` is that of the event."""

    id: UUID
    doctor_id: UUID
    by: UUID
