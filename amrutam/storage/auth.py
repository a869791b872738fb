"""Accounts, links sent by mail, sessions. Phone, address and date of birth are sealed and opened here."""

import base64
import hashlib
import secrets
from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from amrutam.crypto import Keyring, place
from amrutam.domain.auth import Person, Profile
from amrutam.domain.common import Role
from amrutam.ids import new_id
from amrutam.storage.person_keys import DataKey, PersonKeys
from amrutam.storage.pool import Connection

VERIFY_LINK = "verify-email"


class Account(NamedTuple):
    """What signing in needs to know."""

    id: UUID
    password_hash: str
    roles: frozenset[Role]
    verified: bool
    suspended: bool = False


class Verified(NamedTuple):
    """An account whose address has just been confirmed."""

    id: UUID
    roles: frozenset[Role]
    full_name: str
    time_zone: str


class Registration(NamedTuple):
    """What somebody said when they asked for an account."""

    password_hash: str
    roles: Collection[Role]
    profile: Profile
    asked_at: datetime


class Recipient(NamedTuple):
    """Where a mail goes, and until when its link is good (None: there is no such link, or it is used or too old).

    A link that confirms a registration says in which roles, and when the registration was made.
    """

    email: str
    full_name: str
    time_zone: str
    link_until: datetime | None
    roles: Sequence[str] = ()
    asked_at: datetime | None = None


async def insert(
    db: Connection,
    keys: PersonKeys,
    user_id: UUID,
    email: str,
    password_hash: str,
    roles: Collection[Role],
    profile: Profile,
) -> bool:
    """A new, unverified account with its data key. False, and nothing done, when the address has one."""
    made = await db.fetchval(
        """INSERT INTO users (id, email, password_hash, full_name, roles, sex, time_zone, locale)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (email) DO NOTHING RETURNING id""",
        user_id, email, password_hash, profile.full_name, sorted(roles), profile.sex, profile.time_zone, profile.locale,
    )  # fmt: skip
    if made is None:
        return False
    await _seal_into(db, keys, await keys.create(db, user_id), user_id, profile)
    return True


async def replace_unverified(
    db: Connection, keys: PersonKeys, user_id: UUID, password_hash: str, roles: Collection[Role], profile: Profile
) -> None:
    """What a link puts into force takes the place of what the first registration with the address said."""
    await db.execute(
        """UPDATE users SET password_hash = $2, full_name = $3, roles = $4, sex = $5, time_zone = $6, locale = $7,
                  version = version + 1
           WHERE id = $1 AND email_verified_at IS NULL""",
        user_id, password_hash, profile.full_name, sorted(roles), profile.sex, profile.time_zone, profile.locale,
    )  # fmt: skip
    await _seal_into(db, keys, await keys.of(db, user_id), user_id, profile)


async def edit(db: Connection, keys: PersonKeys, user_id: UUID, profile: Profile) -> None:
    """The person says this of themselves from now on."""
    await db.execute(
        """UPDATE users SET full_name = $2, sex = $3, time_zone = $4, locale = $5, version = version + 1
           WHERE id = $1""",
        user_id, profile.full_name, profile.sex, profile.time_zone, profile.locale,
    )  # fmt: skip
    await _seal_into(db, keys, await keys.of(db, user_id), user_id, profile)


async def _seal_into(db: Connection, keys: PersonKeys, key: DataKey, user_id: UUID, profile: Profile) -> None:
    born = profile.date_of_birth.isoformat() if profile.date_of_birth else None
    texts = {"phone": profile.phone, "address": profile.address, "date_of_birth": born}
    sealed = [key.seal(text, place("users", user_id, column)) if text else None for column, text in texts.items()]
    index = keys.phones.of(profile.phone) if profile.phone else None
    await db.execute(
        "UPDATE users SET phone = $2, address = $3, date_of_birth = $4, phone_index = $5 WHERE id = $1",
        user_id, *sealed, index,
    )  # fmt: skip


async def person(db: Connection, keys: PersonKeys, user_id: UUID, *, lock: bool = False) -> Person | None:
    """The account with its sealed fields opened; with `lock` kept from others until the transaction ends.

    Raises SealError, DataKeyMissing.
    """
    row = await db.fetchrow(
        f"""SELECT id, email, full_name, roles, sex, time_zone, locale, created_at, version, phone, address,
                   date_of_birth FROM users WHERE id = $1 {"FOR UPDATE" if lock else ""}""",  # noqa: S608 - constants
        user_id,
    )  # fmt: skip
    if row is None:
        return None
    key = await keys.of(db, user_id)
    sealed = {column: row[column] for column in ("phone", "address", "date_of_birth")}
    opened = {
        column: key.open(value, place("users", user_id, column)) if value else None for column, value in sealed.items()
    }
    born = date.fromisoformat(opened["date_of_birth"]) if opened["date_of_birth"] else None
    return Person.model_validate({**dict(row), **opened, "date_of_birth": born})


async def find_by_email(db: Connection, email: str) -> Account | None:
    """The account of this address."""
    return await _account(db, email)


async def find(db: Connection, user_id: UUID) -> Account | None:
    """The account of this id."""
    row = await db.fetchrow(
        """SELECT id, password_hash, roles, email_verified_at IS NOT NULL, suspended_at IS NOT NULL
           FROM users WHERE id = $1""",
        user_id,
    )  # fmt: skip
    return Account(row[0], row[1], roles_of(row[2]), row[3], row[4]) if row else None


async def lock_by_email(db: Connection, email: str) -> Account | None:
    """The account of this address, kept from others until the transaction ends."""
    return await _account(db, email, "FOR UPDATE")


async def _account(db: Connection, email: str, lock: str = "") -> Account | None:
    row = await db.fetchrow(
        f"""SELECT id, password_hash, roles, email_verified_at IS NOT NULL, suspended_at IS NOT NULL
            FROM users WHERE email = $1 {lock}""",  # noqa: S608 - constants
        email,
    )  # fmt: skip
    return Account(row[0], row[1], roles_of(row[2]), row[3], row[4]) if row else None


def link_token(keyring: Keyring, token_id: UUID, purpose: str = VERIFY_LINK) -> str:
    """The token of a link, derived from its id: so it need not travel through events, workflows and backups."""
    return base64.urlsafe_b64encode(keyring.mark(purpose, token_id.bytes)).rstrip(b"=").decode()


def token_hash(token: str) -> bytes:
    """What is stored of a token that somebody else holds. Tokens are 256 random bits: SHA-256 hides them."""
    return hashlib.sha256(token.encode()).digest()


async def first_registration(db: Connection, keys: PersonKeys, account: Account) -> Registration | None:
    """What an unconfirmed account's row says. None when there is none. Raises SealError, DataKeyMissing."""
    said = await person(db, keys, account.id)
    return Registration(account.password_hash, said.roles, said.bare(), said.created_at) if said else None


async def insert_email_token(
    db: Connection,
    keys: PersonKeys,
    token_id: UUID,
    user_id: UUID,
    hashed: bytes,
    registration: Registration,
    expires_at: datetime,
) -> None:
    """A link that will confirm the account's address and put this registration into force.

    The profile is sealed. The roles are not, as in `users`: whoever sends the mail names them and needs no data key.
    """
    said = registration.profile.bare().model_dump_json()
    sealed = (await keys.of(db, user_id)).seal(said, place("email_tokens", token_id, "profile"))
    await db.execute(
        """INSERT INTO email_tokens (id, user_id, token_hash, password_hash, roles, profile, asked_at, expires_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8)""",
        token_id, user_id, hashed, registration.password_hash, sorted(registration.roles), sealed,
        registration.asked_at, expires_at,
    )  # fmt: skip


async def remember_password(db: Connection, user_id: UUID, password_hash: str, expires_at: datetime) -> None:
    """The password of the newest registration with the account's address, in a row whose token nobody has."""
    await db.execute("DELETE FROM email_tokens WHERE user_id = $1 AND profile IS NULL", user_id)
    await db.execute(
        """INSERT INTO email_tokens (id, user_id, token_hash, password_hash, expires_at) VALUES ($1, $2, $3, $4, $5)""",
        new_id(), user_id, secrets.token_bytes(32), password_hash, expires_at,
    )  # fmt: skip


async def remembered_password(db: Connection, user_id: UUID | None) -> str | None:
    """The hash of the password of the newest registration that was not put into force, until it is forgotten."""
    return await db.fetchval(
        "SELECT password_hash FROM email_tokens WHERE user_id = $1 AND profile IS NULL AND used_at IS NULL", user_id
    )


async def verify_by_token(db: Connection, keys: PersonKeys, hashed: bytes) -> Verified | None:
    """Use a link: the account is what its registration said. None when it is unknown, used or too old.

    Raises SealError, DataKeyMissing.
    """
    user_id = await db.fetchval("SELECT user_id FROM email_tokens WHERE token_hash = $1", hashed)
    # The account's row first, here and in registering: two links opened at once then wait, and never for each other.
    waits = await db.fetchval("SELECT email_verified_at IS NULL FROM users WHERE id = $1 FOR UPDATE", user_id)
    link = await db.fetchrow(
        """SELECT id, password_hash, roles, profile FROM email_tokens
           WHERE token_hash = $1 AND profile IS NOT NULL AND used_at IS NULL AND expires_at > now()""",
        hashed,
    )  # fmt: skip
    if not waits or link is None:
        return None
    # What another's newest registration chose stays remembered: else signing in with it would tell of the confirmation.
    await db.execute(
        """UPDATE email_tokens SET used_at = now()
           WHERE user_id = $1 AND used_at IS NULL AND (profile IS NOT NULL OR password_hash = $2)""",
        user_id, link["password_hash"],
    )  # fmt: skip
    said = (await keys.of(db, user_id)).open(link["profile"], place("email_tokens", link["id"], "profile"))
    profile, roles = Profile.model_validate_json(said), roles_of(link["roles"])
    await replace_unverified(db, keys, user_id, link["password_hash"], roles, profile)
    return await mark_verified(db, user_id, link["password_hash"])


async def mark_verified(db: Connection, user_id: UUID, password_hash: str) -> Verified | None:
    """The address is the person's own; they sign in with this password. None when there is no such account."""
    row = await db.fetchrow(
        """UPDATE users SET email_verified_at = now(), password_hash = $2, version = version + 1 WHERE id = $1
           RETURNING id, roles, full_name, time_zone""",
        user_id, password_hash,
    )  # fmt: skip
    return Verified(row["id"], roles_of(row["roles"]), row["full_name"], row["time_zone"]) if row else None


async def recipient(db: Connection, user_id: UUID, token_id: UUID | None) -> Recipient | None:
    """Where a mail to this person goes. None when the account is gone.

    Before the address is confirmed its times are UTC: nobody knows who chose the time zone.
    """
    row = await db.fetchrow(
        """SELECT u.email, u.full_name, t.expires_at AS link_until, coalesce(t.roles, '{}') AS roles, t.asked_at,
                  CASE WHEN u.email_verified_at IS NULL THEN 'UTC' ELSE u.time_zone END AS time_zone
           FROM users u LEFT JOIN email_tokens t
             ON t.id = $2 AND t.user_id = u.id AND t.used_at IS NULL AND t.expires_at > now()
           WHERE u.id = $1""",
        user_id, token_id,
    )  # fmt: skip
    return Recipient(**row) if row else None


async def live_email_tokens(db: Connection, user_id: UUID) -> int:
    """How many links that confirm this account's address are good."""
    return await db.fetchval(
        """SELECT count(*) FROM email_tokens
           WHERE user_id = $1 AND profile IS NOT NULL AND used_at IS NULL AND expires_at > now()""",
        user_id,
    )  # fmt: skip


async def forget_email_tokens_before(db: Connection, moment: datetime, limit: int) -> int:
    """Remove up to `limit` links that were good until before `moment`; returns how many."""
    gone = await db.fetch(
        """DELETE FROM email_tokens WHERE id IN
           (SELECT id FROM email_tokens WHERE expires_at < $1 LIMIT $2) RETURNING 1""",
        moment, limit,
    )  # fmt: skip
    return len(gone)


def roles_of(names: Sequence[str]) -> frozenset[Role]:
    """Roles as the database names them."""
    return frozenset(Role(name) for name in names)
