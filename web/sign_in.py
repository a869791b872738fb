"""Signing in, whichever way: who it is, what they proved, and the session that is opened for them."""

import secrets
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Literal
from uuid import UUID

from pydantic import SecretStr

from amrutam.domain import errors
from amrutam.domain.audit import Actor
from amrutam.domain.common import Message, Role
from amrutam.domain.sessions import Session
from amrutam.ids import new_id
from amrutam.storage import audit, sessions
from amrutam.storage import auth as accounts
from amrutam.storage.auth import Account
from amrutam.tokens import Principal
from web.context import Answer, Call

UNSTORED = {"Cache-Control": "no-store"}


class SignedIn(Message):
    """Tokens. The access token is good for `expires_in` seconds, the refresh token for one use."""

    status: Literal["authenticated"] = "authenticated"
    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a kind of token, not a token
    expires_in: int
    refresh_token: str
    session_id: UUID


async def recognise(call: Call, email: str, password: SecretStr) -> Account:
    """Whose address and password these are. Raises InvalidCredentials for both alike, EmailUnverified."""
    async with call.services.db.connection() as db:
        account = await accounts.find_by_email(db, email)
    known_hash = account.password_hash if account else None
    right = await call.services.passwords.verify(known_hash, password.get_secret_value())
    if account is None or not right:
        raise errors.InvalidCredentials
    if not account.verified:
        raise errors.EmailUnverified
    return account


async def open_session(call: Call, account: Account, device_name: str | None, methods: Sequence[str]) -> Answer:
    """A new session with its first tokens. `methods` are RFC 8176 names of what the person has shown."""
    session = Session(
        id=new_id(), user_id=account.id, roles=account.roles, authenticated_at=call.now, methods=list(methods)
    )
    fresh, ends = secrets.token_urlsafe(32), call.now + timedelta(days=call.services.settings.session_days)
    async with call.services.db.transaction() as db:
        await sessions.insert(db, session, device_name, ends, accounts.token_hash(fresh))
        await audit.append(db, as_actor(call, account.id, account.roles), "auth.login", session.id)
    return signed_in(call, session, fresh)


def signed_in(call: Call, session: Session, refresh_token: str) -> Answer:
    """The answer with fresh tokens."""
    tokens = call.services.tokens
    principal = Principal(user_id=session.user_id, session_id=session.id, roles=session.roles)
    body = SignedIn(
        access_token=tokens.issue(principal, now=call.now, auth_time=session.authenticated_at, methods=session.methods),
        expires_in=tokens.life_seconds,
        refresh_token=refresh_token,
        session_id=session.id,
    )
    return Answer(body, headers=UNSTORED)


def as_actor(call: Call, user_id: UUID, roles: Collection[Role]) -> Actor:
    """Somebody who acts for themselves before they are signed in."""
    return Actor(id=user_id, role=min(roles), request_id=call.request_id)
