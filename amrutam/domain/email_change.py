"""Another address for an account: asked for with the password, and confirmed from the old and from the new address."""

from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from pydantic import Field

from amrutam.domain.auth import EmailAddress, GivenPassword, OpaqueToken
from amrutam.domain.common import Message
from amrutam.domain.events import Event


class Side(StrEnum):
    """Which mailbox a link was sent to."""

    OLD = "old"
    NEW = "new"


class Progress(StrEnum):
    """What a link that was opened has led to."""

    HALF_CONFIRMED = "half_confirmed"
    CHANGED = "changed"
    REFUSED = "refused"


class ChangeEmail(Message):
    """Ask for another address."""

    email: EmailAddress
    password: GivenPassword


class ConfirmEmailChange(Message):
    """Answer the mail that asks about a change of address."""

    token: OpaqueToken
    refuse: bool = Field(
        default=False,
        description="say that it was not you: nothing changes, and from the old address every session ends",
    )


class EmailChangeRequested(Event):
    """The account's present address is asked whether it was its person who wants another one."""

    type: ClassVar[str] = "account.email_change_requested"
    change_id: UUID


class NewEmailOffered(Event):
    """The address that somebody wants is asked whether it is theirs."""

    type: ClassVar[str] = "account.new_email_offered"
    change_id: UUID


class OwnEmailWanted(Event):
    """Somebody wants the address of `subject`, who is told; nobody else is."""

    type: ClassVar[str] = "account.own_email_wanted"


class EmailChanged(Event):
    """Both sides agreed: the account has another address, and the old one is told."""

    type: ClassVar[str] = "account.email_changed"
    change_id: UUID
