"""Who is told of which fact, and by which mail."""

import json
from enum import StrEnum
from uuid import UUID

from amrutam.domain.auth import AccountVerificationRequested, RegistrationRepeated
from amrutam.domain.common import Message


class Template(StrEnum):
    """The mails that exist: `amrutam/templates/mails/<name>.txt` and `.html`."""

    VERIFY_EMAIL = "verify_email"
    ALREADY_REGISTERED = "already_registered"


class SendMail(Message):
    """Tell a person of an event. Holds ids alone: address, name and link are looked up when it is sent."""

    event_id: UUID
    template: Template
    user_id: UUID
    token_id: UUID | None = None


class Delivery(StrEnum):
    """What became of a mail."""

    SENT = "sent"
    REFUSED = "refused"  # the mail server knows no such mailbox, and will not tomorrow
    NOT_NEEDED = "not_needed"  # the account is gone, or its link is used or too old


def mail_for(event_id: UUID, event_type: str, subject: UUID, data: str) -> SendMail | None:
    """The mail that an event asks for. `data` is the event's JSON."""
    match event_type:
        case AccountVerificationRequested.type:
            event = AccountVerificationRequested.model_validate({**json.loads(data), "subject": subject})
            return SendMail(event_id=event_id, template=Template.VERIFY_EMAIL, user_id=subject, token_id=event.token_id)
        case RegistrationRepeated.type:
            return SendMail(event_id=event_id, template=Template.ALREADY_REGISTERED, user_id=subject)
        case _:
            return None
