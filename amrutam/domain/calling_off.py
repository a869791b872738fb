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
    """Bookings of a doctor that stand and begin in a span of time, after the one with the id `after`, by id.

    `while_barred`: none as soon as the doctor may practise again.
    """

    doctor_id: UUID
    since: Instant
    until: Instant | None = None
    after: UUID | None = None
    while_barred: bool = False


class Suspension(Message):
    """A doctor who was suspended, by whom; `id` is that of the event."""

    id: UUID
    doctor_id: UUID
    by: UUID
