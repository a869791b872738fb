"""Passwords over HTTP: forgotten, chosen anew by a link, changed by whoever knows the present one."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal
from uuid import UUID

from pydantic import SecretStr

from amrutam.domain import errors
from amrutam.domain.audit import Actor, Outcome
from amrutam.domain.common import Message, Role
from amrutam.domain.errors import Fault
from amrutam.domain.passwords import (
    ChangePassword,
    ForgotPassword,
    PasswordChanged,
    PasswordResetRequested,
    ResetPassword,
)
from amrutam.ids import new_id
from amrutam.storage import audit, email_change, events, sessions
from amrutam.storage import auth as accounts
from amrutam.storage import passwords as storage
from amrutam.storage.auth import Account
from amrutam.storage.passwords import Holder
from amrutam.storage.pool import Connection
from web import links
from web.context import Answer, Call
from web.denials import note_asked
from web.devices import device_headers, known_device
from web.limits import guessing
from web.quotas import PASSWORD
from web.routing import EVERYONE, Feature
from web.sign_in import UNSTORED, as_actor

passwords = Feature("passwords")

ASK_FOR_RESET = "account.ask_for_reset"


class ResetSent(Message):
    """If the address has an account, a mail is on its way."""

    status: Literal["reset_sent"] = "reset_sent"


class PasswordReset(Message):
    """The account has the new password, and every session has ended."""

    status: Literal["password_reset"] = "password_reset"


@passwords.route(
    "POST",
    "/v1/auth/password/forgot",
    allow=EVERYONE,
    owns="anyone",
    answers={202: ResetSent},
    audited=True,
    limit=PASSWORD,
)
async def forgot(call: Call, command: ForgotPassword) -> Answer:
    """Ask for a link that lets you choose another password. The answer is the same for every address."""
    async with links.evenly(), call.services.db.transaction() as db:
        account = await accounts.lock_by_email(db, command.email)
        if account:
            await _send_link(call, db, account)
        else:
            await note_asked(call, db, ASK_FOR_RESET, None, command.email)
    return Answer(ResetSent(), 202, UNSTORED)


@passwords.route(
    "POST",
    "/v1/auth/password/reset",
    allow=EVERYONE,
    owns="whoever holds the link",
    answers={200: PasswordReset},
    errors=[errors.ValidationFailed],
    audited=True,
    limit=PASSWORD,
)
async def reset(call: Call, command: ResetPassword) -> Answer:
    """Choose another password with the link's token, which is good once. Every session ends, a second factor stays.

    A password that is refused does not use the link up.
    """
    hashed = links.digest(command.token)
    async with guessing(call, "link"), call.services.db.connection() as db:
        holder = await storage.holder_of_reset(db, hashed)
        if holder is None:
            raise links.bad_link()
    await _check(call, command.password, holder, "/password")
    new_hash = await call.services.passwords.hash(command.password.get_secret_value())
    async with call.services.db.transaction() as db:
        if await storage.reset(db, hashed, new_hash) is None:
            raise links.bad_link()
        ended = await _changed(db, as_actor(call, holder.id, holder.roles), "account.reset_password", keep=None)
    await call.services.markers.note(ended)
    return Answer(PasswordReset(), headers=UNSTORED)


@passwords.route(
    "POST",
    "/v1/auth/password/change",
    allow=list(Role),
    owns="the caller's own account",
    answers={204: None},
    errors=[errors.InvalidCredentials, errors.ValidationFailed, errors.OperationInProgress],
    audited=True,
    limit=PASSWORD,
)
async def change(call: Call, command: ChangePassword) -> Answer:
    """Choose another password by the present one. The caller's other sessions end; other devices are unknown."""
    holder = await known(call, command.current_password)
    device = await known_device(call, holder.id)
    keep = call.principal.session_id if call.principal else None
    if command.new_password == command.current_password:
        fault = Fault(pointer="/new_password", code="unchanged", detail="is the present password")
        raise errors.ValidationFailed(faults=[fault])
    await _check(call, command.new_password, holder, "/new_password")
    new_hash = await call.services.passwords.hash(command.new_password.get_secret_value())
    async with call.services.db.transaction() as db:
        if not await storage.replace(db, holder.id, holder.password_hash, new_hash):
            raise errors.OperationInProgress  # a reset, or a sign-in that hashed it anew, was quicker
        ended = await _changed(db, call.actor, "account.change_password", keep=keep)
        still_known = await device_headers(call, db, holder.id) if device else {}
    await call.services.markers.note(ended)
    return Answer(status=204, headers=still_known)


async def known(call: Call, password: SecretStr) -> Holder:
    """The caller's account, as they know its password. Raises InvalidCredentials, RateLimited, Unauthenticated."""
    async with call.services.db.connection() as db:
        holder = await storage.holder(db, call.user_id)
    if holder is None:  # erased; its access token has not run out yet
        raise errors.Unauthenticated
    async with guessing(call, "login", holder.email, holder.id):
        if not await call.services.passwords.verify(holder.password_hash, password.get_secret_value()):
            async with call.services.db.connection() as db:
                await audit.append(db, call.actor, "account.show_password", holder.id, outcome=Outcome.REFUSED)
            raise errors.InvalidCredentials("The password is wrong.")
    return holder


async def _check(call: Call, password: SecretStr, holder: Holder, pointer: str) -> None:
    """Raises ValidationFailed for a password that is too easy to guess."""
    about = (holder.email, holder.full_name)
    if faults := await call.services.passwords.weaknesses(password.get_secret_value(), about, pointer):
        raise errors.ValidationFailed(faults=faults)


async def _changed(db: Connection, actor: Actor, action: str, *, keep: UUID | None) -> Mapping[UUID, int]:
    """What follows from another password: whoever knew the one before is out. Returns what the markers are to note."""
    await email_change.end_open(db, actor.id)
    await audit.append(db, actor, action, actor.id)
    await events.append(db, PasswordChanged(subject=actor.id))
    return await sessions.end_all(db, actor.id, but=keep)


async def _send_link(call: Call, db: Connection, account: Account) -> None:
    """A link to a confirmed address; one that confirms it to another, as nobody signs in before that."""
    if not account.verified:
        await links.send_again(call, db, account)
    elif await storage.live_resets(db, account.id) < links.MOST_LIVE:
        token_id = new_id()
        hashed = accounts.token_hash(accounts.link_token(call.services.keyring, token_id, storage.RESET_LINK))
        good_until = call.now + timedelta(minutes=call.services.settings.reset_minutes)
        await storage.insert_reset(db, token_id, account.id, hashed, good_until)
        await events.append(db, PasswordResetRequested(subject=account.id, token_id=token_id))
    await audit.append(db, as_actor(call, account.id, account.roles), ASK_FOR_RESET, account.id)
