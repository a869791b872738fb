"""Invitations: how support, doctors and administrators get their account."""

from datetime import timedelta
from typing import Literal
from uuid import UUID

from amrutam.domain import errors
from amrutam.domain.auth import AccountVerified, Profile
from amrutam.domain.common import Message, Role
from amrutam.domain.staff import (
    AcceptInvitation,
    Invitation,
    InvitationAccepted,
    InviteStaff,
    OpenInvitation,
    StaffInvited,
)
from amrutam.ids import new_id
from amrutam.storage import audit, doctor, events
from amrutam.storage import auth as accounts
from amrutam.storage import invitations as storage
from amrutam.storage.pool import Connection
from web import links, paging
from web.context import Answer, Call
from web.idempotency import once
from web.limits import guessing
from web.quotas import PASSWORD
from web.routing import EVERYONE, Feature, Idempotency
from web.sign_in import UNSTORED, as_actor

invitations = Feature("invitations")

EVERY_INVITATION = "staff of this installation"
HAS_ACCOUNT = "This address has an account; its roles can be changed."


class Accepted(Message):
    """The account is there; sign in, at `/staff` or in an app."""

    status: Literal["accepted"] = "accepted"
    email: str


class InvitationPage(Message):
    """Invitations that are open, the newest first."""

    items: list[OpenInvitation]
    next_cursor: str | None


@invitations.route(
    "POST",
    "/v1/admin/invitations",
    allow=[Role.ADMIN],
    owns=EVERY_INVITATION,
    answers={201: Invitation},
    errors=[errors.InvalidState],
    idempotency=Idempotency.REQUIRED,
    audited=True,
    limit=PASSWORD,
    step_up=True,
)
async def invite(call: Call, command: InviteStaff) -> Answer:
    """Have somebody mailed a link by which they make their account. An earlier link to the address is void then."""
    invitation_id, good_until = (
        call.required_operation.id,
        call.now + timedelta(hours=call.services.settings.invitation_hours),
    )

    async def edit(db: Connection) -> bytes:
        if not await storage.may_invite(db, call.user_id):  # not any more, since the request came
            raise errors.Forbidden
        known = await accounts.find_by_email(db, command.email)
        if known and known.verified:
            raise errors.InvalidState(HAS_ACCOUNT)
        hashed = accounts.token_hash(accounts.link_token(call.services.keyring, invitation_id, storage.LINK))
        made = await storage.insert(
            db, invitation_id, command.email, command.full_name, command.roles, hashed, call.user_id, good_until
        )
        await audit.append(db, call.actor, "staff.invite", invitation_id)
        await events.append(db, StaffInvited(subject=invitation_id, invitation_id=invitation_id))
        return made.model_dump_json().encode()

    return Answer(await once(call, edit), 201)


@invitations.route(
    "GET",
    "/v1/admin/invitations",
    allow=[Role.ADMIN],
    owns=EVERY_INVITATION,
    answers={200: InvitationPage},
    errors=[errors.InvalidCursor],
    audited=True,
)
async def list_open(call: Call, query: paging.Page) -> Answer:
    """Which invitations can still be used, the newest first."""
    before = paging.position(call, query)
    async with call.services.db.connection() as db:
        found = await storage.page(db, before, query.limit + 1)
        await audit.append(db, call.actor, "staff.list_invitations", call.user_id)
    shown = found[: query.limit]
    next_cursor = paging.cursor(call, query, shown[-1].id) if len(found) > query.limit else None
    return Answer(InvitationPage(items=shown, next_cursor=next_cursor))


@invitations.route(
    "DELETE",
    "/v1/admin/invitations/{id}",
    allow=[Role.ADMIN],
    owns=EVERY_INVITATION,
    answers={204: None},
    errors=[errors.NotFound],
    audited=True,
    step_up=True,
)
async def withdraw(call: Call, id: UUID) -> Answer:
    """Withdraw an invitation that was not accepted yet: its link leads nowhere from now on."""
    async with call.services.db.transaction() as db:
        if not await storage.withdraw(db, id):
            raise errors.NotFound
        await audit.append(db, call.actor, "staff.withdraw_invitation", id)
    return Answer(status=204)


@invitations.route(
    "POST",
    "/v1/auth/invitations/accept",
    allow=EVERYONE,
    owns="whoever holds the link",
    answers={200: Accepted},
    errors=[errors.ValidationFailed, errors.InvalidState],
    audited=True,
    limit=PASSWORD,
)
async def accept(call: Call, command: AcceptInvitation) -> Answer:
    """Make an account with the link's token, which is good once. A password that is refused does not use it up."""
    async with guessing(call, "link"), call.services.db.connection() as db:
        invitation = await storage.find(db, links.digest(command.token))
        if invitation is None:
            raise links.bad_link()
    password, name = command.password.get_secret_value(), command.full_name or invitation.full_name
    if faults := await call.services.passwords.weaknesses(password, (invitation.email, name), "/password"):
        raise errors.ValidationFailed(faults=faults)
    password_hash = await call.services.passwords.hash(password)
    profile = Profile(full_name=name, time_zone=command.time_zone, locale=command.locale)
    async with call.services.db.transaction() as db:
        if not await storage.use(db, invitation.id):
            raise links.bad_link()
        user_id = await _make(call, db, invitation, profile, password_hash)
        await audit.append(db, as_actor(call, user_id, invitation.roles), "staff.accept_invitation", user_id)
        await events.append(db, InvitationAccepted(subject=user_id))
        await events.append(db, AccountVerified(subject=user_id))
    return Answer(Accepted(email=invitation.email), headers=UNSTORED)


async def _make(call: Call, db: Connection, invitation: Invitation, profile: Profile, password_hash: str) -> UUID:
    """The account, its address confirmed. Raises InvalidState where there is one by now."""
    keys, user_id = call.services.person_keys, new_id()
    if not await accounts.insert(db, keys, user_id, invitation.email, password_hash, invitation.roles, profile):
        known = await accounts.lock_by_email(db, invitation.email)
        if known is None:  # erased in this very moment
            raise errors.Unavailable
        if known.verified:
            raise errors.InvalidState(HAS_ACCOUNT)
        # Somebody registered the address, and its owner never confirmed that.
        user_id = known.id
        await storage.void_registrations(db, user_id)
        await accounts.replace_unverified(db, keys, user_id, password_hash, invitation.roles, profile)
    await accounts.mark_verified(db, user_id, password_hash)
    if Role.DOCTOR in invitation.roles:
        await doctor.create(db, user_id, profile.full_name, profile.time_zone)
    return user_id
