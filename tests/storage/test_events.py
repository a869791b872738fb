"""Consumers of events lose none, however transactions commit, and see each once and in its order."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import ClassVar
from uuid import UUID

import pytest

from amrutam.domain.events import Event
from amrutam.ids import new_id
from amrutam.storage import events
from amrutam.storage.events import StoredEvent
from amrutam.storage.pool import Database
from tests.polling import until

WRITERS = 8


class Tried(Event):
    """A fact that only these tests tell."""

    type: ClassVar[str] = "test.tried"
    number: int


class Undone(Exception):
    """Rolls a transaction back."""


class Reader:
    """One consumer that reads what there is and notes what these tests wrote."""

    def __init__(self, db: Database, name: str, subject: UUID) -> None:
        self._db = db
        self.subject = subject
        self.name = name
        self.seen: list[StoredEvent] = []

    async def read(self, limit: int = 50) -> None:
        """Up to what may be read now, in batches."""
        while True:
            async with self._db.transaction() as db:
                batch = await events.next_batch(db, self.name, limit)
                if not batch:
                    return
                await events.move_watermark(db, self.name, batch[-1])
            self.seen += [event for event in batch if event.subject == self.subject]

    @property
    def numbers(self) -> list[int]:
        return [json.loads(event.data)["number"] for event in self.seen]

    async def all(self, count: int) -> None:
        """Until it has seen so many. A transaction of somebody else may hold it back for a moment."""

        async def complete() -> bool:
            await self.read()
            return len(self.seen) >= count

        await until(complete)


@pytest.fixture
async def reader(db: Database, owner: Database) -> AsyncGenerator[Reader, None]:
    """A new consumer, which has read everything so far."""
    reader = Reader(db, f"test-{new_id()}", new_id())
    async with db.connection() as connection:
        await events.register(connection, reader.name)
        await connection.execute(
            "UPDATE watermarks SET xid = pg_snapshot_xmin(pg_current_snapshot()) WHERE consumer = $1", reader.name
        )
    yield reader
    async with owner.connection() as connection:
        await connection.execute("DELETE FROM watermarks WHERE consumer = $1", reader.name)


@pytest.fixture
def subject(reader: Reader) -> UUID:
    """What the test's facts are about."""
    return reader.subject


def _place(event: StoredEvent) -> tuple[int, UUID]:
    return int(event.xid), event.id


@pytest.mark.parametrize("seed", range(5))
async def test_a_consumer_that_reads_between_commits_out_of_order_loses_none(
    wide: Database, reader: Reader, subject: UUID, seed: int
) -> None:
    """All eight write first and commit afterwards, in an order of chance, with a read after each."""
    order = random.Random(seed).sample(range(WRITERS), WRITERS)  # noqa: S311 - no secret
    stacks = [AsyncExitStack() for _ in order]
    for number, stack in enumerate(stacks):
        connection = await stack.enter_async_context(wide.transaction())
        await events.append(connection, Tried(subject=subject, number=number))
    for number in order:
        await stacks[number].aclose()
        await reader.read()
    await reader.all(len(order))
    assert reader.numbers == sorted(order)


async def test_eight_writers_with_transactions_of_different_length_lose_no_event(
    wide: Database, reader: Reader, subject: UUID
) -> None:
    rounds, facts = 15, 3

    async def write(writer: int) -> None:
        chance = random.Random(writer)  # noqa: S311 - how long each transaction is
        for turn in range(rounds):
            async with wide.transaction() as connection:
                for fact in range(facts):
                    number = (writer * rounds + turn) * facts + fact
                    await events.append(connection, Tried(subject=subject, number=number))
                    await connection.execute("SELECT pg_sleep($1)", chance.choice([0, 0, 0.002, 0.01]))

    writing = asyncio.gather(*(write(writer) for writer in range(WRITERS)))
    while not writing.done():
        await reader.read(limit=7)
        await asyncio.sleep(0)
    await writing
    written = WRITERS * rounds * facts
    await reader.all(written)
    assert sorted(reader.numbers) == list(range(written))
    assert reader.seen == sorted(reader.seen, key=_place)


async def test_an_open_transaction_holds_back_what_was_committed_after_it(
    db: Database, reader: Reader, subject: UUID
) -> None:
    async with db.transaction() as early:
        await events.append(early, Tried(subject=subject, number=1))
        async with db.transaction() as late:
            await events.append(late, Tried(subject=subject, number=2))
        await reader.read()
        assert reader.seen == []
    await reader.all(2)
    assert reader.numbers == [1, 2]


async def test_what_rolled_back_never_happened(db: Database, reader: Reader, subject: UUID) -> None:
    async def fail() -> None:
        async with db.transaction() as connection:
            await events.append(connection, Tried(subject=subject, number=1))
            raise Undone

    with pytest.raises(Undone):
        await fail()
    async with db.connection() as connection:
        await events.append(connection, Tried(subject=subject, number=2))
    await reader.all(1)
    assert reader.numbers == [2]


async def test_a_watermark_whose_transaction_rolled_back_has_not_moved(
    db: Database, reader: Reader, subject: UUID
) -> None:
    async with db.connection() as connection:
        await events.append(connection, Tried(subject=subject, number=1))

    async def read_and_fail() -> bool:
        async with db.transaction() as connection:
            batch = await events.next_batch(connection, reader.name, 50)
            if not any(event.subject == subject for event in batch):
                return False
            await events.move_watermark(connection, reader.name, batch[-1])
            raise Undone

    with pytest.raises(Undone):
        await until(read_and_fail)
    await reader.read()
    assert reader.numbers == [1]
    await reader.read()
    assert reader.numbers == [1]


async def test_an_event_tells_its_age_and_holds_its_subject_apart(db: Database, reader: Reader, subject: UUID) -> None:
    async with db.connection() as connection:
        await events.append(connection, Tried(subject=subject, number=7))
    await reader.all(1)
    [event] = reader.seen
    assert (event.type, event.subject, json.loads(event.data)) == ("test.tried", subject, {"number": 7})
    assert -1 < event.age_seconds < 60


async def test_a_consumer_that_nobody_registered_is_an_error_and_registering_twice_is_none(
    db: Database, reader: Reader
) -> None:
    async with db.connection() as connection:
        with pytest.raises(LookupError, match="unheard-of"):
            await events.next_batch(connection, "unheard-of", 1)
        watermark = "SELECT xid::text FROM watermarks WHERE consumer = $1"
        before = await connection.fetchval(watermark, reader.name)
        await events.register(connection, reader.name)
        assert await connection.fetchval(watermark, reader.name) == before != "0"


async def test_one_reads_at_a_time_for_each_consumer(db: Database, reader: Reader) -> None:
    async with db.transaction() as first:
        assert await events.become_only_reader(first, reader.name)
        async with db.transaction() as second:
            assert not await events.become_only_reader(second, reader.name)
            assert await events.become_only_reader(second, f"{reader.name}-another")
    async with db.transaction() as second:
        assert await events.become_only_reader(second, reader.name)
