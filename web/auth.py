"""Accounts over HTTP: register, confirm the address, sign in.

No answer, and no time that an answer takes, tells a stranger whether an address has an account.
"""

from datetime import timedelta
from typing import Literal
from uuid import UUID

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
from amrutam.storage.auth import Registration
from amrutam.storage.pool import Connection
from web import email_change, links, sign_in
from web.context import Answer, Call
from web.denials import note_asked
from web.limits import guessing
from web.quotas import PASSWORD
from web.routing import EVERYONE, Feature
from web.second_factor import LoginAnswer, after_password
from web.sign_in import UNSTORED, as_actor

auth = Feature("auth")

A_DAY = timedelta(days=1)
REGISTER = "account.register"


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
    action = "account.ask_for_verification"
    async with links.evenly(), call.services.db.transaction() as db:
        account = await accounts.lock_by_email(db, command.email)
        if account and not account.verified:
            await links.send_again(call, db, account)
            await audit.append(db, as_actor(call, account.id, account.roles), action, account.id)
        else:
            await note_asked(call, db, action, account.id if account else None, command.email)
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
    """A new account, or what is fit for one that is there: nothing of it changes before a link is opened."""
    keys, roles, user_id = call.services.person_keys, [command.role], new_id()
    if await accounts.insert(db, keys, user_id, command.email, password_hash, roles, command):
        await events.append(db, AccountRegistered(subject=user_id))
        confirmed = False
    else:
        known = await accounts.lock_by_email(db, command.email)
        if known is None:  # erased in this very moment
            raise errors.Unavailable
        user_id, confirmed = known.id, known.verified
    await accounts.remember_password(db, user_id, password_hash, links.verification_until(call))
    if confirmed:
        await _tell_owner(call, db, user_id, command.email)
        return
    await audit.append(db, as_actor(call, user_id, roles), REGISTER, user_id)
    await links.send_verification(call, db, user_id, Registration(password_hash, roles, command.bare(), call.now))


async def _tell_owner(call: Call, db: Connection, user_id: UUID, email: str) -> None:
    """Somebody asked for an account with the address of a confirmed one. Its owner gets a few such mails a day."""
    if await audit.times(db, REGISTER, user_id, call.now - A_DAY, links.MOST_LIVE) < links.MOST_LIVE:
        await events.append(db, RegistrationRepeated(subject=user_id))
    await note_asked(call, db, REGISTER, user_id, email)


async def _verify(call: Call, hashed: bytes) -> bool:
    """Confirm the account of a link. False when the link is unknown, used or too old."""
    async with call.services.db.transaction() as db:
        account = await accounts.verify_by_token(db, call.services.person_keys, hashed)
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
