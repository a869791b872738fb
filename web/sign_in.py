"""Signing in, whichever way: who it is, what they proved, and the session that is opened for them."""

import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from pydantic import SecretStr

from amrutam.domain import errors
from amrutam.domain.common import Message, Role
from amrutam.domain.devices import family
from amrutam.domain.sessions import SUSPENDED, Session, SessionOpenedOnNewDevice
from amrutam.ids import new_id
from amrutam.storage import audit, events, passwords, sessions
from amrutam.storage import auth as accounts
from amrutam.storage.audit import Caller
from amrutam.storage.auth import Account
from amrutam.storage.pool import Connection
from amrutam.storage.sessions import Device
from amrutam.tokens import Principal
from web import links
from web.addresses import network_of
from web.context import Answer, Call
from web.denials import note_failed_sign_in
from web.devices import HEADER, device_headers, recognised_device
from web.limits import guessing
from web.parsing import header

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
    """Whose address and password these are.

    Raises InvalidCredentials for both alike, RateLimited, and to who knows the password Forbidden; EmailUnverified to
    who has the password of the newest registration with the address, whether or not its account is another's.
    """
    async with call.services.db.connection() as db:
        account = await accounts.find_by_email(db, email)
    own_hash, started = account.password_hash if account and account.verified else None, time.monotonic()
    async with guessing(call, "login", email, account.id if account else None):
        right = await call.services.passwords.verify(own_hash, password.get_secret_value())
        if account is None or not right:
            refusal = await _refusal(call, account.id if account else None, email, password)
            await links.rest(started)  # a hash with parameters of other days would show in the time
            raise refusal  # counted as a wrong guess in any case: a stranger's own password must not take guesses back
    if account.suspended:
        raise errors.Forbidden(SUSPENDED)
    if call.services.passwords.outdated(account.password_hash):
        rehashed = await _rehash(call, account, password)
        return rehashed or await recognise(call, email, password)
    return account


async def _refusal(call: Call, account_id: UUID | None, email: str, password: SecretStr) -> errors.DomainError:
    """Why a password opens no account, noted. One more hash is checked for every address, so that none shows."""
    async with call.services.db.connection() as db:
        remembered = await accounts.remembered_password(db, account_id)
    registered = await call.services.passwords.verify(remembered, password.get_secret_value())
    await note_failed_sign_in(call, account_id, email)
    return errors.EmailUnverified() if registered else errors.InvalidCredentials()


async def _rehash(call: Call, account: Account, password: SecretStr) -> Account | None:
    """The one moment at which the password is there to be hashed by today's parameters, where they have changed.

    None when its hash was changed meanwhile: by another sign-in, or with the password.
    """
    new_hash = await call.services.passwords.hash(password.get_secret_value())
    async with call.services.db.connection() as db:
        done = await passwords.rehash(db, account.id, account.password_hash, new_hash)
    return account._replace(password_hash=new_hash) if done else None


async def open_session(call: Call, account: Account, device_name: str | None, methods: Sequence[str]) -> Answer:
    """A new session with its first tokens. `methods` are RFC 8176 names of what the person has shown.

    Raises as `begin` does.
    """
    fresh, ends = secrets.token_urlsafe(32), expiry(call, call.now)
    async with call.services.db.transaction() as db:
        session, makes_known = await begin(call, db, account, device_name, methods, ends, accounts.token_hash(fresh))
    answer = signed_in(call, session, fresh)
    return answer._replace(headers={**answer.headers, **makes_known})


async def begin(
    call: Call,
    db: Connection,
    account: Account,
    device_name: str | None,
    methods: Sequence[str],
    ends: datetime,
    hashed: bytes | None,
) -> tuple[Session, dict[str, str]]:
    """A new session, with its first refresh token by its hash, and the headers that make the device known.

    Raises InvalidCredentials when the password has been changed since it was shown, Forbidden when an administrator has
    suspended the account.
    """
    device = Device(device_name, family(header(call.request, "user-agent")), call.address)
    roles = await sessions.hold_account(db, account)
    makes_known = await device_headers(call, db, account.id)
    session = Session(
        id=new_id(),
        user_id=account.id,
        roles=roles,
        authenticated_at=call.now,
        methods=list(methods),
        factor_at=call.now if len(methods) > 1 else None,
    )
    await sessions.insert(db, call.services.person_keys, session, device, ends, hashed)
    if await sessions.meet_device(db, account.id, *_marks(call, account.id, device, makes_known)):
        await events.append(db, SessionOpenedOnNewDevice(subject=account.id, session_id=session.id))
    await audit.append(db, as_actor(call, account.id, roles), "auth.login", session.id)
    return session, makes_known


def _marks(call: Call, user_id: UUID, device: Device, makes_known: Mapping[str, str]) -> tuple[bytes, bytes]:
    """What the device is recognised by now, and what it will be by the token that it is given.

    Without a token that is its network. What the device says of itself counts too: it costs a thief one thing more.
    """
    known, given = recognised_device(call, user_id), makes_known[HEADER].partition(".")[0]
    said = [device.family.encode(), (device.name or "").encode()]
    where = known.bytes if known else network_of(device.address).encode()
    mark = call.services.keyring.mark
    return (
        mark("known-device", user_id.bytes, where, *said),
        mark("known-device", user_id.bytes, bytes.fromhex(given), *said),
    )


def expiry(call: Call, authenticated_at: datetime) -> datetime:
    """When a session that is used now is over: after its whole life, or sooner unless it is used again."""
    settings = call.services.settings
    return min(
        authenticated_at + timedelta(days=settings.session_days), call.now + timedelta(days=settings.session_idle_days)
    )


def signed_in(call: Call, session: Session, refresh_token: str) -> Answer:
    """The answer with fresh tokens."""
    body = SignedIn(
        access_token=access_token(call, session),
        expires_in=call.services.tokens.life_seconds,
        refresh_token=refresh_token,
        session_id=session.id,
    )
    return Answer(body, headers=UNSTORED)


def access_token(call: Call, session: Session) -> str:
    """A fresh access token of a session."""
    return call.services.tokens.issue(
        Principal(
            user_id=session.user_id, session_id=session.id, roles=session.roles, token_version=session.token_version
        ),
        now=call.now,
        auth_time=session.authenticated_at,
        methods=session.methods,
        factor_at=session.factor_at,
    )


def as_actor(call: Call, user_id: UUID, roles: Collection[Role]) -> Caller:
    """Somebody who acts for themselves before they are signed in."""
    return call.acting(user_id, min(roles))
