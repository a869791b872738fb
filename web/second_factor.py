"""The second factor, where it is shown: what follows the password, and whether a code is right."""

import secrets
from typing import Literal, NamedTuple

from pydantic import Field, RootModel

from amrutam.domain import mfa as rules
from amrutam.domain.audit import Actor, Outcome
from amrutam.domain.common import Message
from amrutam.domain.errors import InvalidCredentials, Unauthenticated
from amrutam.domain.mfa import (
    CHALLENGE_LIFE,
    Factor,
    Proof,
    Purpose,
    RecoveryCodeUsed,
    RecoveryProof,
    TotpProof,
    VerifyFactor,
)
from amrutam.ids import new_id
from amrutam.storage import audit, events, mfa
from amrutam.storage import auth as accounts
from amrutam.storage.auth import Account, token_hash
from amrutam.storage.pool import Connection
from web import sign_in
from web.context import Answer, Call
from web.limits import guessing
from web.sign_in import UNSTORED, SignedIn

WRONG_CODE = "The code is wrong, was used already, or is too old."


class MfaRequired(Message):
    """The password is right; a code is needed too. `mfa_token` is good for `POST /v1/auth/mfa/verify`, once."""

    status: Literal["mfa_required"] = "mfa_required"
    mfa_token: str
    expires_in: int = Field(description="seconds", examples=[300])
    factors: list[Factor]


class MfaToEnroll(Message):
    """The password is right, and this account needs a second factor, which it has not yet.

    `mfa_token` is a bearer token for `POST /v1/auth/mfa/enroll` and `/confirm` alone; sign in again after that.
    """

    status: Literal["mfa_enrollment_required"] = "mfa_enrollment_required"
    mfa_token: str
    expires_in: int = Field(description="seconds", examples=[300])
    factors: list[Factor]


class Proven(NamedTuple):
    """Somebody who has shown password and factor. `methods` are RFC 8176 names of these."""

    account: Account
    device_name: str | None
    methods: list[str]


class LoginAnswer(RootModel[SignedIn | MfaRequired | MfaToEnroll]):
    """Tokens, or what is needed beside the password."""


async def after_password(call: Call, account: Account, device_name: str | None) -> Answer:
    """What somebody gets for the right password: a session, or a token with which to show or to enroll a factor."""
    wanted = await still_wanted(call, account, device_name)
    if wanted:
        return Answer(wanted, headers=UNSTORED)
    return await sign_in.open_session(call, account, device_name, ["pwd"])


async def still_wanted(call: Call, account: Account, device_name: str | None) -> MfaRequired | MfaToEnroll | None:
    """What is needed beside the password, with a token for it. None: nothing."""
    async with call.services.db.connection() as db:
        has_factor = await mfa.is_on(db, account.id)
    if has_factor:
        token, seconds = await _challenge(call, account, Purpose.VERIFY, device_name)
        return MfaRequired(mfa_token=token, expires_in=seconds, factors=list(Factor))
    if account.roles & call.services.settings.mfa_roles:
        token, seconds = await _challenge(call, account, Purpose.ENROLL, device_name)
        return MfaToEnroll(mfa_token=token, expires_in=seconds, factors=[Factor.TOTP])
    return None


async def _challenge(call: Call, account: Account, purpose: Purpose, device_name: str | None) -> tuple[str, int]:
    """A new challenge's token, and the seconds for which it is good. It is noted: no session tells of this sign-in."""
    token = secrets.token_urlsafe(32)
    good_until = call.now + CHALLENGE_LIFE
    actor = sign_in.as_actor(call, account.id, account.roles)
    async with call.services.db.transaction() as db:
        await mfa.insert_challenge(db, new_id(), account.id, purpose, token_hash(token), device_name, good_until)
        await audit.append(db, actor, "auth.show_password", account.id)
    return token, int(CHALLENGE_LIFE.total_seconds())


async def prove(call: Call, command: VerifyFactor) -> Proven:
    """The second half of signing in: the token that the password gave, and a code. Both are used up.

    Raises Unauthenticated, InvalidCredentials, RateLimited.
    """
    async with call.services.db.connection() as db:
        challenge = await mfa.attempt(db, token_hash(command.mfa_token.get_secret_value()))
        account = await accounts.find(db, challenge.user_id) if challenge else None
    if challenge is None or account is None:
        raise Unauthenticated("This sign-in is over; begin again with the password.")
    proof = await examine(call, account, command.code.get_secret_value(), command.factor)
    async with call.services.db.transaction() as db:
        if not await mfa.use_challenge(db, challenge.id):
            raise Unauthenticated("This sign-in is over; begin again with the password.")
        await use(call, db, account, proof)
    return Proven(account, challenge.device_name, ["pwd", proof.factor.method])


async def use(call: Call, db: Connection, account: Account, proof: Proof) -> None:
    """Use up what was shown. Raises InvalidCredentials when another request was faster."""
    if not await mfa.use(db, account.id, proof):
        raise InvalidCredentials(WRONG_CODE)
    if proof.factor is Factor.RECOVERY_CODE:
        actor = sign_in.as_actor(call, account.id, account.roles)
        await audit.append(db, actor, "mfa.use_recovery_code", account.id)
        await events.append(db, RecoveryCodeUsed(subject=account.id))


async def examine(call: Call, account: Account, code: str, factor: Factor | None = None) -> Proof:
    """Whether a code is right; nothing is used up yet. Raises InvalidCredentials, RateLimited."""
    async with guessing(call, "factor", str(account.id), account.id):
        proof = await _proof(call, account, code, factor or rules.factor_of(code))
        if proof is None:
            await note_wrong_code(call, sign_in.as_actor(call, account.id, account.roles))
            raise InvalidCredentials(WRONG_CODE)
    return proof


async def note_wrong_code(call: Call, actor: Actor) -> None:
    """In the audit trail, of the account that `actor` gave it for."""
    async with call.services.db.connection() as db:
        await audit.append(db, actor, "auth.show_factor", actor.id, outcome=Outcome.REFUSED)


async def _proof(call: Call, account: Account, code: str, factor: Factor) -> Proof | None:
    if factor is Factor.TOTP:
        async with call.services.db.connection() as db:
            app = await mfa.enrolled(db, call.services.person_keys, account.id)
        step = rules.matching_step(app.secret, code, call.now, app.last_step) if app and app.confirmed else None
        return None if step is None else TotpProof(step=step)
    slot = rules.recovery_slot(code)
    if slot is None:
        return None
    async with call.services.db.connection() as db:
        code_hash = await mfa.recovery_hash(db, account.id, slot)
    right = await call.services.passwords.verify(code_hash, rules.plain_recovery_code(code))
    return RecoveryProof(slot=slot, code_hash=code_hash) if right and code_hash else None
