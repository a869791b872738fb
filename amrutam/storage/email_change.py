"""Changes of address, from the wish to both sides' consent."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from amrutam.domain.common import Role
from amrutam.domain.email_change import Progress, Side
from amrutam.storage.auth import Recipient, roles_of
from amrutam.storage.pool import Connection

LINKS = {Side.OLD: "change-email-old", Side.NEW: "change-email-new"}


class Change(NamedTuple):
    """A change that waits for its links, as the holder of one of them opens it."""

    id: UUID
    user_id: UUID
    roles: frozenset[Role]
    side: Side
    new_email: str
    other_side_confirmed: bool


class AddressTaken(Exception):
    """Another account has confirmed this address in the meantime."""


async def begin(
    db: Connection, change_id: UUID, user_id: UUID, new_email: str, hashed: dict[Side, bytes], expires_at: datetime
) -> None:
    """A wish for another address, in place of an earlier one of the same person."""
    await db.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", user_id)
    await end_open(db, user_id)
    await db.execute(
        """INSERT INTO email_changes (id, user_id, old_email, new_email, old_token_hash, new_token_hash, expires_at)
           SELECT $1, id, email, $3, $4, $5, $6 FROM users WHERE id = $2""",
        change_id, user_id, new_email, hashed[Side.OLD], hashed[Side.NEW], expires_at,
    )  # fmt: skip


async def recent(db: Connection, user_id: UUID) -> int:
    """How many changes were asked for that could still be confirmed, had no other come after them."""
    return await db.fetchval("SELECT count(*) FROM email_changes WHERE user_id = $1 AND expires_at > now()", user_id)


async def end_open(db: Connection, user_id: UUID) -> None:
    """Links of a change that waits lead nowhere from now on."""
    await db.execute("UPDATE email_changes SET ended_at = now() WHERE user_id = $1 AND ended_at IS NULL", user_id)


async def lock(db: Connection, hashed: bytes) -> Change | None:
    """The change of this link, kept from others. None when the link is unknown, used or too old."""
    user_id = await db.fetchval(
        "SELECT user_id FROM email_changes WHERE old_token_hash = $1 OR new_token_hash = $1", hashed
    )
    await db.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", user_id)
    row = await db.fetchrow(
        """SELECT c.id, c.user_id, u.roles, c.old_token_hash = $1 AS from_old, c.new_email, c.old_confirmed_at,
                  c.new_confirmed_at
           FROM email_changes c JOIN users u ON u.id = c.user_id
           WHERE (c.old_token_hash = $1 OR c.new_token_hash = $1) AND c.ended_at IS NULL AND c.expires_at > now()
             AND CASE WHEN c.old_token_hash = $1 THEN c.old_confirmed_at ELSE c.new_confirmed_at END IS NULL""",
        hashed,
    )  # fmt: skip
    if row is None:
        return None
    side = Side.OLD if row["from_old"] else Side.NEW
    other = row["new_confirmed_at"] if side is Side.OLD else row["old_confirmed_at"]
    return Change(row["id"], row["user_id"], roles_of(row["roles"]), side, row["new_email"], other is not None)


async def confirm(db: Connection, change: Change) -> Progress:
    """One side's consent; the second one changes the address. Raises AddressTaken."""
    if not change.other_side_confirmed:
        await db.execute(
            """UPDATE email_changes SET old_confirmed_at = CASE WHEN $2 THEN now() ELSE old_confirmed_at END,
                      new_confirmed_at = CASE WHEN $2 THEN new_confirmed_at ELSE now() END WHERE id = $1""",
            change.id, change.side is Side.OLD,
        )  # fmt: skip
        return Progress.HALF_CONFIRMED
    await end_open(db, change.user_id)
    await _release_unconfirmed(db, change.new_email)
    try:
        await db.execute(
            "UPDATE users SET email = $2, version = version + 1 WHERE id = $1", change.user_id, change.new_email
        )
    except asyncpg.UniqueViolationError:
        raise AddressTaken from None
    return Progress.CHANGED


async def _release_unconfirmed(db: Connection, email: str) -> None:
    """Nobody keeps an address from its owner by registering it first: an account that never confirmed it lets it go."""
    squatter = await db.fetchval(
        """UPDATE users SET email = id::text || '@unconfirmed.invalid', version = version + 1
           WHERE email = $1 AND email_verified_at IS NULL RETURNING id""",
        email,
    )  # fmt: skip
    await db.execute("UPDATE email_tokens SET used_at = now() WHERE user_id = $1 AND used_at IS NULL", squatter)


async def recipient(db: Connection, user_id: UUID, change_id: UUID, side: Side) -> Recipient | None:
    """Where this side's mail goes, as it was when the change was asked for. `link_until` is None once it is over."""
    row = await db.fetchrow(
        """SELECT CASE WHEN $3 THEN c.old_email ELSE c.new_email END AS email, u.full_name, u.time_zone,
                  CASE WHEN c.ended_at IS NULL AND c.expires_at > now() THEN c.expires_at END AS link_until
           FROM email_changes c JOIN users u ON u.id = c.user_id WHERE c.id = $2 AND u.id = $1""",
        user_id, change_id, side is Side.OLD,
    )  # fmt: skip
    return Recipient(**row) if row else None


async def forget_before(db: Connection, moment: datetime, limit: int) -> int:
    """Remove up to `limit` changes that could be confirmed until before `moment`; returns how many."""
    gone = await db.fetch(
        """DELETE FROM email_changes WHERE id IN
           (SELECT id FROM email_changes WHERE expires_at < $1 LIMIT $2) RETURNING 1""",
        moment, limit,
    )  # fmt: skip
    return len(gone)
