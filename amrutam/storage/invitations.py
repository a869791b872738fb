"""Invitations: links that make an account for staff."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from amrutam.domain.common import Role
from amrutam.domain.staff import Invitation
from amrutam.storage.auth import Recipient, roles_of
from amrutam.storage.pool import Connection

LINK = "invitation"


async def insert(
    db: Connection,
    invitation_id: UUID,
    email: str,
    full_name: str,
    roles: Collection[Role],
    hashed: bytes,
    invited_by: UUID | None,
    expires_at: datetime,
) -> Invitation:
    """A new invitation, in place of an earlier one to the same address."""
    await db.execute("SELECT pg_advisory_xact_lock(hashtextextended('amrutam.invitation.' || $1, 0))", email)
    await end_open(db, email)
    await db.execute(
        """INSERT INTO invitations (id, email, full_name, roles, token_hash, invited_by, expires_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7)""",
        invitation_id, email, full_name, sorted(roles), hashed, invited_by, expires_at,
    )  # fmt: skip
    return Invitation(id=invitation_id, email=email, full_name=full_name, roles=sorted(roles), expires_at=expires_at)


async def end_open(db: Connection, email: str) -> None:
    """A link that was sent to this address leads nowhere from now on."""
    await db.execute("UPDATE invitations SET ended_at = now() WHERE email = $1 AND ended_at IS NULL", email)


async def find(db: Connection, hashed: bytes) -> Invitation | None:
    """The invitation of a link. None when it is unknown, used or too old."""
    row = await db.fetchrow(
        """SELECT id, email, full_name, roles, expires_at FROM invitations
           WHERE token_hash = $1 AND ended_at IS NULL AND expires_at > now()""",
        hashed,
    )  # fmt: skip
    return Invitation.model_validate({**row, "roles": sorted(roles_of(row["roles"]))}) if row else None


async def use(db: Connection, invitation_id: UUID) -> bool:
    """Use an invitation up. False: another request was faster, or it is too old by now."""
    done = await db.execute(
        "UPDATE invitations SET ended_at = now() WHERE id = $1 AND ended_at IS NULL AND expires_at > now()",
        invitation_id,
    )
    return done == "UPDATE 1"


async def void_registrations(db: Connection, user_id: UUID) -> None:
    """Links that would confirm what somebody registered with the address lead nowhere from now on."""
    await db.execute("UPDATE email_tokens SET used_at = now() WHERE user_id = $1 AND used_at IS NULL", user_id)


async def recipient(db: Connection, invitation_id: UUID) -> Recipient | None:
    """Where its mail goes. `link_until` is None once the link is over."""
    row = await db.fetchrow(
        """SELECT i.email, i.full_name, coalesce(u.time_zone, 'UTC') AS time_zone,
                  CASE WHEN i.ended_at IS NULL AND i.expires_at > now() THEN i.expires_at END AS link_until
           FROM invitations i LEFT JOIN users u ON u.id = i.invited_by WHERE i.id = $1""",
        invitation_id,
    )  # fmt: skip
    return Recipient(**row) if row else None


async def forget_before(db: Connection, moment: datetime, limit: int) -> int:
    """Remove up to `limit` invitations that were good until before `moment`; returns how many."""
    gone = await db.fetch(
        """DELETE FROM invitations WHERE id IN
           (SELECT id FROM invitations WHERE expires_at < $1 LIMIT $2) RETURNING 1""",
        moment, limit,
    )  # fmt: skip
    return len(gone)
