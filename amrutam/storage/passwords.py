"""Passwords as hashes, and the links that replace them."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from amrutam.domain.common import Role
from amrutam.storage.auth import Recipient, roles_of
from amrutam.storage.pool import Connection

RESET_LINK = "reset-password"


class Holder(NamedTuple):
    """Whose password it is, and what others may know of them."""

    id: UUID
    password_hash: str
    roles: frozenset[Role]
    email: str
    full_name: str


async def holder(db: Connection, user_id: UUID) -> Holder | None:
    """The account's password as it stands."""
    row = await db.fetchrow(
        "SELECT id, password_hash, roles, email, full_name FROM users WHERE id = $1", user_id
    )  # fmt: skip
    return Holder(row[0], row[1], roles_of(row[2]), row[3], row[4]) if row else None


async def rehash(db: Connection, user_id: UUID, old_hash: str, new_hash: str) -> bool:
    """The same password, hashed by today's parameters. False, and nothing done, when the hash has just been changed."""
    done = await db.execute(
        "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2", user_id, old_hash, new_hash
    )
    return done == "UPDATE 1"


async def replace(db: Connection, user_id: UUID, old_hash: str, new_hash: str) -> bool:
    """Another password; links that would replace it are void. False, and nothing done, when `old_hash` is not its hash
    any more.
    """
    done = await db.execute(
        "UPDATE users SET password_hash = $3, version = version + 1 WHERE id = $1 AND password_hash = $2",
        user_id, old_hash, new_hash,
    )  # fmt: skip
    if done != "UPDATE 1":
        return False
    await end_resets(db, user_id)
    return True


async def insert_reset(db: Connection, token_id: UUID, user_id: UUID, hashed: bytes, expires_at: datetime) -> None:
    """A link that lets its holder choose another password."""
    await db.execute(
        "INSERT INTO password_resets (id, user_id, token_hash, expires_at) VALUES ($1, $2, $3, $4)",
        token_id, user_id, hashed, expires_at,
    )  # fmt: skip


async def live_resets(db: Connection, user_id: UUID) -> int:
    """How many links of this account are good."""
    return await db.fetchval(
        "SELECT count(*) FROM password_resets WHERE user_id = $1 AND used_at IS NULL AND expires_at > now()", user_id
    )


async def holder_of_reset(db: Connection, hashed: bytes) -> Holder | None:
    """Whose password the link replaces. None when it is unknown, used or too old."""
    user_id = await db.fetchval(
        "SELECT user_id FROM password_resets WHERE token_hash = $1 AND used_at IS NULL AND expires_at > now()", hashed
    )
    return await holder(db, user_id) if user_id else None


async def reset(db: Connection, hashed: bytes, new_hash: str) -> UUID | None:
    """Use a link; the account's other links are void then. None when it is unknown, used or too old."""
    user_id = await db.fetchval("SELECT user_id FROM password_resets WHERE token_hash = $1", hashed)
    # The account's row first, as everywhere: two links used at once then wait, and never for each other.
    await db.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", user_id)
    used = await db.execute(
        """UPDATE password_resets SET used_at = now()
           WHERE token_hash = $1 AND used_at IS NULL AND expires_at > now()""",
        hashed,
    )  # fmt: skip
    if used != "UPDATE 1":
        return None
    await end_resets(db, user_id)
    await db.execute("UPDATE users SET password_hash = $2, version = version + 1 WHERE id = $1", user_id, new_hash)
    return user_id


async def end_resets(db: Connection, user_id: UUID) -> None:
    """Links of this account lead nowhere from now on."""
    await db.execute("UPDATE password_resets SET used_at = now() WHERE user_id = $1 AND used_at IS NULL", user_id)


async def recipient(db: Connection, user_id: UUID, token_id: UUID) -> Recipient | None:
    """Where a reset's mail goes. None when the account is gone."""
    row = await db.fetchrow(
        """SELECT u.email, u.full_name, u.time_zone, r.expires_at AS link_until
           FROM users u LEFT JOIN password_resets r
             ON r.id = $2 AND r.user_id = u.id AND r.used_at IS NULL AND r.expires_at > now()
           WHERE u.id = $1""",
        user_id, token_id,
    )  # fmt: skip
    return Recipient(**row) if row else None


async def forget_resets_before(db: Connection, moment: datetime, limit: int) -> int:
    """Remove up to `limit` links that were good until before `moment`; returns how many."""
    gone = await db.fetch(
        """DELETE FROM password_resets WHERE id IN
           (SELECT id FROM password_resets WHERE expires_at < $1 LIMIT $2) RETURNING 1""",
        moment, limit,
    )  # fmt: skip
    return len(gone)
