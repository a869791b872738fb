"""Accounts over HTTP: register, confirm the address, sign in, stay signed in, sign out.

No answer, and no time that an answer takes, tells a stranger whether an address has an account.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Literal
from uuid import UUID

from pydantic import SecretStr

from amrutam.domain import errors
from amrutam.domain.auth import (
    AccountRegistered,
    AccountVerificationRequested,
    AccountVerified,
    LogIn,
    Register,
    RegistrationRepeated,
    ResendVerification,
    VerifyEmail,
)
from amrutam.domain.common import Message, Role
from amrutam.domain.sessions import LogOut, Refresh, Verdict, judge
from amrutam.ids import new_id
from amrutam.storage import audit, doctor, events, sessions
from amrutam.storage import auth as accounts
from amrutam.storage.pool import Connection
from web import sign_in
from web.context import Answer, Call
from web.routing import EVERYONE, Feature
from web.sign_in import UNSTORED, SignedIn, as_actor, signed_in

auth = Feature("auth")

# Longer than a registration takes, so that the work behind the answer does not show in its time.
EVEN_SECONDS = 0.15


class VerificationSent(Message):
    """If the address can be registered, or is its owner's already, a mail is on its way."""

    status: Literal["verification_sent"] = "verification_sent"


class Verified(Message):
    """The address is confirmed."""

    status: Literal["verified"] = "verified"


@auth.route("POST", "/v1/auth/register", allow=EVERYONE, owns="anyone", answers={202: VerificationSent}, audited=True)
async def register(call: Call, command: Register) -> Answer:
    """Ask for an account. The answer is the same whether or not the address has one; its owner gets a mail."""
    command.check(call.now.date())
    async with _evenly():
        password_hash = await call.services.passwords.hash(command.password.get_secret_value())
        async with call.services.db.transaction() as db:
            await _register(call, db, command, password_hash)
    return Answer(VerificationSent(), 202, UNSTORED)


@auth.route(
    "POST", "/v1/auth/verify-email/resend", allow=EVERYONE, owns="anyone", answers={202: VerificationSent}, audited=True
)
async def resend_verification(call: Call, command: ResendVerification) -> Answer:
    """Ask for another mail. The answer is the same for every address."""
    async with _evenly(), call.services.db.transaction() as db:
        account = await accounts.lock_by_email(db, command.email)
        if account and not account.verified:
            await _send_link(call, db, account.id, account.password_hash)
    return Answer(VerificationSent(), 202, UNSTORED)


@auth.route(
    "POST",
    "/v1/auth/verify-email",
    allow=EVERYONE,
    owns="whoever holds the link",
    answers={200: Verified},
    errors=[errors.ValidationFailed],
    audited=True,
)
async def verify_email(call: Call, command: VerifyEmail) -> Answer:
    """Confirm an address with the token of its link, which is good once."""
    async with call.services.db.transaction() as db:
        account = await accounts.verify_by_token(db, _digest(command.token))
        if account is None:
            detail = "The link was used already or is too old; ask for another."
            fault = errors.Fault(pointer="/token", code="invalid_token", detail=detail)
            raise errors.ValidationFailed(faults=[fault])
        if Role.DOCTOR in account.roles:
            await doctor.create(db, account.id, account.full_name, account.time_zone)
        await audit.append(db, as_actor(call, account.id, account.roles), "account.verify", account.id)
        await events.append(db, AccountVerified(subject=account.id))
    return Answer(Verified(), headers=UNSTORED)


@auth.route(
    "POST",
    "/v1/auth/login",
    allow=EVERYONE,
    owns="whoever knows the password",
    answers={200: SignedIn},
    errors=[errors.InvalidCredentials, errors.EmailUnverified],
    audited=True,
)
async def login(call: Call, command: LogIn) -> Answer:
    """Sign in. A wrong address and a wrong password are one refusal."""
    account = await sign_in.recognise(call, command.email, command.password)
    return await sign_in.open_session(call, account, command.device_name, ["pwd"])


@auth.route(
    "POST",
    "/v1/auth/refresh",
    allow=EVERYONE,
    owns="whoever holds the refresh token",
    answers={200: SignedIn},
    errors=[errors.Unauthenticated],
    audited=True,
)
async def refresh(call: Call, command: Refresh) -> Answer:
    """Exchange a refresh token for new tokens. One that was used before ends its session, as it may be stolen."""
    used, fresh = _digest(command.refresh_token), secrets.token_urlsafe(32)
    async with call.services.db.transaction() as db:
        token = await sessions.lock_refresh_token(db, used)
        verdict = judge(token)
        if token and verdict is Verdict.ROTATE:
            await sessions.rotate(db, token.session.id, used, accounts.token_hash(fresh))
        elif token and verdict is Verdict.END_SESSION:
            await sessions.end(db, token.session.id)
            await audit.append_system(db, "auth.refresh_token_reused", token.session.id)
    if token is None or verdict is not Verdict.ROTATE:
        raise errors.Unauthenticated("The refresh token is not good any more; sign in again.")
    return signed_in(call, token.session, fresh)


@auth.route(
    "POST", "/v1/auth/logout", allow=list(Role), owns="the caller's own session", answers={204: None}, audited=True
)
async def logout(call: Call, command: LogOut) -> Answer:
    """End the session of the access token, and that of the refresh token if it is another of the caller's."""
    if call.principal is None:
        raise errors.Unauthenticated
    async with call.services.db.transaction() as db:
        ending = {call.principal.session_id}
        if command.refresh_token:
            other = await sessions.of_token(db, _digest(command.refresh_token), call.user_id)
            ending |= {other} if other else set()
        for session_id in sorted(ending):
            if await sessions.end(db, session_id):
                await audit.append(db, call.actor, "auth.logout", session_id)
    return Answer(status=204)


@auth.route("GET", "/.well-known/jwks.json", allow=EVERYONE, owns="public", answers={200: None})
async def jwks(call: Call) -> Answer:
    """The public keys with which access tokens can be checked (RFC 7517)."""
    return Answer(call.services.tokens.jwks(), headers={"Cache-Control": "public, max-age=300"})


async def _register(call: Call, db: Connection, command: Register, password_hash: str) -> None:
    """A new account, or what is fit for one that is there."""
    keys, roles, user_id = call.services.person_keys, [command.role], new_id()
    if await accounts.insert(db, keys, user_id, command.email, password_hash, roles, command):
        await events.append(db, AccountRegistered(subject=user_id))
    else:
        known = await accounts.lock_by_email(db, command.email)
        if known is None:  # erased in this very moment
            raise errors.Unavailable
        if known.verified:
            await events.append(db, RegistrationRepeated(subject=known.id))
            return
        user_id = known.id
        await accounts.replace_unverified(db, keys, user_id, password_hash, roles, command)
    await audit.append(db, as_actor(call, user_id, roles), "account.register", user_id)
    await _send_link(call, db, user_id, password_hash)


async def _send_link(call: Call, db: Connection, user_id: UUID, password_hash: str) -> None:
    """Have a link mailed. The event carries the token's id alone: whoever sends the mail derives the token from it."""
    token_id = new_id()
    token_hash = accounts.token_hash(accounts.link_token(call.services.keyring, token_id))
    good_until = call.now + timedelta(hours=call.services.settings.verification_hours)
    await accounts.insert_email_token(db, token_id, user_id, token_hash, password_hash, good_until)
    await events.append(db, AccountVerificationRequested(subject=user_id, token_id=token_id))


def _digest(token: SecretStr) -> bytes:
    return accounts.token_hash(token.get_secret_value())


@asynccontextmanager
async def _evenly() -> AsyncGenerator[None]:
    """Let the block take `EVEN_SECONDS` at least, whatever there was to do in it."""
    started = time.monotonic()
    yield
    await asyncio.sleep(max(0.0, EVEN_SECONDS - (time.monotonic() - started)))
