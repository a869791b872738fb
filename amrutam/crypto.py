"""Keys and what is done with them: sealing (AES-256-GCM), deriving (HKDF), one-way marks (HMAC).

A sealed value is `0x01 | length of key id | key id | 96-bit nonce | ciphertext and tag`: it names its own key, so that
old values stay readable while keys rotate. Associated data binds a value to its place; moved, it does not open.
"""

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, field_validator, model_validator

_VERSION = 1
_NONCE = 12
KEY_BYTES = 32


class SealError(Exception):
    """A sealed value does not open: it was cut, moved or changed, or its key is not in the keyring."""


class SealingKeys:
    """AES-256-GCM under a current key, with older ones kept for opening."""

    def __init__(self, current: str, keys: Mapping[str, bytes]) -> None:
        self._current = current
        self._ciphers = {name: AESGCM(key) for name, key in keys.items()}

    def seal(self, plain: bytes, bound_to: bytes) -> bytes:
        """`plain` under the current key; it opens only with the same `bound_to`."""
        name, nonce = self._current.encode(), os.urandom(_NONCE)
        head = bytes((_VERSION, len(name))) + name
        return head + nonce + self._ciphers[self._current].encrypt(nonce, plain, head + bound_to)

    def open(self, sealed: bytes, bound_to: bytes) -> bytes:
        """The plain bytes. Raises SealError."""
        if len(sealed) < 2 + _NONCE or sealed[0] != _VERSION:
            raise SealError("not a sealed value")
        body = 2 + sealed[1]
        cipher = self._ciphers.get(sealed[2:body].decode("ascii", "replace"))
        if cipher is None:
            raise SealError("sealed with a key that is not in the keyring")
        try:
            return cipher.decrypt(sealed[body : body + _NONCE], sealed[body + _NONCE :], sealed[:body] + bound_to)
        except InvalidTag:
            raise SealError("does not open: cut, changed or moved") from None


class KeySet(BaseModel):
    """Named keys of 32 bytes in base64, and which of them is used for new values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    current: str
    keys: dict[str, SecretStr]

    @model_validator(mode="after")
    def _complete(self) -> "KeySet":
        if self.current not in self.keys:
            raise ValueError("`current` names no key of `keys`")
        if any(len(self.raw(name)) != KEY_BYTES for name in self.keys):
            raise ValueError("each key is 32 bytes in base64")
        return self

    def raw(self, name: str) -> bytes:
        """The 32 bytes of one key."""
        return base64.b64decode(self.keys[name].get_secret_value(), validate=True)

    def sealing(self, purpose: str) -> SealingKeys:
        """Keys for one purpose, derived so that values of two purposes never open for one another."""
        return SealingKeys(self.current, {name: derive(self.raw(name), purpose) for name in self.keys})


class KeyringError(Exception):
    """The keyring file is missing or not valid."""


class Keyring(BaseModel):
    """Every key of an installation, in one file that only the processes may read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    born: Literal["demo", "production"]
    master: KeySet  # wraps each person's data key
    codec: KeySet  # Temporal payloads
    signing: KeySet  # Ed25519 seeds of access tokens
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
            raise KeyringError(f"AMRUTAM_KEYRING: {path}: {places}") from None

    @classmethod
    def generate(cls, born: Literal["demo", "production"]) -> str:
        """A new keyring as the JSON text of its file."""
        sets = {
            use: {"current": f"{use}-1", "keys": {f"{use}-1": _random_key()}} for use in ("master", "codec", "signing")
        }
        return json.dumps({"born": born, **sets, "secret": _random_key()}, indent=2) + "\n"

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


def _random_key() -> str:
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()
