"""Data keys: one for each person, wrapped by the installation's master keys (envelope encryption).

Destroying a person's row erases everything that was sealed for them, in backups too.
"""

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from amrutam.crypto import KEY_BYTES, Keyring, SealingKeys, place
from amrutam.storage.pool import Connection

_NAME = "person"


class DataKeyMissing(LookupError):
    """The person has no data key: the account never was, or was erased. What the key sealed cannot be read again."""


class DataKey:
    """Seals one person's texts."""

    def __init__(self, key: bytes) -> None:
        self._keys = SealingKeys(_NAME, {_NAME: key})

    def seal(self, text: str, bound_to: bytes) -> bytes:
        """`text`, to be opened only with the same `bound_to` (see `crypto.place`)."""
        return self._keys.seal(text.encode(), bound_to)

    def open(self, sealed: bytes, bound_to: bytes) -> str:
        """The text again. Raises SealError."""
        return self._keys.open(sealed, bound_to).decode()


class PersonKeys:
    """Unwraps data keys and remembers up to `size` of them for `life`, the least recently used leaving first."""

    def __init__(
        self,
        keyring: Keyring,
        *,
        size: int = 10_000,
        life: timedelta = timedelta(minutes=5),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wrapping = keyring.master.sealing("person-keys")
        self._size = size
        self._life = life.total_seconds()
        self._clock = clock
        self._known: OrderedDict[UUID, tuple[float, DataKey]] = OrderedDict()

    async def create(self, db: Connection, person_id: UUID) -> DataKey:
        """A new person's key. Not remembered: the transaction may yet roll back."""
        key = os.urandom(KEY_BYTES)
        wrapped = self._wrapping.seal(key, _place(person_id))
        await db.execute("INSERT INTO data_keys (person_id, wrapped) VALUES ($1, $2)", person_id, wrapped)
        return DataKey(key)

    async def of(self, db: Connection, person_id: UUID) -> DataKey:
        """The person's key. Raises DataKeyMissing, SealError."""
        known = self._remembered(person_id)
        if known:
            return known
        wrapped = await db.fetchval("SELECT wrapped FROM data_keys WHERE person_id = $1", person_id)
        if wrapped is None:
            raise DataKeyMissing(f"person {person_id} has no data key")
        key = DataKey(self._wrapping.open(wrapped, _place(person_id)))
        self._remember(person_id, key)
        return key

    def _remembered(self, person_id: UUID) -> DataKey | None:
        since, key = self._known.get(person_id, (0.0, None))
        if key is None:
            return None
        if self._clock() - since >= self._life:
            del self._known[person_id]
            return None
        self._known.move_to_end(person_id)
        return key

    def _remember(self, person_id: UUID, key: DataKey) -> None:
        self._known[person_id] = (self._clock(), key)
        self._known.move_to_end(person_id)
        if len(self._known) > self._size:
            self._known.popitem(last=False)


def _place(person_id: UUID) -> bytes:
    return place("data_keys", person_id, "wrapped")
