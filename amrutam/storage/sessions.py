"""Sessions and their refresh tokens, and the devices that people are known by."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from amrutam.crypto import place
from amrutam.domain.common import Role
from amrutam.domain.devices import NOT_SAID
from amrutam.domain.errors import Forbidden, InvalidCredentials
from amrutam.domain.sessions import ENDED, SUSPENDED, OpenSession, RefreshToken, Session, SessionsChanged
from amrutam.storage import events
from amrutam.storage.auth import Account, roles_of
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Connection


class Device(NamedTuple):
    """Where a session is used: what the person calls it, what it is by name, its network address."""

    name: str | None
    family: str
    address: str


class Sighting(NamedTuple):
    """A device at the moment of signing in."""

    family: str
    at: datetime


async def hold_account(db: Connection, account: Account) -> frozenset[Role]:
    """Keep password and roles of an account as they are until the transaction ends; returns its roles of today.

    So a session that is being opened is either there for those who end or outdate all, or knows what they changed.
    Raises InvalidCredentials when the password is not any more the one that was shown, Forbidden when an administrator
    has suspended the account.
    """
    row = await db.fetchrow("SELECT password_hash, roles, suspended_at FROM users WHERE id = $1 FOR SHARE", account.id)
    if row is None or row["password_hash"] != account.password_hash:
        raise InvalidCredentials
    if row["suspended_at"]:
        raise Forbidden(SUSPENDED)
    return roles_of(row["roles"])


async def insert(
    db: Connection, keys: PersonKeys, session: Session, device: Device, expires_at: datetime, hashed: bytes | None
) -> None:
    """A new sign-in with its first refresh token, or without (None). Raises DataKeyMissing when the account is gone."""
    await db.execute(
        """INSERT INTO sessions
             (id, user_id, device_name, user_agent, address, methods, authenticated_at, expires_at, factor_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)""",
        session.id, session.user_id, device.name, device.family,
        await _sealed(db, keys, session, device.address),
        session.methods, session.authenticated_at, expires_at, session.factor_at,
    )  # fmt: skip
    if hashed is not None:
        await db.execute("INSERT INTO refresh_tokens (token_hash, session_id) VALUES ($1, $2)", hashed, session.id)


async def _sealed(db: Connection, keys: PersonKeys, session: Session, address: str) -> bytes:
    return (await keys.of(db, session.user_id)).seal(address, place("sessions", session.id, "address"))


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
        """SELECT s.id, s.user_id, u.roles, s.authenticated_at, s.methods, s.token_version, s.factor_at,
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
        token_version=row["token_version"],
        factor_at=row["factor_at"],
    )
    return RefreshToken(
        session=session,
        session_over=row["over"],
        used_ago=row["used_ago"],
        successors=row["successors"],
        successor_used=row["successor_used"],
    )


async def rotate(
    db: Connection,
    keys: PersonKeys,
    session: Session,
    address: str,
    expires_at: datetime,
    *,
    used: bytes,
    fresh: bytes,
) -> None:
    """Give `fresh` for `used`, both hashes. The first use counts as the time of use; the session is over at
    `expires_at` unless it is used before.
    """
    await db.execute(
        "UPDATE refresh_tokens SET used_at = coalesce(used_at, clock_timestamp()) WHERE token_hash = $1", used
    )
    await db.execute(
        "INSERT INTO refresh_tokens (token_hash, session_id, parent_hash) VALUES ($1, $2, $3)", fresh, session.id, used
    )
    sealed = await _sealed(db, keys, session, address)
    await db.execute(
        "UPDATE sessions SET last_used_at = now(), address = $2, expires_at = $3 WHERE id = $1",
        session.id, sealed, expires_at,
    )  # fmt: skip


async def open_of(
    db: Connection, keys: PersonKeys, user_id: UUID, after: UUID | None, limit: int, current: UUID | None
) -> list[OpenSession]:
    """Up to `limit` of the person's live sessions, the newest first, those after the id `after` in that order.

    Raises DataKeyMissing, SealError.
    """
    rows = await db.fetch(
        """SELECT id, device_name, coalesce(user_agent, $4) AS user_agent, address,
                  authenticated_at AS created_at, last_used_at
           FROM sessions
           WHERE user_id = $1 AND ended_at IS NULL AND expires_at > now() AND ($2::uuid IS NULL OR id < $2)
           ORDER BY id DESC LIMIT $3""",
        user_id, after, limit, NOT_SAID,
    )  # fmt: skip
    key = await keys.of(db, user_id)
    return [
        OpenSession(
            id=row["id"],
            device_name=row["device_name"],
            user_agent=row["user_agent"],
            place=key.open(row["address"], place("sessions", row["id"], "address")) if row["address"] else None,
            created_at=row["created_at"],
            last_used_at=row["last_used_at"],
            current=row["id"] == current,
        )
        for row in rows
    ]


async def token_version(db: Connection, session_id: UUID) -> int:
    """The version of the session's good access tokens; `ENDED` when it has ended, run out or never was."""
    version = await db.fetchval(
        "SELECT token_version FROM sessions WHERE id = $1 AND ended_at IS NULL AND expires_at > now()", session_id
    )
    return version or ENDED


async def end(db: Connection, user_id: UUID, session_ids: Collection[UUID]) -> Mapping[UUID, int]:
    """End these sessions of the person, those of them that are live.

    Returns what `SessionMarkers.note` is to be told once this has committed; the relay tells it again. Here and below
    rows are locked in the order of their ids, so that two who do this at once never wait for each other.
    """
    rows = await db.fetch(
        """UPDATE sessions SET ended_at = now() WHERE id IN
             (SELECT id FROM sessions WHERE user_id = $1 AND id = ANY ($2) AND ended_at IS NULL ORDER BY id FOR UPDATE)
           RETURNING id""",
        user_id, list(session_ids),
    )  # fmt: skip
    return await _tell(db, user_id, {row["id"]: ENDED for row in rows})


async def end_all(db: Connection, user_id: UUID, *, but: UUID | None = None) -> Mapping[UUID, int]:
    """End every session of the person, but this one where it is named. Returns as `end` does.

    Devices on which they signed in are strangers again, so that whoever made many of them known has nothing of it.
    """
    # The account's row first, as everywhere: it keeps the generation from those who are signing in meanwhile.
    await db.execute("UPDATE users SET device_generation = device_generation + 1 WHERE id = $1", user_id)
    rows = await db.fetch(
        """UPDATE sessions SET ended_at = now() WHERE id IN
             (SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND id IS DISTINCT FROM $2
              ORDER BY id FOR UPDATE)
           RETURNING id""",
        user_id, but,
    )  # fmt: skip
    return await _tell(db, user_id, {row["id"]: ENDED for row in rows})


async def outdate_tokens(db: Connection, user_id: UUID) -> Mapping[UUID, int]:
    """Have the person's access tokens exchanged before their next use; call it after a change of roles, with it in one
    transaction. Returns as `end` does.

    Nobody is signed out: the refresh tokens stay good, and what they give carries the roles of today.
    """
    rows = await db.fetch(
        """UPDATE sessions SET token_version = token_version + 1 WHERE id IN
             (SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL ORDER BY id FOR UPDATE)
           RETURNING id, token_version""",
        user_id,
    )  # fmt: skip
    return await _tell(db, user_id, {row["id"]: row["token_version"] for row in rows})


async def _tell(db: Connection, user_id: UUID, versions: dict[UUID, int]) -> Mapping[UUID, int]:
    if versions:
        await events.append(db, SessionsChanged(subject=user_id, versions=versions))
    return versions


async def of_token(db: Connection, hashed: bytes, user_id: UUID) -> UUID | None:
    """Which of the user's sessions a refresh token belongs to."""
    return await db.fetchval(
        """SELECT s.id FROM sessions s JOIN refresh_tokens t ON t.session_id = s.id
           WHERE t.token_hash = $1 AND s.user_id = $2""",
        hashed, user_id,
    )  # fmt: skip


async def device_generation(db: Connection, user_id: UUID) -> int | None:
    """What a device token must have been given in to be good. None when the account is gone."""
    return await db.fetchval("SELECT device_generation FROM users WHERE id = $1", user_id)


async def meet_device(db: Connection, user_id: UUID, mark: bytes, later: bytes) -> bool:
    """Whether the person was never seen on a device with this mark. It is known from now on, and by `later` too."""
    rows = await db.fetch(
        """INSERT INTO known_devices (user_id, mark) SELECT $1, mark FROM unnest($2::bytea[]) AS mark
           ON CONFLICT (user_id, mark) DO UPDATE SET last_seen_at = now() RETURNING mark, xmax = 0 AS made""",
        user_id, sorted({mark, later}),
    )  # fmt: skip
    return any(row["made"] for row in rows if row["mark"] == mark)


async def sighting(db: Connection, session_id: UUID) -> Sighting | None:
    """On what device, and when, a session was opened. None when it is gone."""
    row = await db.fetchrow(
        "SELECT coalesce(user_agent, $2) AS family, authenticated_at AS at FROM sessions WHERE id = $1",
        session_id, NOT_SAID,
    )  # fmt: skip
    return Sighting(**row) if row else None


async def forget_before(db: Connection, moment: datetime, limit: int) -> int:
    """Remove up to `limit` sessions that ended before `moment`, with their tokens; returns how many."""
    gone = await db.fetch(
        """DELETE FROM sessions WHERE id IN
           (SELECT id FROM sessions WHERE coalesce(ended_at, expires_at) < $1 LIMIT $2) RETURNING 1""",
        moment, limit,
    )  # fmt: skip
    return len(gone)


async def forget_devices_before(db: Connection, moment: datetime, limit: int) -> int:
    """Remove up to `limit` marks of devices that were last seen before `moment`; returns how many."""
    gone = await db.fetch(
        """DELETE FROM known_devices WHERE ctid IN
           (SELECT ctid FROM known_devices WHERE last_seen_at < $1 LIMIT $2) RETURNING 1""",
        moment, limit,
    )  # fmt: skip
    return len(gone)
