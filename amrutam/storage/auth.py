"""Accounts, links sent by mail, sessions. Phone, address and date of birth are sealed and opened here."""

import base64
import hashlib
from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from amrutam.crypto import Keyring, place
from amrutam.domain.auth import Person, Profile
from amrutam.domain.common import Role
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


class Recipient(NamedTuple):
    """Where a mail goes, and until when its link is good (None: there is no such link, or it is used or too old)."""

    email: str
    full_name: str
    time_zone: str
    link_until: datetime | None


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
    """What a later registration with the same address says takes the place of what an earlier one said."""
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


async def insert_email_token(
    db: Connection, token_id: UUID, user_id: UUID, hashed: bytes, password_hash: str, expires_at: datetime
) -> None:
    """A link that will confirm the account's address and put this password into force."""
    await db.execute(
        """INSERT INTO email_tokens (id, user_id, token_hash, password_hash, expires_at) VALUES ($1, $2, $3, $4, $5)""",
        token_id, user_id, hashed, password_hash, expires_at,
    )  # fmt: skip


async def verify_by_token(db: Connection, hashed: bytes) -> Verified | None:
    """Use a link. None when it is unknown, used or too old. The account's other links are void then."""
    user_id = await db.fetchval("SELECT user_id FROM email_tokens WHERE token_hash = $1", hashed)
    # The account's row first, here and in registering: two links opened at once then wait, and never for each other.
    await db.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", user_id)
    password_hash = await db.fetchval(
        """UPDATE email_tokens SET used_at = now() WHERE token_hash = $1 AND used_at IS NULL AND expires_at > now()
           RETURNING password_hash""",
        hashed,
    )  # fmt: skip
    if password_hash is None:
        return None
    await db.execute("UPDATE email_tokens SET used_at = now() WHERE user_id = $1 AND used_at IS NULL", user_id)
    return await mark_verified(db, user_id, password_hash)


async def mark_verified(db: Connection, user_id: UUID, password_hash: str) -> Verified | None:
    """The address is the person's own; they sign in with this password. None when there is no such account."""
    row = await db.fetchrow(
        """UPDATE users SET email_verified_at = now(), password_hash = $2, version = version + 1 WHERE id = $1
           RETURNING id, roles, full_name, time_zone""",
        user_id, password_hash,
    )  # fmt: skip
    return Verified(row["id"], roles_of(row["roles"]), row["full_name"], row["time_zone"]) if row else None


async def recipient(db: Connection, user_id: UUID, token_id: UUID | None) -> Recipient | None:
    """Where a mail to this person goes. None when the account is gone."""
    row = await db.fetchrow(
        """SELECT u.email, u.full_name, u.time_zone, t.expires_at AS link_until
           FROM users u LEFT JOIN email_tokens t
             ON t.id = $2 AND t.user_id = u.id AND t.used_at IS NULL AND t.expires_at > now()
           WHERE u.id = $1""",
        user_id, token_id,
    )  # fmt: skip
    return Recipient(**row) if row else None


async def live_email_tokens(db: Connection, user_id: UUID) -> int:
    """How many links that confirm this account's address are good."""
    return await db.fetchval(
        "SELECT count(*) FROM email_tokens WHERE user_id = $1 AND used_at IS NULL AND expires_at > now()", user_id
    )


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
