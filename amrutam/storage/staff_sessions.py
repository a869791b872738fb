"""Sessions that a browser holds by a cookie. Each is a session like any other, without refresh tokens."""

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from amrutam.domain.common import Role
from amrutam.storage.auth import roles_of
from amrutam.storage.pool import Connection

# A use within so long after the last one that was noted is not noted.
NOTED_EVERY = timedelta(minutes=1)


class StaffSession(NamedTuple):
    """Who has signed in on a browser. Roles are today's."""

    session_id: UUID
    user_id: UUID
    full_name: str
    email: str
    roles: frozenset[Role]
    authenticated_at: datetime
    factor_at: datetime | None


async def insert(db: Connection, session_id: UUID, hashed: bytes) -> None:
    """What the cookie of this session opens it by."""
    await db.execute("INSERT INTO staff_sessions (token_hash, session_id) VALUES ($1, $2)", hashed, session_id)


async def find(db: Connection, hashed: bytes, idle: timedelta) -> StaffSession | None:
    """The session of a cookie, which counts as used now. None when it is unknown, over, or was idle for too long."""
    row = await db.fetchrow(
        """SELECT s.id, u.id AS user_id, u.full_name, u.email, u.roles, s.authenticated_at, s.factor_at,
                  s.last_used_at < now() - $3::interval AS to_note
           FROM staff_sessions t JOIN sessions s ON s.id = t.session_id JOIN users u ON u.id = s.user_id
           WHERE t.token_hash = $1 AND s.ended_at IS NULL AND s.expires_at > now()
             AND s.last_used_at > now() - $2::interval AND u.suspended_at IS NULL""",
        hashed, idle, NOTED_EVERY,
    )  # fmt: skip
    if row is None:
        return None
    if row["to_note"]:
        await db.execute("UPDATE sessions SET last_used_at = now() WHERE id = $1", row["id"])
    return StaffSession(
        session_id=row["id"],
        user_id=row["user_id"],
        full_name=row["full_name"],
        email=row["email"],
        roles=roles_of(row["roles"]),
        authenticated_at=row["authenticated_at"],
        factor_at=row["factor_at"],
    )
