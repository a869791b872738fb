"""Who is told of which fact, and by which mail."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import Field

from amrutam.domain.auth import AccountVerificationRequested, RegistrationRepeated
from amrutam.domain.booking import (
    MOVABLE,
    Booking,
    BookingCancelled,
    BookingConfirmed,
    BookingMoved,
    Status,
)
from amrutam.domain.cancel_day import MoveOffered, MoveWithdrawn
from amrutam.domain.common import Instant, Message, Role
from amrutam.domain.email_change import EmailChanged, EmailChangeRequested, NewEmailOffered, OwnEmailWanted
from amrutam.domain.mfa import MfaDisabled, MfaEnabled, RecoveryCodesReplaced, RecoveryCodeUsed
from amrutam.domain.passwords import PasswordChanged, PasswordResetRequested
from amrutam.domain.reminders import ReminderDue
from amrutam.domain.reviews import ReviewRejected
from amrutam.domain.sessions import SessionOpenedOnNewDevice
from amrutam.domain.staff import StaffInvited
from amrutam.domain.verification import (
    AnswerStillWanted,
    PracticeResumed,
    PracticeSuspended,
    RegistrationLapses,
    State,
    VerificationAwaited,
    VerificationMoved,
)


class Template(StrEnum):
    """The mails that exist: `amrutam/templates/mails/<name>.txt` and `.html`."""

    VERIFY_EMAIL = "verify_email"
    ALREADY_REGISTERED = "already_registered"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - the name of a mail
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - the same
    CONFIRM_EMAIL_CHANGE = "confirm_email_change"
    CONFIRM_NEW_EMAIL = "confirm_new_email"
    OWN_EMAIL_WANTED = "own_email_wanted"
    EMAIL_CHANGED = "email_changed"
    MFA_ENABLED = "mfa_enabled"
    MFA_DISABLED = "mfa_disabled"
    RECOVERY_CODE_USED = "recovery_code_used"
    RECOVERY_CODES_REPLACED = "recovery_codes_replaced"
    NEW_DEVICE = "new_device"
    INVITATION = "invitation"
    REVIEW_REJECTED = "review_rejected"
    VERIFICATION_AWAITED = "verification_awaited"
    VERIFICATION_MORE_WANTED = "verification_more_wanted"
    VERIFICATION_APPROVED = "verification_approved"
    VERIFICATION_REJECTED = "verification_rejected"
    VERIFICATION_EXPIRED = "verification_expired"
    REGISTRATION_LAPSES = "registration_lapses"
    REGISTRATION_LAPSED = "registration_lapsed"
    PRACTICE_SUSPENDED = "practice_suspended"
    PRACTICE_RESUMED = "practice_resumed"
    BOOKING_CONFIRMED = "booking_confirmed"
    BOOKING_REMINDER = "booking_reminder"
    BOOKING_MOVED = "booking_moved"
    BOOKING_CANCELLED = "booking_cancelled"
    BOOKING_CALLED_OFF = "booking_called_off"
    BOOKING_MOVE_OFFERED = "booking_move_offered"
    BOOKING_MOVE_WITHDRAWN = "booking_move_withdrawn"


class SendMail(Message):
    """Tell a person of an event. Holds ids, and times of a visit: address, name and link are looked up when it is sent.

    `user_id` is the invitation's id where the person has no account yet. `to_doctor`: of the two mails that an event of
    a booking asks for, the doctor's; it goes `beside` the patient's. `starts_at` is when the visit is to be, as the
    event has it, and `was_at` when it was to be before. `minutes`: how long before it a reminder is sent.
    """

    event_id: UUID
    template: Template
    user_id: UUID
    token_id: UUID | None = None
    change_id: UUID | None = None
    session_id: UUID | None = None
    invitation_id: UUID | None = None
    review_id: UUID | None = None
    submission_id: UUID | None = None
    booking_id: UUID | None = None
    to_doctor: bool = False
    starts_at: Instant | None = None
    was_at: Instant | None = None
    minutes: int | None = None
    beside: list["SendMail"] = Field(default_factory=list["SendMail"])

    @property
    def workflow_id(self) -> str:
        """The workflow that sends it, and what goes `beside`: one for each event."""
        return f"mail/{self.event_id}"

    @property
    def mail_id(self) -> UUID:
        """The event's id; for the doctor's mail the one beside it, so that it sorts there and no mail has another's."""
        return UUID(int=self.event_id.int ^ 1) if self.to_doctor else self.event_id

    def is_news_of(self, booking: Booking, now: datetime) -> bool:
        """Whether what the mail says of the booking still holds. What has changed since has a mail of its own."""
        match self.template:
            case Template.BOOKING_REMINDER:  # else it is off, or for another time
                stands = booking.status is Status.CONFIRMED and booking.move_by is None
                return stands and booking.starts_at == self.starts_at and now < booking.starts_at
            case Template.BOOKING_CONFIRMED | Template.BOOKING_MOVED:
                is_as_told = booking.status is Status.CONFIRMED and booking.starts_at == self.starts_at
                return is_as_told and now < booking.ends_at
            case Template.BOOKING_CANCELLED:
                return booking.confirmed_at is not None  # else its doctor was never told of it
            case Template.BOOKING_MOVE_WITHDRAWN:  # else it has ended, or its patient was asked again
                return booking.status in MOVABLE and booking.move_by is None
            case Template.BOOKING_MOVE_OFFERED:  # else it was moved or called off, or it is too late to choose
                return booking.move_by is not None and now < booking.move_by
            case _:
                return True


class Delivery(StrEnum):
    """What became of a mail."""

    SENT = "sent"
    REFUSED = "refused"  # the mail server knows no such mailbox, and will not tomorrow
    NOT_NEEDED = "not_needed"  # the account is gone, its link is used or too old, or the booking has moved on


# What each fact is told by, and the id in it that the mail needs to look the rest up.
_MAILS: Mapping[str, tuple[Template, str | None]] = {
    AccountVerificationRequested.type: (Template.VERIFY_EMAIL, "token_id"),
    RegistrationRepeated.type: (Template.ALREADY_REGISTERED, None),
    PasswordResetRequested.type: (Template.RESET_PASSWORD, "token_id"),
    PasswordChanged.type: (Template.PASSWORD_CHANGED, None),
    EmailChangeRequested.type: (Template.CONFIRM_EMAIL_CHANGE, "change_id"),
    NewEmailOffered.type: (Template.CONFIRM_NEW_EMAIL, "change_id"),
    OwnEmailWanted.type: (Template.OWN_EMAIL_WANTED, None),
    EmailChanged.type: (Template.EMAIL_CHANGED, "change_id"),
    MfaEnabled.type: (Template.MFA_ENABLED, None),
    MfaDisabled.type: (Template.MFA_DISABLED, None),
    RecoveryCodeUsed.type: (Template.RECOVERY_CODE_USED, None),
    RecoveryCodesReplaced.type: (Template.RECOVERY_CODES_REPLACED, None),
    SessionOpenedOnNewDevice.type: (Template.NEW_DEVICE, "session_id"),
    StaffInvited.type: (Template.INVITATION, "invitation_id"),
    ReviewRejected.type: (Template.REVIEW_REJECTED, "review_id"),
    VerificationAwaited.type: (Template.VERIFICATION_AWAITED, "submission_id"),
    AnswerStillWanted.type: (Template.VERIFICATION_MORE_WANTED, "submission_id"),
    PracticeSuspended.type: (Template.PRACTICE_SUSPENDED, None),
    PracticeResumed.type: (Template.PRACTICE_RESUMED, None),
}


# A submission's states of which its doctor is told.
_MOVED: Mapping[State, Template] = {
    State.MORE_WANTED: Template.VERIFICATION_MORE_WANTED,
    State.APPROVED: Template.VERIFICATION_APPROVED,
    State.REJECTED: Template.VERIFICATION_REJECTED,
    State.EXPIRED: Template.VERIFICATION_EXPIRED,
}


# A booking's events, and what each tells its patient and its doctor.
_OF_BOOKINGS: Mapping[str, tuple[Template, Template | None]] = {
    BookingConfirmed.type: (Template.BOOKING_CONFIRMED, Template.BOOKING_CONFIRMED),
    BookingMoved.type: (Template.BOOKING_MOVED, Template.BOOKING_MOVED),
    BookingCancelled.type: (Template.BOOKING_CALLED_OFF, Template.BOOKING_CANCELLED),
    ReminderDue.type: (Template.BOOKING_REMINDER, None),
    MoveOffered.type: (Template.BOOKING_MOVE_OFFERED, None),
    MoveWithdrawn.type: (Template.BOOKING_MOVE_WITHDRAWN, None),
}
# Who cancelled, of whom each side is told. An administrator ends a whole practice, of which its doctor is told at once.
_TOLD_TO_PATIENT = frozenset({Role.DOCTOR, Role.SUPPORT, Role.ADMIN})
_TOLD_TO_DOCTOR = frozenset({Role.PATIENT, Role.SUPPORT})


def mail_for(event_id: UUID, event_type: str, subject: UUID, data: str) -> SendMail | None:
    """The mail that an event asks for, with what goes beside it. `data` is the event's JSON."""
    mails = mails_for(event_id, event_type, subject, data)
    return mails[0].model_copy(update={"beside": [*mails[1:]]}) if mails else None


def mails_for(event_id: UUID, event_type: str, subject: UUID, data: str) -> Sequence[SendMail]:
    """The mails that an event asks for, each to one person. `data` is the event's JSON."""
    if event_type in _MAILS:
        template, name = _MAILS[event_type]
        ids: dict[str, Any] = {name: UUID(json.loads(data)[name])} if name else {}
        return [SendMail(event_id=event_id, template=template, user_id=subject, **ids)]
    if event_type in _OF_BOOKINGS:
        return _of_booking(event_id, event_type, subject, json.loads(data))
    if event_type in {VerificationMoved.type, RegistrationLapses.type}:
        return _of_submission(event_id, event_type, subject, json.loads(data))
    return []


def _of_booking(event_id: UUID, event_type: str, booking_id: UUID, given: Mapping[str, Any]) -> Sequence[SendMail]:
    to_patient, to_doctor = _OF_BOOKINGS[event_type]
    by = given.get("by")
    common = {"event_id": event_id, "booking_id": booking_id}
    common |= {name: given[name] for name in ("starts_at", "was_at", "minutes") if name in given}
    mails: list[SendMail] = []
    if by is None or by in _TOLD_TO_PATIENT:
        who = {"template": to_patient, "user_id": given["patient_id"]}
        mails.append(SendMail.model_validate({**common, **who}))
    if to_doctor and (by is None or by in _TOLD_TO_DOCTOR):
        who = {"template": to_doctor, "user_id": given["doctor_id"], "to_doctor": True}
        mails.append(SendMail.model_validate({**common, **who}))
    return mails


def _of_submission(event_id: UUID, event_type: str, doctor_id: UUID, given: Mapping[str, Any]) -> Sequence[SendMail]:
    if event_type == RegistrationLapses.type:
        template = Template.REGISTRATION_LAPSED if given["lapsed"] else Template.REGISTRATION_LAPSES
    elif State(given["state"]) in _MOVED:
        template = _MOVED[State(given["state"])]
    else:
        return []
    submission_id = UUID(given["submission_id"])
    return [SendMail(event_id=event_id, template=template, user_id=doctor_id, submission_id=submission_id)]
