"""The second factor over HTTP: set it up, show it, do without it."""

import asyncio
import os

from amrutam.domain import errors
from amrutam.domain import mfa as rules
from amrutam.domain.common import Role
from amrutam.domain.mfa import (
    ConfirmFactor,
    DisableFactor,
    EnrollFactor,
    Factor,
    MfaDisabled,
    MfaEnabled,
    RecoveryCodesReplaced,
    ReplaceRecoveryCodes,
    StepUp,
    VerifyFactor,
)
from amrutam.domain.sessions import Session
from amrutam.storage import audit, events, mfa, sessions
from amrutam.storage import auth as accounts
from amrutam.storage.auth import Account
from amrutam.storage.mfa import Enrolled
from amrutam.storage.pool import Connection
from web import sign_in
from web.context import Answer, Call
from web.factor import FactorRule
from web.limits import guessing
from web.mfa_views import Enrollment, FactorView, RecoveryCodes, SteppedUp, qr_svg
from web.passwords import known
from web.quotas import PASSWORD
from web.routing import EVERYONE, Feature
from web.second_factor import WRONG_CODE, examine, note_wrong_code, prove, use
from web.sign_in import UNSTORED, SignedIn

second_factor = Feature("mfa")

OWN = "the caller's own second factor"


@second_factor.route(
    "GET",
    "/v1/auth/mfa",
    allow=list(Role),
    owns=OWN,
    answers={200: FactorView},
    factor=FactorRule.MAY_BE_MISSING,
)
async def read(call: Call) -> Answer:
    """Whether a second factor is on, and whether it must be."""
    async with call.services.db.connection() as db:
        account, standing = await _account(call, db), await mfa.standing(db, call.user_id)
    view = FactorView(
        enabled=standing is not None,
        required=bool(account.roles & call.services.settings.mfa_roles),
        factors=list(Factor) if standing else [],
        enabled_at=standing.confirmed_at if standing else None,
        recovery_codes_left=standing.recovery_codes_left if standing else 0,
    )
    return Answer(view)


@second_factor.route(
    "POST",
    "/v1/auth/mfa/enroll",
    allow=list(Role),
    owns=OWN,
    answers={200: Enrollment},
    errors=[errors.InvalidState, errors.InvalidCredentials, errors.RateLimited],
    audited=True,
    limit=PASSWORD,
    factor=FactorRule.ENROLLING,
)
async def enroll(call: Call, command: EnrollFactor) -> Answer:
    """Set up an authenticator app. Until `/v1/auth/mfa/confirm` nothing changes. Asked again, the app is a new one."""
    await _check_recent(call, command)
    secret = rules.secret_of(os.urandom(rules.SECRET_BYTES))
    async with call.services.db.transaction() as db:
        person = await accounts.recipient(db, call.user_id, None)
        if person is None:
            raise errors.Unauthenticated
        if not await mfa.enroll(db, call.services.person_keys, call.user_id, secret):
            raise errors.InvalidState("A second factor is on; disable it before you set up another.")
        await audit.append(db, call.actor, "mfa.enroll", call.user_id)
    uri = rules.otpauth_uri(secret, person.email)
    return Answer(Enrollment(secret=secret, otpauth_uri=uri, qr_svg=qr_svg(uri)), headers=UNSTORED)


@second_factor.route(
    "POST",
    "/v1/auth/mfa/confirm",
    allow=list(Role),
    owns=OWN,
    answers={200: RecoveryCodes},
    errors=[errors.InvalidState, errors.InvalidCredentials, errors.RateLimited],
    audited=True,
    limit=PASSWORD,
    factor=FactorRule.ENROLLING,
)
async def confirm(call: Call, command: ConfirmFactor) -> Answer:
    """Show that the app works. From now on it is asked for at each sign-in."""
    async with call.services.db.connection() as db:
        app = await mfa.enrolled(db, call.services.person_keys, call.user_id)
    if app is None or app.confirmed:
        raise errors.InvalidState("There is no app that waits to be confirmed; enroll one first.")
    async with guessing(call, "factor", str(call.user_id), call.user_id):
        step = rules.matching_step(app.secret, command.code.get_secret_value(), call.now, app.last_step)
        if step is None:
            await note_wrong_code(call, call.actor)
            raise errors.InvalidCredentials(WRONG_CODE)
    codes, hashes = await _recovery_codes(call)
    async with call.services.db.transaction() as db:
        await _turn_on(call, db, app, step, hashes)
    return Answer(RecoveryCodes(recovery_codes=codes), headers=UNSTORED)


@second_factor.route(
    "POST",
    "/v1/auth/mfa/verify",
    allow=EVERYONE,
    owns="whoever has just given the password and holds the factor",
    answers={200: SignedIn},
    errors=[errors.Unauthenticated, errors.InvalidCredentials, errors.RateLimited],
    audited=True,
    limit=PASSWORD,
)
async def verify(call: Call, command: VerifyFactor) -> Answer:
    """The second half of signing in: the token that login gave, and a code."""
    return await sign_in.open_session(call, *await prove(call, command))


@second_factor.route(
    "POST",
    "/v1/auth/mfa/disable",
    allow=list(Role),
    owns=OWN,
    answers={204: None},
    errors=[errors.InvalidState, errors.InvalidCredentials, errors.RateLimited],
    audited=True,
    limit=PASSWORD,
)
async def disable(call: Call, command: DisableFactor) -> Answer:
    """Do without a second factor again. Needs both: the password, and a code of the app or a recovery code.

    That it was shown counts no more: access tokens that say so are to be exchanged (`/v1/auth/refresh`).
    """
    async with call.services.db.connection() as db:
        account = await _account(call, db)
        if not await mfa.is_on(db, account.id):
            raise errors.InvalidState("There is no second factor to disable.")
    await known(call, command.password)
    proof = await examine(call, account, command.code.get_secret_value())
    async with call.services.db.transaction() as db:
        await use(call, db, account, proof)
        await mfa.remove(db, account.id)
        versions = await sessions.outdate_tokens(db, account.id)
        await mfa.forget_shown(db, account.id)
        await audit.append(db, call.actor, "mfa.disable", account.id)
        await events.append(db, MfaDisabled(subject=account.id))
    await call.services.markers.note(versions)
    return Answer(status=204)


@second_factor.route(
    "POST",
    "/v1/auth/mfa/recovery-codes",
    allow=list(Role),
    owns=OWN,
    answers={200: RecoveryCodes},
    audited=True,
    limit=2 * PASSWORD,
    step_up=True,
)
async def replace_recovery_codes(call: Call, command: ReplaceRecoveryCodes) -> Answer:  # noqa: ARG001 - an empty body
    """Get ten new recovery codes; those before are void."""
    codes, hashes = await _recovery_codes(call)
    async with call.services.db.transaction() as db:
        if not await mfa.lock(db, call.user_id):  # it was disabled since the token was given
            raise errors.MfaEnrollmentRequired
        await mfa.replace_recovery_codes(db, call.user_id, hashes)
        await audit.append(db, call.actor, "mfa.replace_recovery_codes", call.user_id)
        await events.append(db, RecoveryCodesReplaced(subject=call.user_id))
    return Answer(RecoveryCodes(recovery_codes=codes), headers=UNSTORED)


@second_factor.route(
    "POST",
    "/v1/auth/step-up",
    allow=list(Role),
    owns="the caller's own session",
    answers={200: SteppedUp},
    errors=[errors.MfaEnrollmentRequired, errors.InvalidCredentials, errors.RateLimited],
    audited=True,
    limit=PASSWORD,
    factor=FactorRule.MAY_BE_MISSING,
)
async def step_up(call: Call, command: StepUp) -> Answer:
    """Show the second factor once more, for what needs one that was used in the last ten minutes."""
    async with call.services.db.connection() as db:
        account = await _account(call, db)
        if not await mfa.is_on(db, account.id):
            raise errors.MfaEnrollmentRequired
    proof = await examine(call, account, command.code.get_secret_value())
    async with call.services.db.transaction() as db:
        await use(call, db, account, proof)
        session = await _show(call, db, proof.factor)
        await audit.append(db, call.actor, "auth.step_up", session.id)
    body = SteppedUp(access_token=sign_in.access_token(call, session), expires_in=call.services.tokens.life_seconds)
    return Answer(body, headers=UNSTORED)


async def _account(call: Call, db: Connection) -> Account:
    account = await accounts.find(db, call.user_id)
    if account is None:  # it was erased, and the token has not run out yet
        raise errors.Unauthenticated
    return account


async def _check_recent(call: Call, command: EnrollFactor) -> None:
    """How somebody signs in may be changed soon after signing in, or with the password (ASVS 7.5.1)."""
    if call.challenge or (call.principal and rules.is_recent(call.principal.authenticated_at, call.now)):
        return
    if command.password is None:
        raise errors.ValidationFailed(
            "Your sign-in is older than ten minutes: give your password too.", pointer="/password"
        )
    await known(call, command.password)


async def _turn_on(call: Call, db: Connection, app: Enrolled, step: int, hashes: list[str]) -> None:
    """Raises InvalidState when it is on already, Unauthenticated when the login or session is over."""
    if not await mfa.confirm(db, call.user_id, step, app):
        raise errors.InvalidState("There is no app that waits to be confirmed; enroll one first.")
    await mfa.replace_recovery_codes(db, call.user_id, hashes)
    if call.challenge is None:
        await _show(call, db, Factor.TOTP)
    elif not await mfa.use_challenge(db, call.challenge.id):
        raise errors.Unauthenticated
    await audit.append(db, call.actor, "mfa.enable", call.user_id)
    await events.append(db, MfaEnabled(subject=call.user_id))


async def _show(call: Call, db: Connection, factor: Factor) -> Session:
    """The caller's session, in which the factor was just shown. Raises Unauthenticated when it is over."""
    session = await mfa.show(db, call.session_id, call.now, factor)
    if session is None:
        raise errors.Unauthenticated
    return session


async def _recovery_codes(call: Call) -> tuple[list[str], list[str]]:
    """New codes, and their hashes."""
    codes = rules.recovery_codes_of(os.urandom(rules.RECOVERY_BYTES))
    plain = [rules.plain_recovery_code(code) for code in codes]
    return codes, await asyncio.gather(*map(call.services.passwords.hash, plain))
