"""Verifications as doctors and administrators see them, and what they may ask for."""

from datetime import date
from enum import StrEnum
from uuid import UUID

from pydantic import Field, ValidationInfo, field_validator

from amrutam.crypto import place
from amrutam.domain.common import Instant, Message, Prose
from amrutam.domain.doctor import Doctor
from amrutam.domain.verification import Practice, Standing, State, Submission
from amrutam.storage.person_keys import DataKey
from web import paging

MOST_DOCUMENTS = 20


class SubmitVerification(Message):
    """Have your name and registration checked, as your profile says them; or answer what was asked for."""

    registration_valid_until: date = Field(description="the last day on which the registration is good")
    documents: list[UUID] = Field(
        default=[], max_length=MOST_DOCUMENTS, description="ids of what you uploaded: the certificate, an identity card"
    )
    note: Prose | None = Field(None, description="to the administrators; sealed")


class Verdict(StrEnum):
    """What an administrator may decide of a doctor."""

    APPROVE = "approve"
    REJECT = "reject"
    ASK = "ask"
    SUSPEND = "suspend"
    REINSTATE = "reinstate"


NEED_REASON = frozenset({Verdict.REJECT, Verdict.ASK, Verdict.SUSPEND})


class DecideVerification(Message):
    """Decide of a doctor: of what they submitted, or whether they may practise at all."""

    decision: Verdict
    reason: Prose | None = Field(
        default=None,
        validate_default=True,
        description="to the doctor, sealed; needed to reject, to ask for more, and to suspend",
    )
    registration_valid_until: date | None = Field(
        None, description="the last day, where the council's register says another one than the doctor"
    )

    @field_validator("reason")
    @classmethod
    def _is_given(cls, reason: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("decision") in NEED_REASON and not reason:
            raise ValueError(f"should say to the doctor why, to {info.data['decision']}")
        return reason


class SubmissionView(Message):
    """A submission."""

    id: UUID
    doctor_id: UUID
    state: State
    full_name: str
    registration_number: str
    registration_council: str
    registration_valid_until: date
    documents: list[UUID]
    note: str | None = Field(description="the doctor's words to the administrators")
    reason: str | None = Field(description="an administrator's words to the doctor")
    answer_by: Instant | None = Field(description="until when the doctor is to answer, where more is wanted")
    submitted_at: Instant
    decided_at: Instant | None

    @classmethod
    def of(cls, submission: Submission, key: DataKey) -> "SubmissionView":
        """With its words opened."""
        return cls(
            id=submission.id,
            doctor_id=submission.doctor_id,
            state=submission.state,
            **submission.who.model_dump(),
            registration_valid_until=submission.registration_valid_until,
            documents=submission.documents,
            note=_words(key, submission.note, submission.id, "note"),
            reason=_words(key, submission.reason, submission.id, "reason"),
            answer_by=submission.answer_by,
            submitted_at=submission.submitted_at,
            decided_at=submission.decided_at,
        )


class PracticeView(Message):
    """Where a doctor stands, and what they submitted last."""

    standing: Standing
    verified_until: Instant | None = Field(description="the end of the registration that was checked")
    suspension_reason: str | None
    submission: SubmissionView | None

    @classmethod
    def of(cls, practice: Practice, doctor_id: UUID, key: DataKey) -> "PracticeView":
        """With its words opened."""
        sealed = practice.suspension_reason
        return cls(
            standing=practice.standing,
            verified_until=practice.verified_until,
            suspension_reason=key.open(sealed, suspension_place(doctor_id)) if sealed else None,
            submission=SubmissionView.of(practice.submission, key) if practice.submission else None,
        )


class ListedSubmission(Message):
    """A submission with its doctor's profile as it is now."""

    doctor: Doctor
    submission: SubmissionView


class SubmissionPage(Message):
    """A page of submissions, the oldest first."""

    items: list[ListedSubmission]
    next_cursor: str | None


class SubmissionQuery(paging.Page):
    """Which submissions to list."""

    verification: State = Field(State.PENDING, description="their state")


def words_place(submission_id: UUID, column: str) -> bytes:
    """Where a submission's words lie."""
    return place("verifications", submission_id, column)


def suspension_place(doctor_id: UUID) -> bytes:
    """Where the reason of a suspension lies."""
    return place("doctors", doctor_id, "suspension_reason")


def _words(key: DataKey, sealed: bytes | None, submission_id: UUID, column: str) -> str | None:
    return key.open(sealed, words_place(submission_id, column)) if sealed else None
