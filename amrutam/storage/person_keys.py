"""Data keys: one for each person, wrapped by the installation's key-encryption keys (envelope encryption).

Destroying a person's row erases everything that was sealed for them, in backups too.
"""

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from datetime import timedelta
from uuid import UUID

from amrutam.crypto import KEY_BYTES, Keyring, SealError, SealingKeys, place
from amrutam.kms import Envelope, KeyringKms, Kms
from amrutam.storage.blind_index import BlindIndex
from amrutam.storage.pool import Connection
from amrutam.telemetry import seal_broken

_NAME = "person"


class DataKeyMissing(LookupError):
    """The person has no data key: the account never was, or was erased. What the key sealed cannot be read again."""


class DataKey:
    """Seals one person's texts."""

    def __init__(self, key: bytes) -> None:
        self._keys = SealingKeys(_NAME, {_NAME: key})

    def seal(self, text: str, bound_to: bytes) -> bytes:
        """`text`, to be opened only with the same `bound_to` (see `crypto.place`)."""
        return self.seal_bytes(text.encode(), bound_to)

    def seal_bytes(self, plain: bytes, bound_to: bytes) -> bytes:
        """The same for what is no text."""
        return self._keys.seal(plain, bound_to)

    def open(self, sealed: bytes, bound_to: bytes) -> str:
        """The text again. Raises SealError."""
        return self.open_bytes(sealed, bound_to).decode()

    def open_bytes(self, sealed: bytes, bound_to: bytes) -> bytes:
        """What `seal_bytes` was given. Raises SealError."""
        try:
            return self._keys.open(sealed, bound_to)
        except SealError as error:
            seal_broken("person_data", bound_to, str(error))
            raise


class PersonKeys:
    """Unwraps data keys and remembers up to `size` of them for `life`, the least recently used leaving first.

    `phones` is the blind index that is kept beside what these keys seal. `kms` holds the keys that wrap data keys; the
    keyring does where none is given.
    """

    phones: BlindIndex

    def __init__(
        self,
        keyring: Keyring,
        *,
        kms: Kms | None = None,
        size: int = 10_000,
        life: timedelta = timedelta(minutes=5),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kms = kms
        self._size = size
        self._life = life.total_seconds()
        self._clock = clock
        self._known: OrderedDict[UUID, tuple[float, DataKey]] = OrderedDict()
        self.use(keyring)

    def use(self, keyring: Keyring) -> None:
        """Take the keys of another keyring from now on. Data keys stay what they are, however they are wrapped."""
        self._envelope = Envelope(self._kms or KeyringKms(keyring))
        self.phones = BlindIndex(keyring.index)

    async def create(self, db: Connection, person_id: UUID) -> DataKey:
        """A new person's key. Not remembered: the transaction may yet roll back. Raises KmsUnavailable."""
        key = os.urandom(KEY_BYTES)
        wrapped = await self._envelope.seal(key, place_of(person_id))
        await db.execute("INSERT INTO data_keys (person_id, wrapped) VALUES ($1, $2)", person_id, wrapped)
        return DataKey(key)

    async def of(self, db: Connection, person_id: UUID) -> DataKey:
        """The person's key. Raises DataKeyMissing, SealError, KmsUnavailable."""
        known = self._remembered(person_id)
        if known:
            return known
        wrapped = await db.fetchval("SELECT wrapped FROM data_keys WHERE person_id = $1", person_id)
        if wrapped is None:
            raise DataKeyMissing(f"person {person_id} has no data key")
        return await self._unwrap(person_id, wrapped)

    async def several(self, db: Connection, persons: Collection[UUID]) -> dict[UUID, DataKey]:
        """The keys of those of them who have one, by one query at most. Raises SealError, KmsUnavailable."""
        keys = {person: key for person in persons if (key := self._remembered(person))}
        if missing := [person for person in persons if person not in keys]:
            rows = await db.fetch("SELECT person_id, wrapped FROM data_keys WHERE person_id = ANY ($1)", missing)
            keys |= {row["person_id"]: await self._unwrap(row["person_id"], row["wrapped"]) for row in rows}
        return keys

    async def _unwrap(self, person_id: UUID, wrapped: bytes) -> DataKey:
        bound_to = place_of(person_id)
        try:
            key = DataKey(await self._envelope.open(wrapped, bound_to))
        except SealError as error:
            seal_broken("data_key", bound_to, str(error))
            raise
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


def place_of(person_id: UUID) -> bytes:
    """What a wrapped data key is bound to."""
    return place("data_keys", person_id, "wrapped")
