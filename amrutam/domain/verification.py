"""Whether a doctor is who they say: a submission, an administrator's decision, and the end of a registration."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from pydantic import Field

from amrutam.domain.audit import Actor
from amrutam.domain.common import Instant, Message
from amrutam.domain.doctor import Doctor
from amrutam.domain.errors import Fault, InvalidState, ValidationFailed
from amrutam.domain.events import Event


class State(StrEnum):
    """Where a submission stands."""

    PENDING = "pending"  # an administrator is to decide
    MORE_WANTED = "more_wanted"  # the doctor is to answer
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"  # the doctor did not answer in time
    SUPERSEDED = "superseded"  # name or registration were changed meanwhile


NEXT: Mapping[State, frozenset[State]] = {
    State.PENDING: frozenset({State.MORE_WANTED, State.APPROVED, State.REJECTED, State.SUPERSEDED}),
    State.MORE_WANTED: frozenset({State.PENDING, State.REJECTED, State.EXPIRED, State.SUPERSEDED}),
    State.APPROVED: frozenset(),
    State.REJECTED: frozenset(),
    State.EXPIRED: frozenset(),
    State.SUPERSEDED: frozenset(),
}
OPEN = frozenset({State.PENDING, State.MORE_WANTED})


class Standing(StrEnum):
    """Where a doctor stands."""

    UNSUBMITTED = "unsubmitted"
    PENDING = "pending"
    MORE_WANTED = "more_wanted"
    REJECTED = "rejected"
    EXPIRED = "expired"
    VERIFIED = "verified"
    LAPSED = "lapsed"
    SUSPENDED = "suspended"


class Decision(StrEnum):
    """What an administrator decides of a submission."""

    APPROVE = "approve"
    REJECT = "reject"
    ASK = "ask"


DECIDED: Mapping[Decision, State] = {
    Decision.APPROVE: State.APPROVED,
    Decision.REJECT: State.REJECTED,
    Decision.ASK: State.MORE_WANTED,
}

# Administrators are reminded of a submission after two days, and then each week.
REMIND_FIRST, REMIND_AGAIN = timedelta(days=2), timedelta(days=7)
# A doctor has so long to answer, and is reminded when so much of it is left.
ANSWER_WITHIN, REMIND_ANSWER = timedelta(days=30), timedelta(days=7)
# Before a registration lapses its doctor is reminded.
REMIND_LAPSE: Sequence[timedelta] = (timedelta(days=30), timedelta(days=7))
# Registrations are renewed every few years; a date beyond is a slip of the pen.
LONGEST = timedelta(days=366 * 30)
# In seconds: a cache keeps nothing for no time at all.
SHORTEST = 0.1


class Identity(Message):
    """What is verified: the name, and the licence to practise."""

    full_name: str
    registration_number: str
    registration_council: str

    @classmethod
    def of(cls, doctor: Doctor) -> "Identity":
        """What the profile says now. Raises ValidationFailed for a profile without a registration."""
        if doctor.registration is None:
            detail = "Your profile names no registration: its number and council. PUT /v1/doctors/me first."
            raise ValidationFailed(faults=[Fault(pointer="/registration", code="missing", detail=detail)])
        return cls(
            full_name=doctor.full_name,
            registration_number=doctor.registration.number,
            registration_council=doctor.registration.council,
        )


class Submission(Message):
    """What a doctor has submitted, and what became of it. The words in it are sealed with the doctor's key."""

    id: UUID
    doctor_id: UUID
    state: State
    who: Identity
    registration_valid_until: date
    documents: list[UUID]
    note: bytes | None = None
    reason: bytes | None = None
    answer_by: Instant | None = None
    decided_at: Instant | None = None
    submitted_at: Instant

    def check_may_become(self, state: State) -> None:
        """Raises InvalidState."""
        if state not in NEXT[self.state]:
            raise InvalidState(f"This submission is {self.state.replace('_', ' ')}.")


class Practice(Message):
    """Where a doctor stands, and what was submitted last. The reason is sealed with the doctor's key."""

    standing: Standing
    verified_until: Instant | None
    suspension_reason: bytes | None
    submission: Submission | None


def valid_until(last_day: date) -> datetime:
    """The moment at which a registration that is good on `last_day` is not any more, by UTC."""
    return datetime(last_day.year, last_day.month, last_day.day, tzinfo=UTC) + timedelta(days=1)


def kept_for(seconds: float, now: datetime) -> float:
    """How long what shows who may be found may be kept: not over midnight by UTC, when registrations lapse."""
    return min(seconds, max((valid_until(now.date()) - now).total_seconds(), SHORTEST))


def check_valid_until(last_day: date, now: datetime) -> None:
    """Raises ValidationFailed for a registration that has lapsed, or never would."""
    if valid_until(last_day) <= now:
        detail = "This registration has lapsed: renew it with the council first."
    elif valid_until(last_day) - now > LONGEST:
        detail = "No registration is good for that long: give the last day on which it is."
    else:
        return
    raise ValidationFailed(faults=[Fault(pointer="/registration_valid_until", code="not_a_last_day", detail=detail)])


class Submit(Message):
    """Have name and registration checked. `id` is the operation's id, and the submission's."""

    id: UUID
    doctor_id: UUID
    registration_valid_until: date
    documents: list[UUID]
    note: bytes | None = Field(description="sealed with the doctor's key")
    actor: Actor


class AnswerMore(Message):
    """Answer what an administrator asked for."""

    operation_id: UUID
    submission_id: UUID
    registration_valid_until: date
    documents: list[UUID]
    note: bytes | None = Field(description="sealed with the doctor's key")
    actor: Actor


class Decide(Message):
    """An administrator's decision on a submission."""

    operation_id: UUID
    submission_id: UUID
    decision: Decision
    reason: bytes | None = Field(description="sealed with the doctor's key")
    registration_valid_until: date | None = Field(description="as the council says; None: as the doctor did")
    actor: Actor


class VerificationAwaited(Event):
    """A submission waits; the subject is one of the administrators who are told."""

    type: ClassVar[str] = "verification.awaited"
    submission_id: UUID


class VerificationMoved(Event):
    """A submission of the subject, a doctor, is in another state."""

    type: ClassVar[str] = "verification.moved"
    submission_id: UUID
    state: State


class AnswerStillWanted(Event):
    """The subject, a doctor, has not answered yet."""

    type: ClassVar[str] = "verification.answer_wanted"
    submission_id: UUID


class RegistrationLapses(Event):
    """The subject's registration will lapse, or has lapsed."""

    type: ClassVar[str] = "registration.lapses"
    submission_id: UUID
    lapsed: bool


class PracticeSuspended(Event):
    """The subject, a doctor, may not practise any more; their bookings to come are called off."""

    type: ClassVar[str] = "practice.suspended"
    by: UUID


class PracticeResumed(Event):
    """The subject, a doctor, may practise again."""

    type: ClassVar[str] = "practice.resumed"
