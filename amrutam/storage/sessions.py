"""Sessions and their refresh tokens."""

from datetime import datetime
from uuid import UUID

from amrutam.domain.sessions import RefreshToken, Session
from amrutam.storage.auth import roles_of
from amrutam.storage.pool import Connection


async def insert(
    db: Connection, session: Session, device_name: str | None, expires_at: datetime, hashed: bytes
) -> None:
    """A new sign-in with its first refresh token."""
    await db.execute(
        """INSERT INTO sessions (id, user_id, device_name, methods, authenticated_at, expires_at)
           VALUES ($1, $2, $3, $4, $5, $6)""",
        session.id, session.user_id, device_name, session.methods, session.authenticated_at, expires_at,
    )  # fmt: skip
    await db.execute("INSERT INTO refresh_tokens (token_hash, session_id) VALUES ($1, $2)", hashed, session.id)


async def lock_refresh_token(db: Connection, hashed: bytes) -> RefreshToken | None:
    """The token as it stands, its session kept from others until the transaction ends. Roles are today's."""
    locked = await db.fetchval(
        """SELECT id FROM sessions WHERE id = (SELECT session_id FROM refresh_tokens WHERE token_hash = $1)
           FOR UPDATE""",
        hashed,
    )  # fmt: skip
    if locked is None:
        return None
    row = await db.fetchrow(  # a new snapshot: it sees what the transaction that we waited for has done
        """SELECT s.id, s.user_id, u.roles, s.authenticated_at, s.methods,
                  s.ended_at IS NOT NULL OR s.expires_at <= now() AS over, clock_timestamp() - t.used_at AS used_ago,
                  count(c.token_hash) AS successors, count(c.used_at) > 0 AS successor_used
           FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id JOIN users u ON u.id = s.user_id
                LEFT JOIN refresh_tokens c ON c.parent_hash = t.token_hash
           WHERE t.token_hash = $1 GROUP BY s.id, u.id, t.token_hash""",
        hashed,
    )  # fmt: skip
    if row is None:
        return None
    session = Session(
        id=row["id"],
        user_id=row["user_id"],
        roles=roles_of(row["roles"]),
        authenticated_at=row["authenticated_at"],
        methods=row["methods"],
    )
    return RefreshToken(
        session=session,
        session_over=row["over"],
        used_ago=row["used_ago"],
        successors=row["successors"],
        successor_used=row["successor_used"],
    )


async def rotate(db: Connection, session_id: UUID, used: bytes, fresh: bytes) -> None:
    """Give `fresh` for `used`, both hashes. The first use counts as the time of use."""
    await db.execute(
        "UPDATE refresh_tokens SET used_at = coalesce(used_at, clock_timestamp()) WHERE token_hash = $1", used
    )
    await db.execute(
        "INSERT INTO refresh_tokens (token_hash, session_id, parent_hash) VALUES ($1, $2, $3)", fresh, session_id, used
    )
    await db.execute("UPDATE sessions SET last_used_at = now() WHERE id = $1", session_id)


async def end(db: Connection, session_id: UUID) -> bool:
    """End a sign-in. False when it had ended or never was."""
    done = await db.execute("UPDATE sessions SET ended_at = now() WHERE id = $1 AND ended_at IS NULL", session_id)
    return done == "UPDATE 1"


async def of_token(db: Connection, hashed: bytes, user_id: UUID) -> UUID | None:
    """Which of the user's sessions a refresh token belongs to."""
    return await db.fetchval(
        """SELECT s.id FROM sessions s JOIN refresh_tokens t ON t.session_id = s.id
           WHERE t.token_hash = $1 AND s.user_id = $2""",
        hashed, user_id,
    )  # fmt: skip


async def forget_before(db: Connection, moment: datetime, limit: int) -> int:
    """Remove up to `limit` sessions that ended before `moment`, with their tokens; returns how many."""
    gone = await db.fetch(
        """DELETE FROM sessions WHERE id IN
           (SELECT id FROM sessions WHERE coalesce(ended_at, expires_at) < $1 LIMIT $2) RETURNING 1""",
        moment, limit,
    )  # fmt: skip
    return len(gone)
