"""Documents as rows. Their contents are objects in a store: an object is there before its row, and goes before it."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from amrutam.domain.documents import MOST_DOCUMENTS, Document, MediaType, Purpose
from amrutam.domain.errors import InvalidState, NotFound
from amrutam.storage.pool import Connection, Row

_DOCUMENT = "SELECT documents.* FROM documents"


class StoredObject(NamedTuple):
    """What was put into the store."""

    key: str
    content_type: MediaType  # of the plain content
    size: int  # of the plain content, in bytes
    sha256: bytes  # of the object as it lies there


class StoredDocument(NamedTuple):
    """A row."""

    id: UUID
    owner_id: UUID
    purpose: Purpose
    object: StoredObject
    created_at: datetime

    @property
    def shown(self) -> Document:
        """As its owner sees it."""
        return Document(
            id=self.id,
            content_type=self.object.content_type,
            size=self.object.size,
            created_at=self.created_at,
        )


async def check_room(db: Connection, owner_id: UUID) -> None:
    """Raises InvalidState where the owner has given so many that another one is not taken. Looks only."""
    count = await db.fetchval(
        "SELECT count(*) FROM documents WHERE owner_id = $1 AND purpose = $2", owner_id, Purpose.VERIFICATION
    )
    if count >= MOST_DOCUMENTS:
        raise InvalidState(
            f"You have given {MOST_DOCUMENTS} documents, those counted that you deleted of late; no more are taken now."
        )


async def add(db: Connection, id: UUID, owner_id: UUID, object: StoredObject) -> Document:
    """A document of a verification, whose object is in the store. Raises InvalidState when there are too many.

    The doctor's row is held, so that two at once are counted one after the other.
    """
    await db.execute("SELECT FROM doctors WHERE id = $1 FOR NO KEY UPDATE", owner_id)
    await check_room(db, owner_id)
    return (await _insert(db, id, owner_id, Purpose.VERIFICATION, object)).shown


async def of_owner(db: Connection, owner_id: UUID, ids: Collection[UUID], purpose: Purpose) -> list[StoredDocument]:
    """Those of `ids` that are the owner's, for this purpose, and not deleted; the oldest first.

    They stay undeleted until the transaction ends.
    """
    rows = await db.fetch(
        f"""{_DOCUMENT} WHERE owner_id = $1 AND purpose = $2 AND id = ANY ($3) AND deleted_at IS NULL
            ORDER BY id FOR SHARE""",
        owner_id, purpose, list(ids),
    )  # fmt: skip
    return [_stored(row) for row in rows]


async def every_one_of(db: Connection, owner_id: UUID, purpose: Purpose) -> list[StoredDocument]:
    """All that the owner gave for this purpose and did not delete, the oldest first; at most `MOST_DOCUMENTS`."""
    rows = await db.fetch(
        f"{_DOCUMENT} WHERE owner_id = $1 AND purpose = $2 AND deleted_at IS NULL ORDER BY id", owner_id, purpose
    )
    return [_stored(row) for row in rows]


async def find(db: Connection, id: UUID) -> StoredDocument:
    """Anybody's document that is not deleted. Raises NotFound."""
    row = await db.fetchrow(f"{_DOCUMENT} WHERE id = $1 AND deleted_at IS NULL", id)
    if row is None:
        raise NotFound
    return _stored(row)


async def delete(db: Connection, id: UUID, owner_id: UUID, purpose: Purpose) -> None:
    """Nobody sees it from now on. Raises NotFound where it is not the owner's, or was deleted before."""
    done = await db.execute(
        """UPDATE documents SET deleted_at = now()
           WHERE id = $1 AND owner_id = $2 AND purpose = $3 AND deleted_at IS NULL""",
        id, owner_id, purpose,
    )  # fmt: skip
    if done != "UPDATE 1":
        raise NotFound


async def photo_of(db: Connection, doctor_id: UUID) -> StoredDocument | None:
    """The doctor's photo, whether the doctor may be found or not."""
    row = await db.fetchrow(f"{_DOCUMENT} JOIN doctors d ON d.photo_id = documents.id WHERE d.id = $1", doctor_id)
    return _stored(row) if row else None


async def replace_photo(db: Connection, doctor_id: UUID, id: UUID, object: StoredObject | None) -> None:
    """Give a locked doctor another photo, with the id `id`, or none. The profile has another version then."""
    await db.execute(
        "UPDATE documents SET deleted_at = now() WHERE owner_id = $1 AND purpose = 'photo' AND deleted_at IS NULL",
        doctor_id,
    )
    if object:
        await _insert(db, id, doctor_id, Purpose.PHOTO, object)
    await db.execute(
        "UPDATE doctors SET photo_id = $2, version = version + 1, updated_at = now() WHERE id = $1",
        doctor_id, id if object else None,
    )  # fmt: skip


async def named(db: Connection, keys: Sequence[str]) -> set[str]:
    """Those of the keys that some row names."""
    rows = await db.fetch("SELECT key FROM documents WHERE key = ANY ($1)", keys)
    return {row["key"] for row in rows}


async def deleted_before(db: Connection, moment: datetime, limit: int) -> dict[UUID, str]:
    """Up to `limit` documents that were deleted before `moment`, each with its object's key."""
    rows = await db.fetch("SELECT id, key FROM documents WHERE deleted_at < $1 LIMIT $2", moment, limit)
    return {row["id"]: row["key"] for row in rows}


async def forget(db: Connection, ids: Collection[UUID]) -> None:
    """Remove deleted documents whose objects are gone."""
    await db.execute("DELETE FROM documents WHERE id = ANY ($1) AND deleted_at IS NOT NULL", list(ids))


async def _insert(db: Connection, id: UUID, owner_id: UUID, purpose: Purpose, object: StoredObject) -> StoredDocument:
    row = await db.fetchrow(
        """INSERT INTO documents (id, owner_id, purpose, content_type, size, sha256, key)
           VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING *""",
        id, owner_id, purpose, object.content_type, object.size, object.sha256, object.key,
    )  # fmt: skip
    assert row is not None  # noqa: S101 - an INSERT without a condition returns its row
    return _stored(row)


def _stored(row: Row) -> StoredDocument:
    content_type = MediaType(row["content_type"])
    kept = StoredObject(row["key"], content_type, row["size"], row["sha256"])
    return StoredDocument(row["id"], row["owner_id"], Purpose(row["purpose"]), kept, row["created_at"])
