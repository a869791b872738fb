"""Seals of the audit trail: a hash chain that names the first row that was changed, removed, inserted or reordered.

A row's mark is its place and its hash. A seal holds the marks of many rows, in the order of their places, and a digest
over these and the digest of the seal before it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import zip_longest
from typing import NamedTuple
from uuid import UUID

# Raised when a row is hashed in another way, so that no row has two meanings.
_FORM = b"amrutam.audit.1"
_ABSENT = b"\xff\xff\xff\xff"
_XID_BYTES, _ID_BYTES, _HASH_BYTES = 8, 16, 32
MARK_BYTES = _XID_BYTES + _ID_BYTES + _HASH_BYTES
# What the first seal follows.
GENESIS = bytes(_HASH_BYTES)

Value = UUID | bytes | str | None


class Place(NamedTuple):
    """Where a row stands in the order of commits."""

    xid: int
    id: UUID


BEGINNING = Place(0, UUID(int=0))


class SealedRow(NamedTuple):
    """A row of the trail: its place, then every other column."""

    place: Place
    values: Sequence[Value]


class Mark(NamedTuple):
    """What a seal remembers of a row."""

    place: Place
    hash: bytes


class Seal(NamedTuple):
    """One link of the chain."""

    number: int
    last: Place
    marks: bytes
    digest: bytes


class Tampering(StrEnum):
    """What was done to a row."""

    CHANGED = "changed"
    REMOVED = "removed"
    INSERTED = "inserted"
    REORDERED = "reordered"


class Difference(NamedTuple):
    """The first place at which rows and marks part. One of the two is None where the other stands alone."""

    marked: Place | None
    found: Place | None


def mark_of(row: SealedRow) -> Mark:
    """The row's mark. Each value goes in with its length, so that no two rows give the same bytes."""
    parts = [_FORM, row.place.xid.to_bytes(_XID_BYTES), row.place.id.bytes]
    for value in row.values:
        if value is None:
            parts.append(_ABSENT)
            continue
        raw = value.bytes if isinstance(value, UUID) else value.encode() if isinstance(value, str) else value
        parts += (len(raw).to_bytes(4), raw)
    return Mark(row.place, hashlib.sha256(b"".join(parts)).digest())


def seal(before: Seal | None, rows: Sequence[SealedRow]) -> Seal:
    """The link after `before` for these rows, which are in the order of their places and at least one."""
    marks = b"".join(_packed(mark_of(row)) for row in rows)
    number = before.number + 1 if before else 1
    return Seal(number, rows[-1].place, marks, digest_of(before.digest if before else GENESIS, number, marks))


def digest_of(before: bytes, number: int, marks: bytes) -> bytes:
    """What ties a seal's marks to all seals before it."""
    return hashlib.sha256(before + number.to_bytes(8) + marks).digest()


def marks_of(packed: bytes) -> list[Mark]:
    """A seal's marks again."""
    return [_unpacked(packed[start : start + MARK_BYTES]) for start in range(0, len(packed), MARK_BYTES)]


def first_difference(marks: Iterable[Mark], rows: Iterable[SealedRow]) -> Difference | None:
    """Where rows and marks first part; None where they agree to the end."""
    for mark, row in zip_longest(marks, rows):
        if mark is None or row is None or mark_of(row) != mark:
            return Difference(mark.place if mark else None, row.place if row else None)
    return None


def _packed(mark: Mark) -> bytes:
    return mark.place.xid.to_bytes(_XID_BYTES) + mark.place.id.bytes + mark.hash


def _unpacked(raw: bytes) -> Mark:
    row_id = UUID(bytes=raw[_XID_BYTES : _XID_BYTES + _ID_BYTES])
    return Mark(Place(int.from_bytes(raw[:_XID_BYTES]), row_id), raw[_XID_BYTES + _ID_BYTES :])
