"""Accounts as administrators see and change them."""

from collections.abc import Collection, Iterator
from typing import NamedTuple
from uuid import UUID

from amrutam.domain.common import Role
from amrutam.domain.errors import InvalidState
from amrutam.domain.staff import AccountStatus, User
from amrutam.storage.pool import Connection, Row

_USER = """
SELECT u.id, u.email, u.full_name, u.roles, u.suspended_at IS NOT NULL AS suspended, u.created_at, u.version,
       u.email_verified_at IS NOT NULL AS email_verified,
       EXISTS (SELECT FROM factors f WHERE f.user_id = u.id AND f.confirmed_at IS NOT NULL) AS mfa_enabled
FROM users u"""


class Filters(NamedTuple):
    """Which accounts to find: all that fit everything that is given."""

    role: Role | None = None
    q: str | None = None
    status: AccountStatus | None = None


async def page(db: Connection, filters: Filters, before: UUID | None, limit: int) -> list[User]:
    """Up to `limit` accounts, the newest first, made before the one with the id `before`."""
    clauses, values = ["true"], list[object]()
    for clause, value in _clauses(filters, before):
        values.append(value)
        clauses.append(clause.replace("$$", f"${len(values)}"))
    values.append(limit)
    rows = await db.fetch(f"{_USER} WHERE {' AND '.join(clauses)} ORDER BY u.id DESC LIMIT ${len(values)}", *values)
    return [_user(row) for row in rows]


def _clauses(filters: Filters, before: UUID | None) -> Iterator[tuple[str, object]]:
    if before:
        yield "u.id < $$", before
    if filters.role:
        yield "u.roles @> ARRAY[$$::text]", filters.role
    if filters.q:
        yield "(u.full_name ILIKE $$ OR u.email ILIKE $$)", f"%{_literally(filters.q)}%"
    if filters.status:
        yield "(u.suspended_at IS NOT NULL) = $$", filters.status is AccountStatus.SUSPENDED


def _literally(text: str) -> str:
    r"""`text` for LIKE, whose own signs are `\`, `%` and `_`."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


async def find(db: Connection, user_id: UUID, *, lock: bool = False) -> User | None:
    """One account; with `lock` kept from others until the transaction ends."""
    row = await db.fetchrow(f"{_USER} WHERE u.id = $1 {'FOR UPDATE OF u' if lock else ''}", user_id)
    return _user(row) if row else None


def _user(row: Row) -> User:
    plain = dict(row)
    status = AccountStatus.SUSPENDED if plain.pop("suspended") else AccountStatus.ACTIVE
    return User.model_validate({**plain, "status": status})


async def one_at_a_time(db: Connection) -> None:
    """Whoever makes or takes away an administrator waits here for the others, until the transaction ends.

    Two who take each other's role away would else both find that one is left.
    """
    await db.execute("SELECT pg_advisory_xact_lock(hashtextextended('amrutam.administrators', 0))")


async def administrators(db: Connection) -> int:
    """How many could sign in."""
    return await db.fetchval(
        """SELECT count(*) FROM users
           WHERE roles @> ARRAY['admin'] AND suspended_at IS NULL AND email_verified_at IS NOT NULL"""
    )


async def change(db: Connection, user_id: UUID, roles: Collection[Role], status: AccountStatus) -> None:
    """Give the account these roles and this status. Begin with `one_at_a_time`.

    Raises InvalidState when nobody would be left to administer; roll back then.
    """
    await db.execute(
        """UPDATE users SET roles = $2, version = version + 1,
                  suspended_at = CASE WHEN $3 THEN coalesce(suspended_at, now()) END
           WHERE id = $1""",
        user_id, sorted(roles), status is AccountStatus.SUSPENDED,
    )  # fmt: skip
    if not await administrators(db):
        raise InvalidState("This is the last administrator; make another one first.")


async def stop_practising(db: Connection, doctor_id: UUID) -> None:
    """Take a locked doctor's verification away, so that nobody finds or books them."""
    await db.execute(
        """UPDATE doctors SET verified_at = NULL, verified_before = NULL, version = version + 1, updated_at = now()
           WHERE id = $1""",
        doctor_id,
    )  # fmt: skip
