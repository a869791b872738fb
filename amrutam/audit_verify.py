"""`python -m amrutam audit verify`: has anybody touched the audit trail? Names the first row that was tampered with."""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from amrutam.domain.audit_seals import (
    BEGINNING,
    GENESIS,
    Difference,
    Place,
    Seal,
    Tampering,
    digest_of,
    first_difference,
    marks_of,
)
from amrutam.gateways.checkpoints import Checkpoint, CheckpointError, Checkpoints
from amrutam.storage import audit_seals
from amrutam.storage.pool import Connection, Database

# Seals in memory at a time, each with the rows under it.
_SEALS = 20
# Looking for one row in all seals is done once, when it is known that something is wrong.
_SEARCH_TIMEOUT = "10min"


class Tampered(Exception):
    """The trail, its seals or their checkpoints are not what they were; the message names the first place."""


class Verified(NamedTuple):
    """What was found to be whole."""

    rows: int
    seals: int  # the number of the newest
    vouched: int  # the newest seal that a checkpoint outside the database tells of
    unsealed: int
    oldest_unsealed_seconds: float


class Sums(NamedTuple):
    """How far verification has come."""

    last: Place = BEGINNING
    number: int = 0
    digest: bytes = GENESIS
    rows: int = 0
    vouched: int = 0


async def verify(
    db: Database, checkpoints: Checkpoints | None, progress: Callable[[int], None], since: datetime | None = None
) -> Verified:
    """Read the trail beside its seals and checkpoints: all of it, or what was sealed since then.

    `progress` hears of rows so far. What is skipped still counts in every digest that follows. Raises Tampered.
    """
    sums = await _start(db, since)
    said = _Said(checkpoints, sums.number + 1)
    async for seal in _chain(db, sums.number):
        _check_link(sums, seal)
        vouched = seal.number if said.vouches_for(seal) else sums.vouched
        rows = await _check_rows(db, sums.last, seal)
        sums = Sums(seal.last, seal.number, seal.digest, sums.rows + rows, vouched)
        progress(sums.rows)
    said.check_end(sums)
    async with db.connection() as connection:
        unsealed, age = await audit_seals.waiting(connection, sums.last)
    return Verified(sums.rows, sums.number, sums.vouched, unsealed, age)


async def _start(db: Database, since: datetime | None) -> Sums:
    """Where to begin: after the last seal before `since`."""
    async with db.connection() as connection:
        seal = await audit_seals.last_before(connection, since) if since else None
    return Sums(seal.last, seal.number, seal.digest) if seal else Sums()


class _Said:
    """The checkpoints from seal `first` on, read beside the seals."""

    def __init__(self, checkpoints: Checkpoints | None, first: int) -> None:
        self._first = first
        self._kept = checkpoints is not None
        self._rest: Iterator[Checkpoint] = checkpoints.read(first) if checkpoints else iter(())
        self._next = self._read()

    def vouches_for(self, seal: Seal) -> bool:
        """Whether a checkpoint tells of this seal. Raises Tampered when it tells of another one."""
        if self._next is None or self._next.number > seal.number:
            return False
        if self._next.number != seal.number or self._next.digest != seal.digest.hex():
            raise Tampered(f"seal {seal.number} is not the one of its checkpoint: it, or one before it, was rewritten")
        self._next = self._read()
        return True

    def check_end(self, sums: Sums) -> None:
        """Raises Tampered when a checkpoint tells of a seal that is gone, or when there is none at all."""
        if self._next is not None:
            raise Tampered(
                f"seals were removed: there are {sums.number}, and a checkpoint of number {self._next.number}"
            )
        if self._kept and sums.number >= self._first and not sums.vouched:
            raise Tampered("no checkpoint is there: nothing outside the database vouches for the seals")

    def _read(self) -> Checkpoint | None:
        try:
            return next(self._rest, None)
        except CheckpointError as error:
            raise Tampered(f"checkpoint {error}") from None


async def _chain(db: Database, number: int) -> AsyncGenerator[Seal, None]:
    """The links after the one with this number."""
    while True:
        async with db.connection() as connection:
            seals: Sequence[Seal] = await audit_seals.after(connection, number, _SEALS)
        for seal in seals:
            yield seal
            number = seal.number
        if len(seals) < _SEALS:
            return


def _check_link(sums: Sums, seal: Seal) -> None:
    """Raises Tampered."""
    if seal.number != sums.number + 1:
        raise Tampered(f"seal {sums.number + 1} was removed")
    if seal.digest != digest_of(sums.digest, seal.number, seal.marks) or seal.last != marks_of(seal.marks)[-1].place:
        raise Tampered(f"seal {seal.number} was changed")


async def _check_rows(db: Database, after: Place, seal: Seal) -> int:
    """How many rows are under the seal. Raises Tampered."""
    marks = marks_of(seal.marks)
    async with db.connection() as connection:
        # One more than there should be is enough to find the first that should not.
        rows = await audit_seals.rows_between(connection, after, seal.last, len(marks) + 1)
    if difference := first_difference(marks, rows):
        async with db.transaction() as connection:
            tampering, place = await _named(connection, difference)
        raise Tampered(f"row {place.id} was {tampering} (transaction {place.xid}, under seal {seal.number})")
    return len(marks)


async def _named(db: Connection, difference: Difference) -> tuple[Tampering, Place]:
    """What was done to which row."""
    marked, found = difference
    if marked and (found is None or marked < found):
        return Tampering.REORDERED if await audit_seals.exists(db, marked) else Tampering.REMOVED, marked
    if found and found != marked:
        await db.execute(f"SET LOCAL statement_timeout = '{_SEARCH_TIMEOUT}'")
        await db.execute(f"SET LOCAL transaction_timeout = '{_SEARCH_TIMEOUT}'")
        return Tampering.REORDERED if await audit_seals.is_marked(db, found) else Tampering.INSERTED, found
    return Tampering.CHANGED, marked or found or BEGINNING
