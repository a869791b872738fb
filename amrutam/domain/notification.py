"""Who is told of which fact, and by which mail."""

import json
from collections.abc import Mapping
from enum import StrEnum
from uuid import UUID

from amrutam.domain.auth import AccountVerificationRequested, RegistrationRepeated
from amrutam.domain.common import Message
from amrutam.domain.email_change import EmailChanged, EmailChangeRequested, NewEmailOffered, OwnEmailWanted
from amrutam.domain.mfa import MfaDisabled, MfaEnabled, RecoveryCodesReplaced, RecoveryCodeUsed
from amrutam.domain.passwords import PasswordChanged, PasswordResetRequested
from amrutam.domain.sessions import SessionOpenedOnNewDevice
from amrutam.domain.staff import StaffInvited


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
}


def mail_for(event_id: UUID, event_type: str, subject: UUID, data: str) -> SendMail | None:
    """The mail that an event asks for. `data` is the event's JSON."""
    if event_type not in _MAILS:
        return None
    template, name = _MAILS[event_type]
    ids = {name: UUID(json.loads(data)[name])} if name else {}
    return SendMail(event_id=event_id, template=template, user_id=subject, **ids)
