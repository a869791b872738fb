"""Envelope encryption: whoever holds the key-encryption keys wraps and unwraps data keys, and says under which key.

The keys lie in the keyring's file (`KeyringKms`), or in a key management service, which is another `Kms`.
"""

import asyncio
from typing import Protocol

from amrutam.crypto import Keyring, head, split

# A data key is unwrapped while a request waits, and holds a connection to the database.
KMS_SECONDS = 2.0


class KmsUnavailable(RuntimeError):
    """Whoever holds the key-encryption keys does not answer in time. Nothing is wrong with what they wrapped."""


class Kms(Protocol):
    """Holds key-encryption keys by name and never gives them away."""

    @property
    def current(self) -> str:
        """The name of the key that wraps now: up to 64 lower-case letters, digits and hyphens."""
        ...

    async def wrap(self, key: str, plain: bytes, bound_to: bytes) -> bytes:
        """`plain` under the key of this name, to be unwrapped only with the same `bound_to`.

        Raises KmsUnavailable, or SealError when there is no such key.
        """
        ...

    async def unwrap(self, key: str, wrapped: bytes, bound_to: bytes) -> bytes:
        """What was wrapped. Raises KmsUnavailable, or SealError when there is no such key or it does not open."""
        ...


class KeyringKms:
    """The master keys of the keyring's file."""

    def __init__(self, keyring: Keyring) -> None:
        self._keys = keyring.master.sealing("person-keys")

    @property
    def current(self) -> str:
        """The name of the key that wraps now."""
        return self._keys.current

    async def wrap(self, key: str, plain: bytes, bound_to: bytes) -> bytes:
        """As `Kms.wrap`, at once."""
        return self._keys.encrypt(key, plain, bound_to)

    async def unwrap(self, key: str, wrapped: bytes, bound_to: bytes) -> bytes:
        """As `Kms.unwrap`, at once."""
        return self._keys.decrypt(key, wrapped, bound_to)


class Envelope:
    """Wraps by a KMS, which has so many seconds; what is wrapped names its key (see `crypto.head`)."""

    def __init__(self, kms: Kms, seconds: float = KMS_SECONDS) -> None:
        self._kms = kms
        self._seconds = seconds

    async def seal(self, plain: bytes, bound_to: bytes) -> bytes:
        """`plain` under the current key. Raises KmsUnavailable."""
        name = self._kms.current
        start = head(name)
        try:
            async with asyncio.timeout(self._seconds):
                return start + await self._kms.wrap(name, plain, start + bound_to)
        except TimeoutError:
            raise KmsUnavailable("no answer in time") from None

    async def open(self, sealed: bytes, bound_to: bytes) -> bytes:
        """The plain bytes. Raises KmsUnavailable, SealError."""
        name, start = split(sealed)
        try:
            async with asyncio.timeout(self._seconds):
                return await self._kms.unwrap(name, sealed[len(start) :], start + bound_to)
        except TimeoutError:
            raise KmsUnavailable("no answer in time") from None
