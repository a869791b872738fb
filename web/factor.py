"""What a route asks of the caller's second factor. Kept before its body is read."""

from enum import Enum
from typing import NoReturn

from amrutam.domain.errors import MfaEnrollmentRequired, StepUpRequired, Unauthenticated
from amrutam.domain.mfa import is_recent
from amrutam.storage import mfa
from amrutam.storage.auth import token_hash
from amrutam.tokens import Principal
from web.context import Call
from web.parsing import header


class FactorRule(Enum):
    """Whether somebody whose role needs a second factor may call without one."""

    AS_ROLE_NEEDS = "no"
    MAY_BE_MISSING = "yes"
    ENROLLING = "yes, and with the token of a login that is good for enrolling only"


def bearer(call: Call) -> str:
    """The token that came with the request, `""` for none."""
    scheme, _, token = header(call.request, "authorization").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def is_missing(call: Call, rule: FactorRule, *, step_up: bool) -> bool:
    """Whether the token shows less than this route asks for. Looks at the token alone."""
    who = call.principal
    if who is None:
        return False
    if step_up:
        return not is_recent(who.factor_at, call.now)
    if rule is not FactorRule.AS_ROLE_NEEDS or who.factor_at is not None:
        return False
    return not who.roles.isdisjoint(call.services.settings.mfa_roles)


async def refuse(call: Call) -> NoReturn:
    """Say what the caller can do. Raises StepUpRequired, or MfaEnrollmentRequired where there is no factor to show."""
    async with call.services.db.connection() as db:
        has_factor = await mfa.is_on(db, call.user_id)
    if has_factor:
        raise StepUpRequired
    raise MfaEnrollmentRequired


def is_enrolling(call: Call) -> bool:
    """Whether the token may be that of a login which is good for enrolling only: access tokens have dots."""
    token = bearer(call)
    return bool(token) and "." not in token


async def begin_enrolling(call: Call) -> None:
    """Let somebody in with the token of a login that is good for enrolling only. Raises Unauthenticated."""
    async with call.services.db.connection() as db:
        challenge = await mfa.enrolling(db, token_hash(bearer(call)))
    if challenge is None:
        raise Unauthenticated
    call.challenge = challenge
    call.principal = Principal(user_id=challenge.user_id, session_id=challenge.id, roles=challenge.roles)
    call.request.ctx.user_id = str(challenge.user_id)
