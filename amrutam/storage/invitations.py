"""Invitations: links that make an account for staff."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from amrutam.domain.common import Role
from amrutam.domain.staff import Invitation, OpenInvitation
from amrutam.storage.auth import Recipient, roles_of
from amrutam.storage.pool import Connection

LINK = "invitation"

# Whoever invited may still do so; an invitation of the operator is nobody's.
_GOOD = """ended_at IS NULL AND expires_at > now() AND (invited_by IS NULL OR EXISTS
           (SELECT FROM users u WHERE u.id = invited_by AND u.roles @> ARRAY['admin'] AND u.suspended_at IS NULL))"""


async def may_invite(db: Connection, user_id: UUID) -> bool:
    """Whether this is an active administrator; they stay one until the transaction ends."""
    row = await db.fetchrow(
        """SELECT FROM users WHERE id = $1 AND roles @> ARRAY['admin'] AND suspended_at IS NULL FOR SHARE""", user_id
    )
    return row is not None


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
    """The invitation of a link. None when it is unknown, used, too old, or of somebody who may not invite any more."""
    row = await db.fetchrow(
        f"SELECT id, email, full_name, roles, expires_at FROM invitations WHERE token_hash = $1 AND {_GOOD}",  # noqa: S608 - constants
        hashed,
    )  # fmt: skip
    return Invitation.model_validate({**row, "roles": sorted(roles_of(row["roles"]))}) if row else None


async def use(db: Connection, invitation_id: UUID) -> bool:
    """Use an invitation up. False: another request was faster, or it is good no more by now."""
    done = await db.execute(
        f"UPDATE invitations SET ended_at = now() WHERE id = $1 AND {_GOOD}",  # noqa: S608 - constants
        invitation_id,
    )
    return done == "UPDATE 1"


async def page(db: Connection, before: UUID | None, limit: int) -> list[OpenInvitation]:
    """Up to `limit` open invitations, the newest first, made before the one with the id `before`."""
    rows = await db.fetch(
        """SELECT id, email, roles, invited_by, expires_at FROM invitations
           WHERE ended_at IS NULL AND expires_at > now() AND ($1::uuid IS NULL OR id < $1)
           ORDER BY id DESC LIMIT $2""",
        before, limit,
    )  # fmt: skip
    return [OpenInvitation.model_validate({**row, "roles": sorted(roles_of(row["roles"]))}) for row in rows]


async def withdraw(db: Connection, invitation_id: UUID) -> bool:
    """Its link leads nowhere from now on. False: there is no such invitation, or it is over."""
    done = await db.execute(
        "UPDATE invitations SET ended_at = now() WHERE id = $1 AND ended_at IS NULL AND expires_at > now()",
        invitation_id,
    )
    return done == "UPDATE 1"


async def withdraw_all_of(db: Connection, inviter_id: UUID) -> list[UUID]:
    """The same for every open invitation of somebody who may not invite any more; returns which these were."""
    rows = await db.fetch(
        """UPDATE invitations SET ended_at = now() WHERE id IN
             (SELECT id FROM invitations WHERE invited_by = $1 AND ended_at IS NULL ORDER BY id FOR UPDATE)
           RETURNING id""",
        inviter_id,
    )  # fmt: skip
    return sorted(row["id"] for row in rows)


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
