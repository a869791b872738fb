"""Sessions over HTTP: stay signed in, see where one is signed in, sign out here, there or everywhere.

Whoever ends sessions tells the markers once the rows are committed; should that be missed, the relay does it.
"""

import secrets
from uuid import UUID

from pydantic import SecretStr

from amrutam.domain import errors
from amrutam.domain.common import Message, Role
from amrutam.domain.sessions import LogOut, OpenSession, Refresh, Verdict, judge
from amrutam.storage import audit, sessions
from amrutam.storage import auth as accounts
from web import paging
from web.context import Answer, Call
from web.factor import FactorRule
from web.paging import Page
from web.routing import EVERYONE, Feature
from web.sign_in import SignedIn, as_actor, expiry, signed_in

signing_in = Feature("sessions")


class SessionPage(Message):
    """The caller's live sessions, the newest first."""

    items: list[OpenSession]
    next_cursor: str | None


@signing_in.route(
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
    ended: dict[UUID, int] = {}
    async with call.services.db.transaction() as db:
        token = await sessions.lock_refresh_token(db, used)
        verdict = judge(token)
        if token and verdict is Verdict.ROTATE:
            keys, hashed = call.services.person_keys, accounts.token_hash(fresh)
            ends = expiry(call, token.session.authenticated_at)
            await sessions.rotate(db, keys, token.session, call.address, ends, used=used, fresh=hashed)
            who = as_actor(call, token.session.user_id, token.session.roles)
            await audit.append(db, who, "auth.refresh", token.session.id)
        elif token and verdict is Verdict.END_SESSION:
            ended |= await sessions.end(db, token.session.user_id, [token.session.id])
            await audit.append_system(db, "auth.refresh_token_reused", token.session.id)
    await call.services.markers.note(ended)
    if token is None or verdict is not Verdict.ROTATE:
        raise errors.Unauthenticated("The refresh token is not good any more; sign in again.")
    return signed_in(call, token.session, fresh)


@signing_in.route(
    "POST",
    "/v1/auth/logout",
    allow=list(Role),
    owns="the caller's own session",
    answers={204: None},
    audited=True,
    factor=FactorRule.MAY_BE_MISSING,
)
async def logout(call: Call, command: LogOut) -> Answer:
    """End the session of the access token, and that of the refresh token if it is another of the caller's."""
    async with call.services.db.transaction() as db:
        ending = {call.session_id}
        if command.refresh_token:
            other = await sessions.of_token(db, _digest(command.refresh_token), call.user_id)
            ending |= {other} if other else set()
        ended = await sessions.end(db, call.user_id, ending)
        for session_id in sorted(ended):
            await audit.append(db, call.actor, "auth.logout", session_id)
    await call.services.markers.note(ended)
    return Answer(status=204)


@signing_in.route(
    "POST",
    "/v1/auth/logout-all",
    allow=list(Role),
    owns="the caller's own sessions",
    answers={204: None},
    audited=True,
    factor=FactorRule.MAY_BE_MISSING,
)
async def logout_all(call: Call) -> Answer:
    """End every session of yours, this one too. Their tokens stop working at once, and no device is known."""
    async with call.services.db.transaction() as db:
        ended = await sessions.end_all(db, call.user_id)
        await audit.append(db, call.actor, "auth.logout_all", call.user_id)
    await call.services.markers.note(ended)
    return Answer(status=204)


@signing_in.route(
    "GET",
    "/v1/auth/sessions",
    allow=list(Role),
    owns="the caller's own sessions",
    answers={200: SessionPage},
    errors=[errors.InvalidCursor],
)
async def list_sessions(call: Call, query: Page) -> Answer:
    """Where you are signed in: the device, the network address of its last use, and when that was."""
    async with call.services.db.connection() as db:
        found = await sessions.open_of(
            db,
            call.services.person_keys,
            call.user_id,
            after=paging.position(call, query),
            limit=query.limit + 1,
            current=call.session_id,
        )
    shown = found[: query.limit]
    more = paging.cursor(call, query, shown[-1].id) if len(found) > query.limit else None
    return Answer(SessionPage(items=shown, next_cursor=more))


@signing_in.route(
    "DELETE",
    "/v1/auth/sessions/{id}",
    allow=list(Role),
    owns="the caller's own sessions",
    answers={204: None},
    errors=[errors.NotFound],
    audited=True,
)
async def end_session(call: Call, id: UUID) -> Answer:
    """Sign a device out. Its tokens stop working at once."""
    async with call.services.db.transaction() as db:
        ended = await sessions.end(db, call.user_id, [id])
        if not ended:
            raise errors.NotFound
        await audit.append(db, call.actor, "auth.session_end", id)
    await call.services.markers.note(ended)
    return Answer(status=204)


def _digest(token: SecretStr) -> bytes:
    return accounts.token_hash(token.get_secret_value())
