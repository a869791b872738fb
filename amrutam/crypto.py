"""Keys and what is done with them: sealing (AES-256-GCM), deriving (HKDF), one-way marks (HMAC).

A sealed value is `0x01 | length of key id | key id | 96-bit nonce | ciphertext and tag`: it names its own key, so that
old values stay readable while keys rotate. Associated data binds a value to its place; moved, it does not open.
"""

import base64
import hashlib
import hmac
import json
import os
import time
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

_VERSION = 1
_NONCE = 12
_TAG = 16
_SHORTEST_HEAD = 3
KEY_BYTES = 32
# Purpose of the keys for what came of requests.
OPERATIONS = "operations"
# How far the clocks of two machines may be apart.
SKEW = timedelta(seconds=60)


class SealError(Exception):
    """A sealed value does not open: it was cut, moved or changed, or its key is not in the keyring."""


class Ring(NamedTuple):
    """Keys by name. `current` seals, and `next` in its place from the moment `next_from` on (seconds of the epoch)."""

    current: str
    ciphers: Mapping[str, AESGCM]
    next: str
    next_from: float


class SealingKeys:
    """AES-256-GCM under a current key, with others kept for opening."""

    def __init__(
        self, current: str, keys: Mapping[str, bytes], next: str | None = None, next_from: datetime | None = None
    ) -> None:
        ciphers = {name: AESGCM(key) for name, key in keys.items()}
        self.ring = Ring(current, ciphers, next or current, next_from.timestamp() if next_from else float("inf"))

    def use(self, other: "SealingKeys") -> None:
        """Seal and open as `other` does from now on."""
        self.ring = other.ring

    @property
    def current(self) -> str:
        """The name of the key that seals now."""
        return self.ring.next if time.time() >= self.ring.next_from else self.ring.current

    def seal(self, plain: bytes, bound_to: bytes) -> bytes:
        """`plain` under the current key; it opens only with the same `bound_to`."""
        name = self.current
        start = head(name)
        return start + self.encrypt(name, plain, start + bound_to)

    def open(self, sealed: bytes, bound_to: bytes) -> bytes:
        """The plain bytes. Raises SealError."""
        name, start = split(sealed)
        return self.decrypt(name, sealed[len(start) :], start + bound_to)

    def encrypt(self, name: str, plain: bytes, bound_to: bytes) -> bytes:
        """Nonce, ciphertext and tag under one key. Raises SealError when there is no such key."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher(name).encrypt(nonce, plain, bound_to)

    def decrypt(self, name: str, body: bytes, bound_to: bytes) -> bytes:
        """What `encrypt` was given. Raises SealError."""
        cipher = self._cipher(name)
        if len(body) < _NONCE + _TAG:
            raise SealError("does not open: it was cut")
        try:
            return cipher.decrypt(body[:_NONCE], body[_NONCE:], bound_to)
        except InvalidTag:
            raise SealError("does not open: cut, changed or moved") from None

    def _cipher(self, name: str) -> AESGCM:
        cipher = self.ring.ciphers.get(name)
        if cipher is None:
            raise SealError("sealed with a key that is not in the keyring")
        return cipher


def head(name: str) -> bytes:
    """How a value begins that names its key."""
    return bytes((_VERSION, len(name))) + name.encode()


def split(sealed: bytes) -> tuple[str, bytes]:
    """The name of the key that a value was sealed with, and the head that says so. Raises SealError."""
    if len(sealed) < _SHORTEST_HEAD or sealed[0] != _VERSION or len(sealed) < 2 + sealed[1]:
        raise SealError("not a sealed value")
    start = sealed[: 2 + sealed[1]]
    return start[2:].decode("ascii", "replace"), start


class KeySet(BaseModel):
    """Named keys of 32 bytes in base64. `current` makes new values; `next`, where there is one, from `next_from` on.

    A key that is to take over is there for some time before, so that every process can read what others make with it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    current: str
    keys: dict[Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")], SecretStr]
    next: str | None = None
    next_from: AwareDatetime | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.current not in self.keys:
            raise ValueError("`current` names no key of `keys`")
        if any(len(self.raw(name)) != KEY_BYTES for name in self.keys):
            raise ValueError("each key is 32 bytes in base64")
        if (self.next is None) is not (self.next_from is None):
            raise ValueError("`next` and `next_from` go together")
        if self.next is not None and self.next not in self.keys:
            raise ValueError("`next` names no key of `keys`")
        return self

    def raw(self, name: str) -> bytes:
        """The 32 bytes of one key."""
        return base64.b64decode(self.keys[name].get_secret_value(), validate=True)

    def used_at(self, now: datetime) -> str:
        """The name of the key that makes new values."""
        return self.next if self.next and self.next_from and now >= self.next_from else self.current

    def derived(self, purpose: str) -> dict[str, bytes]:
        """Each key for one purpose alone."""
        return {name: derive(self.raw(name), purpose) for name in self.keys}

    def sealing(self, purpose: str) -> SealingKeys:
        """Keys for one purpose, derived so that values of two purposes never open for one another."""
        return SealingKeys(self.current, self.derived(purpose), self.next, self.next_from)


class SigningKeys(KeySet):
    """Ed25519 seeds by `kid`."""

    def accepted_at(self, now: datetime, token_life: timedelta) -> Collection[str]:
        """Every `kid` but `current` once it was superseded for so long that its last token has expired."""
        if self.next and self.next_from and now >= self.next_from + token_life + SKEW:
            return self.keys.keys() - {self.current}
        return self.keys.keys()


class KeyringError(Exception):
    """The keyring file is missing or not valid."""


class Keyring(BaseModel):
    """Every key of an installation, in one file that only the processes may read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    born: Literal["demo", "production"]
    master: KeySet  # wraps each person's data key
    codec: KeySet  # Temporal payloads
    signing: SigningKeys  # of access tokens
    index: KeySet  # blind indices
    secret: SecretStr  # 32 bytes in base64: marks and derived tokens, never rotated silently

    @field_validator("secret")
    @classmethod
    def _is_a_key(cls, secret: SecretStr) -> SecretStr:
        if len(base64.b64decode(secret.get_secret_value(), validate=True)) != KEY_BYTES:
            raise ValueError("it is 32 bytes in base64")
        return secret

    @classmethod
    def load(cls, path: Path) -> "Keyring":
        """Raises KeyringError."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise KeyringError(
                f"AMRUTAM_KEYRING: {path}: {error.strerror}; `python -m amrutam keys init` makes one"
            ) from None
        except ValidationError as error:
            places = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
            raise KeyringError(
                f"AMRUTAM_KEYRING: {path}: {places}; `python -m amrutam keys init` adds what an older version lacked"
            ) from None

    @classmethod
    def generate(cls, born: Literal["demo", "production"]) -> str:
        """A new keyring as the JSON text of its file."""
        sets = {use: first_key(use) for use in ("master", "codec", "signing", "index")}
        return json.dumps({"born": born, **sets, "secret": random_key()}, indent=2) + "\n"

    def mark(self, purpose: str, *parts: bytes) -> bytes:
        """HMAC-SHA-256 of `parts`, each with its length, under a key of this purpose: equal only for equal parts."""
        mac = hmac.new(derive(base64.b64decode(self.secret.get_secret_value()), purpose), digestmod=hashlib.sha256)
        for part in parts:
            mac.update(len(part).to_bytes(8) + part)
        return mac.digest()

    def signing_key(self, name: str) -> Ed25519PrivateKey:
        """One Ed25519 key by its `kid`."""
        return Ed25519PrivateKey.from_private_bytes(self.signing.raw(name))


def derive(key: bytes, purpose: str) -> bytes:
    """32 bytes for one purpose (HKDF-SHA-256, RFC 5869)."""
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=purpose.encode()).derive(key)


def place(table: str, row: UUID, column: str, version: int = 1) -> bytes:
    """Associated data that binds a sealed value to where it lies."""
    return f"{table}|{row}|{column}|{version}".encode()


def first_key(use: str) -> dict[str, Any]:
    """A set of one new key, as it stands in the file."""
    return {"current": f"{use}-1", "keys": {f"{use}-1": random_key()}}


def random_key() -> str:
    """A new key as it stands in the file: 32 bytes in base64."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()
