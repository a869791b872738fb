"""What lies under the keys that rotate, table by table, so that it can move to another key while everybody works.

A table is walked in order of its ids, a batch at a time, and each batch is committed: a walk that was killed has lost
nothing. A row that somebody else changed in between stays as they wrote it.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol
from uuid import UUID

from amrutam.crypto import OPERATIONS, Keyring, SealError, head, place, split
from amrutam.kms import Envelope, Kms
from amrutam.storage.operations import open_sealed
from amrutam.storage.person_keys import DataKeyMissing, PersonKeys, place_of
from amrutam.storage.pool import Connection
from amrutam.telemetry import seal_broken

FIRST = UUID(int=0)


class Found(NamedTuple):
    """A row's value: how it begins, and all of it where it does not lie under the wanted key."""

    id: UUID
    head: bytes
    value: bytes | None

    @property
    def key(self) -> str:
        """The name of its key; in angle brackets what names none."""
        if not self.head:
            return "<none>"
        try:
            return split(self.head)[0]
        except SealError:
            return "<unreadable>"


class Moved(NamedTuple):
    """What takes the place of a value."""

    id: UUID
    before: bytes
    after: bytes


class Table(Protocol):
    """Values of one kind, one a row."""

    name: str

    async def count(self, db: Connection) -> int:
        """How many there are."""
        ...

    async def read(self, db: Connection, after: UUID, limit: int, wanted: str | None) -> Sequence[Found]:
        """Up to `limit` rows after the id `after`, in order. No value is read where no key is wanted."""
        ...

    async def moved(self, db: Connection, found: Sequence[Found]) -> Sequence[Moved]:
        """What takes their place. A value that does not open is told (see `telemetry.seal_broken`) and left out."""
        ...

    async def write(self, db: Connection, moved: Sequence[Moved]) -> None:
        """Put it there, where the row still holds what it held."""
        ...


class DataKeys:
    """Each person's data key, wrapped by a key-encryption key."""

    name = "data keys"

    def __init__(self, kms: Kms) -> None:
        self._envelope = Envelope(kms)

    async def count(self, db: Connection) -> int:
        """As `Table.count`."""
        return await db.fetchval("SELECT count(*) FROM data_keys")

    async def read(self, db: Connection, after: UUID, limit: int, wanted: str | None) -> Sequence[Found]:
        """As `Table.read`."""
        rows = await db.fetch(
            """SELECT person_id, substr(wrapped, 1, 66),
                      CASE WHEN substr(wrapped, 1, length($3::bytea)) <> $3 THEN wrapped END
               FROM data_keys WHERE person_id > $1 ORDER BY person_id LIMIT $2""",
            after, limit, _head(wanted),
        )  # fmt: skip
        return [Found(*row) for row in rows]

    async def moved(self, db: Connection, found: Sequence[Found]) -> Sequence[Moved]:  # noqa: ARG002 - as `Table` has it
        """As `Table.moved`. Raises KmsUnavailable."""
        moved: list[Moved] = []
        for each in found:
            bound_to, before = place_of(each.id), each.value or b""
            try:
                key = await self._envelope.open(before, bound_to)
            except SealError as error:
                seal_broken("data_key", bound_to, str(error))
            else:
                moved.append(Moved(each.id, before, await self._envelope.seal(key, bound_to)))
        return moved

    async def write(self, db: Connection, moved: Sequence[Moved]) -> None:
        """As `Table.write`."""
        await db.executemany("UPDATE data_keys SET wrapped = $3 WHERE person_id = $1 AND wrapped = $2", moved)


class Outcomes:
    """What came of requests, sealed by the master keys themselves; a row holds an outcome or a refusal."""

    name = "outcomes"

    def __init__(self, keyring: Keyring) -> None:
        self._keys = keyring.master.sealing(OPERATIONS)

    async def count(self, db: Connection) -> int:
        """As `Table.count`."""
        return await db.fetchval("SELECT count(*) FROM operations WHERE coalesce(outcome, refusal) IS NOT NULL")

    async def read(self, db: Connection, after: UUID, limit: int, wanted: str | None) -> Sequence[Found]:
        """As `Table.read`."""
        rows = await db.fetch(
            """SELECT operation_id, substr(coalesce(outcome, refusal), 1, 66),
                      CASE WHEN substr(coalesce(outcome, refusal), 1, length($3::bytea)) <> $3
                           THEN coalesce(outcome, refusal) END
               FROM operations
               WHERE operation_id > $1 AND coalesce(outcome, refusal) IS NOT NULL ORDER BY operation_id LIMIT $2""",
            after, limit, _head(wanted),
        )  # fmt: skip
        return [Found(*row) for row in rows]

    async def moved(self, db: Connection, found: Sequence[Found]) -> Sequence[Moved]:  # noqa: ARG002 - as `Table` has it
        """As `Table.moved`."""
        moved: list[Moved] = []
        for each in found:
            before = each.value or b""
            try:
                plain = open_sealed(self._keys, before, each.id)
            except SealError:
                continue
            moved.append(Moved(each.id, before, self._keys.seal(plain, each.id.bytes)))
        return moved

    async def write(self, db: Connection, moved: Sequence[Moved]) -> None:
        """As `Table.write`."""
        await db.executemany(
            """UPDATE operations SET outcome = CASE WHEN outcome = $2 THEN $3 ELSE outcome END,
                                     refusal = CASE WHEN refusal = $2 THEN $3 ELSE refusal END
               WHERE operation_id = $1 AND (outcome = $2 OR refusal = $2)""",
            moved,
        )  # fmt: skip


class Phones:
    """The blind index beside each sealed telephone number. What a row holds is the number, what moves is its mark."""

    name = "telephone index"

    def __init__(self, keys: PersonKeys) -> None:
        self._keys = keys

    async def count(self, db: Connection) -> int:
        """As `Table.count`."""
        return await db.fetchval("SELECT count(*) FROM users WHERE phone IS NOT NULL")

    async def read(self, db: Connection, after: UUID, limit: int, wanted: str | None) -> Sequence[Found]:
        """As `Table.read`."""
        rows = await db.fetch(
            """SELECT id, coalesce(substr(phone_index, 1, 66), ''),
                      CASE WHEN substr(coalesce(phone_index, ''), 1, length($3::bytea)) <> $3 THEN phone END
               FROM users WHERE id > $1 AND phone IS NOT NULL ORDER BY id LIMIT $2""",
            after, limit, _head(wanted),
        )  # fmt: skip
        return [Found(*row) for row in rows]

    async def moved(self, db: Connection, found: Sequence[Found]) -> Sequence[Moved]:
        """As `Table.moved`. Raises KmsUnavailable."""
        with suppress(SealError):
            await self._keys.several(db, [each.id for each in found])  # by one query, and remembered
        moved: list[Moved] = []
        for each in found:
            before = each.value or b""
            try:
                phone = (await self._keys.of(db, each.id)).open(before, place("users", each.id, "phone"))
            except (DataKeyMissing, SealError):  # erased; or told where it was found
                continue
            moved.append(Moved(each.id, before, self._keys.phones.of(phone)))
        return moved

    async def write(self, db: Connection, moved: Sequence[Moved]) -> None:
        """As `Table.write`."""
        await db.executemany("UPDATE users SET phone_index = $3 WHERE id = $1 AND phone = $2", moved)


def _head(wanted: str | None) -> bytes | None:
    return head(wanted) if wanted else None
