"""Signed checkpoints of the audit trail's seals, kept outside the database.

Whoever owns the database can rewrite a trail with all its seals; a checkpoint tells what the seals were. It is a small
JSON file, one for each, written once; the folder should lie where the database's administrators cannot write.
"""

import base64
import hashlib
import os
import secrets
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from amrutam.crypto import Keyring
from amrutam.domain.audit_seals import Seal
from amrutam.domain.common import Instant, Message


class Checkpoint(Message):
    """What a seal was, and by which key that is said."""

    number: int
    digest: str
    made_at: Instant
    key: str
    signature: str = ""

    @property
    def signed(self) -> bytes:
        """What the signature covers: everything but itself."""
        return self.model_dump_json(exclude={"signature"}).encode()


class CheckpointError(Exception):
    """A checkpoint cannot be trusted; the message names it."""


class Checkpoints(Protocol):
    """Where checkpoints are kept."""

    def write(self, seal: Seal, now: datetime) -> bool:
        """Keep one of this seal. False when there is one. Raises OSError."""
        ...

    def read(self, first: int) -> Iterator[Checkpoint]:
        """Those from seal `first` on, in their order. Raises CheckpointError for one that is not of our making."""
        ...


class CheckpointFolder:
    """Checkpoints as files, a folder for every ten thousand seals."""

    def __init__(self, folder: Path, keyring: Keyring) -> None:
        self._folder = folder
        self._key = Ed25519PrivateKey.from_private_bytes(keyring.mark("audit.checkpoints", b"ed25519"))
        self._name = hashlib.sha256(self._key.public_key().public_bytes_raw()).hexdigest()[:16]

    def write(self, seal: Seal, now: datetime) -> bool:
        """Keep one of this seal, complete or not at all. False when there is one. Raises OSError."""
        path = self._folder / f"{seal.number // 10_000:06}" / f"{seal.number:010}.json"
        if path.exists():
            return False
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        plain = Checkpoint(number=seal.number, digest=seal.digest.hex(), made_at=now, key=self._name)
        signature = base64.b64encode(self._key.sign(plain.signed)).decode()
        text = plain.model_copy(update={"signature": signature}).model_dump_json() + "\n"
        fresh = path.with_suffix(f".{secrets.token_hex(4)}.new")  # of this writer alone: two may seal at once
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.chmod(0o400)
        fresh.replace(path)
        return True

    def read(self, first: int) -> Iterator[Checkpoint]:
        """Those from seal `first` on, in their order. Raises CheckpointError for one that is not of our making."""
        for path in sorted(self._folder.glob("*/*.json")):
            if path.stem >= f"{first:010}":
                yield self._checked(path)

    def _checked(self, path: Path) -> Checkpoint:
        try:
            checkpoint = Checkpoint.model_validate_json(path.read_bytes())
            if checkpoint.key != self._name:
                raise CheckpointError(f"{path}: signed with key {checkpoint.key}, not with {self._name}")
            self._key.public_key().verify(base64.b64decode(checkpoint.signature), checkpoint.signed)
        except (ValidationError, ValueError, InvalidSignature):
            raise CheckpointError(f"{path}: changed, its signature does not fit") from None
        if path.stem != f"{checkpoint.number:010}":
            raise CheckpointError(f"{path}: holds the checkpoint of seal {checkpoint.number}")
        return checkpoint
