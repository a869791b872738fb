"""Accounts over HTTP: register, confirm the address, sign in.

No answer, and no time that an answer takes, tells a stranger whether an address has an account.
"""

from typing import Literal

from amrutam.domain import errors
from amrutam.domain.auth import (
    AccountRegistered,
    AccountVerified,
    LogIn,
    Register,
    RegistrationRepeated,
    ResendVerification,
    VerifyEmail,
)
from amrutam.domain.common import Message, Role
from amrutam.ids import new_id
from amrutam.storage import audit, doctor, events
from amrutam.storage import auth as accounts
from amrutam.storage.pool import Connection
from web import email_change, links, sign_in
from web.context import Answer, Call
from web.limits import guessing
from web.quotas import PASSWORD
from web.routing import EVERYONE, Feature
from web.second_factor import LoginAnswer, after_password
from web.sign_in import UNSTORED, as_actor

auth = Feature("auth")


class VerificationSent(Message):
    """If the address can be registered, or is its owner's already, a mail is on its way."""

    status: Literal["verification_sent"] = "verification_sent"


class Verified(Message):
    """The address is confirmed."""

    status: Literal["verified"] = "verified"


@auth.route(
    "POST",
    "/v1/auth/register",
    allow=EVERYONE,
    owns="anyone",
    answers={202: VerificationSent},
    audited=True,
    limit=PASSWORD,
)
async def register(call: Call, command: Register) -> Answer:
    """Ask for an account. The answer is the same whether or not the address has one; its owner gets a mail."""
    await _check(call, command)
    async with links.evenly():
        password_hash = await call.services.passwords.hash(command.password.get_secret_value())
        async with call.services.db.transaction() as db:
            await _register(call, db, command, password_hash)
    return Answer(VerificationSent(), 202, UNSTORED)


@auth.route(
    "POST",
    "/v1/auth/verify-email/resend",
    allow=EVERYONE,
    owns="anyone",
    answers={202: VerificationSent},
    audited=True,
    limit=PASSWORD,
)
async def resend_verification(call: Call, command: ResendVerification) -> Answer:
    """Ask for another mail. The answer is the same for every address."""
    async with links.evenly(), call.services.db.transaction() as db:
        account = await accounts.lock_by_email(db, command.email)
        if account and not account.verified and await accounts.live_email_tokens(db, account.id) < links.MOST_LIVE:
            await links.send_verification(call, db, account.id, account.password_hash)
            actor = as_actor(call, account.id, account.roles)
            await audit.append(db, actor, "account.ask_for_verification", account.id)
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
    """Confirm an address with the token of its link, which is good once; that of a change of address does as well."""
    async with guessing(call, "link"):
        verified = await _verify(call, links.digest(command.token))
        if not verified and await email_change.settle(call, command.token, refuse=False) is None:
            raise links.bad_link()
    return Answer(Verified(), headers=UNSTORED)


@auth.route(
    "POST",
    "/v1/auth/login",
    allow=EVERYONE,
    owns="whoever knows the password",
    answers={200: LoginAnswer},
    errors=[errors.InvalidCredentials, errors.EmailUnverified, errors.Forbidden],
    audited=True,
    limit=PASSWORD,
)
async def login(call: Call, command: LogIn) -> Answer:
    """Sign in. A wrong address and a wrong password are one refusal."""
    account = await sign_in.recognise(call, command.email, command.password)
    return await after_password(call, account, command.device_name)


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
    await links.send_verification(call, db, user_id, password_hash)


async def _verify(call: Call, hashed: bytes) -> bool:
    """Confirm the account of a link. False when the link is unknown, used or too old."""
    async with call.services.db.transaction() as db:
        account = await accounts.verify_by_token(db, hashed)
        if account is None:
            return False
        if Role.DOCTOR in account.roles:
            await doctor.create(db, account.id, account.full_name, account.time_zone)
        await audit.append(db, as_actor(call, account.id, account.roles), "account.verify", account.id)
        await events.append(db, AccountVerified(subject=account.id))
    return True


async def _check(call: Call, command: Register) -> None:
    """What one field alone does not tell. Raises ValidationFailed."""
    about = (command.email, command.full_name)
    password = command.password.get_secret_value()
    faults = command.faults(call.now.date())
    faults += await call.services.passwords.weaknesses(password, about, "/password")
    if faults:
        raise errors.ValidationFailed(faults=faults)
