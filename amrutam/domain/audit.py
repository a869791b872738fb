"""Who is responsible for an act, and what the audit trail tells of it."""

from enum import StrEnum
from uuid import UUID

from amrutam.domain.common import Instant, Message, Role


class Outcome(StrEnum):
    """What became of it."""

    DONE = "done"
    REFUSED = "refused"  # who tried did not prove who they are: a wrong password, code or token
    DENIED = "denied"  # somebody known asked for what is not theirs


class Actor(Message):
    """Who acts, in which role, by which request.

    `address` (where from) and `reason` are sealed with the data key of the person `sealed_for`; an act that travels
    through a workflow carries them so.
    """

    id: UUID
    role: Role
    request_id: str
    trace_id: str = ""
    address: bytes | None = None
    reason: bytes | None = None
    sealed_for: UUID | None = None


class AuditEntry(Message):
    """One row of the trail, as an administrator reads it."""

    id: UUID
    at: Instant
    actor_id: UUID | None
    actor_role: str
    action: str
    subject: UUID
    patient_id: UUID | None
    outcome: Outcome
    reason: str | None
    address: str | None
    request_id: str
    trace_id: str


class Access(Message):
    """Somebody else's act on a patient's data, as the patient reads it."""

    id: UUID
    at: Instant
    actor_name: str | None
    actor_role: str
    action: str
    subject: UUID
