"""Finding patients for support staff: by address, or by telephone number through its blind index."""

from collections.abc import Sequence
from uuid import UUID

from amrutam.crypto import place
from amrutam.domain.support import PatientFound, masked
from amrutam.storage.person_keys import DataKey, PersonKeys
from amrutam.storage.pool import Connection, Row


async def find_patients(
    db: Connection, keys: PersonKeys, email: str | None, phone: str | None, before: UUID | None, limit: int
) -> list[PatientFound]:
    """Up to `limit` patients with this address or number, the newest first, before the one with the id `before`.

    Raises SealError, KmsUnavailable.
    """
    rows = await _rows(db, email, keys.phones.known_as(phone) if phone else [], before, limit)
    held = await keys.several(db, [row["id"] for row in rows])
    return [_patient(row, held.get(row["id"])) for row in rows]


async def _rows(
    db: Connection, email: str | None, marks: Sequence[bytes], before: UUID | None, limit: int
) -> Sequence[Row]:
    return await db.fetch(
        """SELECT id, full_name, email, email_verified_at IS NOT NULL AS email_verified, phone, created_at, roles
           FROM users
           WHERE (email = $1 OR phone_index = ANY ($2::bytea[])) AND 'patient' = ANY (roles)
             AND ($3::uuid IS NULL OR id < $3)
           ORDER BY id DESC LIMIT $4""",
        email, marks, before, limit,
    )  # fmt: skip


def _patient(row: Row, key: DataKey | None) -> PatientFound:
    sealed: bytes | None = row["phone"]
    phone = key.open(sealed, place("users", row["id"], "phone")) if key and sealed else None
    return PatientFound.model_validate({**dict(row), "phone": masked(phone) if phone else None})
