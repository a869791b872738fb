"""Staff: who is invited to become one, and what an administrator says of an account."""

from collections.abc import Collection
from enum import StrEnum
from typing import Annotated, ClassVar, Literal, TypeAlias
from uuid import UUID

from pydantic import AfterValidator, Field

from amrutam.domain.auth import EmailAddress, Locale, NewPassword, OpaqueToken
from amrutam.domain.common import Instant, Line, Message, Prose, Role
from amrutam.domain.events import Event
from amrutam.domain.wallclock import TimeZone

# Whoever has one of these roles is staff; they sign in at /staff too.
STAFF = frozenset({Role.DOCTOR, Role.SUPPORT, Role.ADMIN})

StaffRole: TypeAlias = Literal[Role.DOCTOR, Role.SUPPORT, Role.ADMIN]


def _once_each(roles: list[Role]) -> list[Role]:
    if len(set(roles)) < len(roles):
        raise ValueError("should name each role once")
    return sorted(roles)


class AccountStatus(StrEnum):
    """Whether an account can be used."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


class InviteStaff(Message):
    """Invite somebody who cannot register: support, a doctor, an administrator."""

    email: EmailAddress
    full_name: Line = Field(description="as colleagues and patients will see it")
    roles: Annotated[list[StaffRole], Field(min_length=1), AfterValidator(_once_each)] = Field(examples=[["support"]])


class Invitation(Message):
    """A link that was sent, good once."""

    id: UUID
    email: str
    full_name: str
    roles: list[Role]
    expires_at: Instant


class OpenInvitation(Message):
    """A link that was sent and can still be used."""

    id: UUID
    email: str
    roles: list[Role]
    invited_by: UUID | None = Field(description="the administrator; null: the operator, from the command line")
    expires_at: Instant


class AcceptInvitation(Message):
    """Make an account by the token of an invitation."""

    token: OpaqueToken
    password: NewPassword
    full_name: Line | None = Field(None, description="by default as the invitation has it")
    time_zone: TimeZone = "UTC"
    locale: Locale = "en"


class User(Message):
    """An account as an administrator sees it."""

    id: UUID
    email: str
    full_name: str
    roles: list[Role]
    status: AccountStatus
    email_verified: bool
    mfa_enabled: bool
    created_at: Instant
    version: int


class EditUser(Message):
    """Give other roles, suspend, or take a suspension back. What is left out stays."""

    # Their defaults are never read, and null is refused.
    roles: Annotated[list[Role], Field(min_length=1), AfterValidator(_once_each)] = Field(
        default_factory=list[Role], examples=[["support", "admin"]]
    )
    status: AccountStatus = Field(default=AccountStatus.ACTIVE)
    reason: Annotated[Prose, Field(min_length=1, max_length=500)] | None = Field(
        None, description="why, for the audit trail"
    )

    def roles_of(self, user: User) -> frozenset[Role]:
        """The roles that the account has then."""
        return frozenset(self.roles if "roles" in self.model_fields_set else user.roles)

    def status_of(self, user: User) -> AccountStatus:
        """The status that the account has then."""
        return self.status if "status" in self.model_fields_set else user.status


def practises(roles: Collection[Role], status: AccountStatus) -> bool:
    """Whether patients may find and book somebody as a doctor, once verified."""
    return Role.DOCTOR in roles and status is AccountStatus.ACTIVE


def may_invite(roles: Collection[Role], status: AccountStatus) -> bool:
    """Whether somebody may invite staff, and what they invited before stands."""
    return Role.ADMIN in roles and status is AccountStatus.ACTIVE


class StaffInvited(Event):
    """Somebody is to be sent the link of an invitation; it is the subject."""

    type: ClassVar[str] = "staff.invited"
    invitation_id: UUID


class InvitationAccepted(Event):
    """An account was made by an invitation."""

    type: ClassVar[str] = "staff.invitation_accepted"


class UserChanged(Event):
    """An administrator has changed roles or status of an account."""

    type: ClassVar[str] = "account.changed_by_admin"
