"""Who is told of which fact, and by which mail."""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from uuid import UUID

from amrutam.domain.auth import AccountVerificationRequested, RegistrationRepeated
from amrutam.domain.booking import BookingCancelled
from amrutam.domain.cancel_day import MoveOffered, MoveWithdrawn
from amrutam.domain.common import Message, Role
from amrutam.domain.email_change import EmailChanged, EmailChangeRequested, NewEmailOffered, OwnEmailWanted
from amrutam.domain.mfa import MfaDisabled, MfaEnabled, RecoveryCodesReplaced, RecoveryCodeUsed
from amrutam.domain.passwords import PasswordChanged, PasswordResetRequested
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
    BOOKING_CALLED_OFF = "booking_called_off"
    BOOKING_MOVE_OFFERED = "booking_move_offered"
    BOOKING_MOVE_WITHDRAWN = "booking_move_withdrawn"


class SendMail(Message):
    """Tell a person of an event. Holds ids alone: address, name and link are looked up when it is sent.

    `user_id` is the invitation's id where the person has no account yet.
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


class Delivery(StrEnum):
    """What became of a mail."""

    SENT = "sent"
    REFUSED = "refused"  # the mail server knows no such mailbox, and will not tomorrow
    NOT_NEEDED = "not_needed"  # the account is gone, or its link is used or too old


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


_DECIDED_BY_DATA = frozenset(
    {VerificationMoved.type, RegistrationLapses.type, BookingCancelled.type, MoveOffered.type, MoveWithdrawn.type}
)


def mail_for(event_id: UUID, event_type: str, subject: UUID, data: str) -> SendMail | None:
    """The mail that an event asks for. `data` is the event's JSON."""
    if event_type in _MAILS:
        template, name = _MAILS[event_type]
        ids = {name: UUID(json.loads(data)[name])} if name else {}
        return SendMail(event_id=event_id, template=template, user_id=subject, **ids)
    chosen = _chosen(event_type, subject, data)
    return SendMail(event_id=event_id, **chosen) if chosen else None


def _chosen(event_type: str, subject: UUID, data: str) -> dict[str, Any] | None:
    """Template and ids, where the fact itself says which mail it asks for, or whether."""
    if event_type not in _DECIDED_BY_DATA:
        return None
    given = json.loads(data)
    match event_type:
        case VerificationMoved.type if State(given["state"]) in _MOVED:
            template = _MOVED[State(given["state"])]
        case RegistrationLapses.type:
            template = Template.REGISTRATION_LAPSED if given["lapsed"] else Template.REGISTRATION_LAPSES
        case BookingCancelled.type if given["by"] != Role.PATIENT:
            return _to_patient(Template.BOOKING_CALLED_OFF, given, subject)
        case MoveOffered.type:
            return _to_patient(Template.BOOKING_MOVE_OFFERED, given, subject)
        case MoveWithdrawn.type:
            return _to_patient(Template.BOOKING_MOVE_WITHDRAWN, given, subject)
        case _:
            return None
    return {"template": template, "user_id": subject, "submission_id": UUID(given["submission_id"])}


def _to_patient(template: Template, given: Mapping[str, str], booking_id: UUID) -> dict[str, Any]:
    return {"template": template, "user_id": UUID(given["patient_id"]), "booking_id": booking_id}
