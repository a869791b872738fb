"""Idempotency records: one for each user and key, whoever asks and however often."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from amrutam.crypto import Keyring, SealError, SealingKeys
from amrutam.domain.errors import Fault, IdempotencyKeyReused, OperationInProgress, Refused
from amrutam.ids import new_id
from amrutam.storage import operations
from amrutam.storage.operations import Operation
from amrutam.storage.pool import Connection, Database
from tests.storage.waiting import someone_waits

MAC = b"the mark of one request"
OUTCOME = b'{"status": "confirmed", "reason": "an itching rash"}'
TAKEN = Refused(
    code="slot_taken", detail="Somebody was quicker.", faults=[Fault(pointer="/starts_at", code="x", detail="y")]
)


@pytest.fixture(scope="session")
def keys(keyring: Keyring) -> SealingKeys:
    """As the API and the worker seal."""
    return keyring.master.sealing("operations")


@pytest.fixture
def user() -> UUID:
    """Somebody new."""
    return new_id()


async def _begin(
    db: Connection, keys: SealingKeys, user: UUID, mac: bytes = MAC, key: str = "k", action: str = "book"
) -> Operation:
    return await operations.begin(db, keys, user, key, action, mac, new_id())


async def _refused(db: Database, keys: SealingKeys, user: UUID) -> Operation:
    """A request that was refused."""
    async with db.connection() as connection:
        operation = await _begin(connection, keys, user)
        await operations.refuse(connection, keys, operation.id, TAKEN)
    return operation


async def test_fifty_at_once_under_one_key_share_one_record(db: Database, keys: SealingKeys, user: UUID) -> None:
    async def begin() -> Operation:
        async with db.connection() as connection:
            return await _begin(connection, keys, user)

    begun = await asyncio.gather(*(begin() for _ in range(50)))
    assert len({operation.id for operation in begun}) == 1
    assert sum(operation.fresh for operation in begun) == 1
    assert {(operation.action, operation.outcome, operation.refusal) for operation in begun} == {("book", None, None)}


async def test_a_key_is_ones_own_and_names_one_request(db: Database, keys: SealingKeys, user: UUID) -> None:
    async with db.connection() as connection:
        mine = await _begin(connection, keys, user)
        assert (await _begin(connection, keys, new_id())).id != mine.id
        assert (await _begin(connection, keys, user, key="another")).id != mine.id
        with pytest.raises(IdempotencyKeyReused):
            await _begin(connection, keys, user, mac=b"the mark of another request")
        assert (await _begin(connection, keys, user)).id == mine.id


async def test_a_key_stays_taken_by_its_request_after_a_refusal(db: Database, keys: SealingKeys, user: UUID) -> None:
    refused = await _refused(db, keys, user)
    async with db.connection() as connection:
        with pytest.raises(IdempotencyKeyReused):
            await _begin(connection, keys, user, mac=b"the mark of another request")
        record = await operations.find(connection, keys, user, refused.id)
    assert record is not None
    assert record.refusal == TAKEN


async def test_an_outcome_is_what_every_repeat_gets(db: Database, keys: SealingKeys, user: UUID) -> None:
    async with db.connection() as connection:
        operation = await _begin(connection, keys, user)
        await operations.finish(connection, keys, operation.id, OUTCOME)
        repeat = await _begin(connection, keys, user, action="whatever is sent now")
    assert repeat == Operation(operation.id, "book", fresh=False, outcome=OUTCOME, refusal=None)


async def test_those_who_wait_share_a_refusal_and_the_next_request_tries_afresh(
    db: Database, keys: SealingKeys, user: UUID
) -> None:
    refused = await _refused(db, keys, user)
    async with db.connection() as connection:
        waiting = await operations.find(connection, keys, user, refused.id)
        afresh = await _begin(connection, keys, user)
        assert waiting is not None
        assert (waiting.refusal, waiting.outcome) == (TAKEN, None)
        assert (afresh.fresh, afresh.refusal) == (True, None)
        assert afresh.id != refused.id
        assert await operations.find(connection, keys, user, refused.id) is None
        assert (await _begin(connection, keys, user))._replace(fresh=True) == afresh


async def test_of_two_retries_at_once_one_gets_the_new_id_and_the_other_joins_it(
    db: Database, keys: SealingKeys, user: UUID
) -> None:
    await _refused(db, keys, user)

    async def second() -> Operation:
        async with db.connection() as connection:
            return await _begin(connection, keys, user)

    async with db.transaction() as connection:
        first = await _begin(connection, keys, user)
        later = asyncio.create_task(second())
        await someone_waits(db, "operations")
    joined = await later
    assert first.fresh
    assert joined == first._replace(fresh=False)


async def test_twenty_retries_at_once_swap_once(db: Database, keys: SealingKeys, user: UUID) -> None:
    refused = await _refused(db, keys, user)

    async def retry() -> Operation:
        async with db.connection() as connection:
            return await _begin(connection, keys, user)

    begun = await asyncio.gather(*(retry() for _ in range(20)))
    assert {operation.id for operation in begun}.isdisjoint({refused.id})
    assert len({operation.id for operation in begun}) == sum(operation.fresh for operation in begun) == 1


async def test_work_for_an_id_that_was_superseded_rolls_back(db: Database, keys: SealingKeys, user: UUID) -> None:
    refused, row = await _refused(db, keys, user), new_id()
    async with db.connection() as connection:
        afresh = await _begin(connection, keys, user)

    async def work() -> None:
        async with db.transaction() as connection:
            await connection.execute("INSERT INTO consultations VALUES ($1, 'scheduled', $1, $1)", row)
            await operations.finish(connection, keys, refused.id, OUTCOME)

    with pytest.raises(OperationInProgress):
        await work()
    async with db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM consultations WHERE id = $1", row) == 0
        with pytest.raises(OperationInProgress):
            await operations.outcome_of(connection, keys, refused.id)
        await operations.finish(connection, keys, afresh.id, OUTCOME)
        assert await operations.outcome_of(connection, keys, afresh.id) == OUTCOME


async def test_an_outcome_that_did_not_commit_is_none(db: Database, keys: SealingKeys, user: UUID) -> None:
    async with db.connection() as connection:
        operation = await _begin(connection, keys, user)

    async def fail() -> None:
        async with db.transaction() as connection:
            await operations.finish(connection, keys, operation.id, OUTCOME)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with db.connection() as connection:
        assert await operations.outcome_of(connection, keys, operation.id) is None


async def test_nothing_overwrites_an_outcome(db: Database, keys: SealingKeys, user: UUID) -> None:
    async with db.connection() as connection:
        operation = await _begin(connection, keys, user)
        await operations.finish(connection, keys, operation.id, OUTCOME)
        with pytest.raises(OperationInProgress):
            await operations.finish(connection, keys, operation.id, b"another outcome")
        await operations.refuse(connection, keys, operation.id, TAKEN)
        assert not await operations.swap(connection, operation.id, new_id())
        record = await operations.find(connection, keys, user, operation.id)
    assert record is not None
    assert (record.outcome, record.refusal) == (OUTCOME, None)


async def test_what_is_done_after_all_takes_the_refusals_place(db: Database, keys: SealingKeys, user: UUID) -> None:
    refused = await _refused(db, keys, user)
    async with db.connection() as connection:
        await operations.finish(connection, keys, refused.id, OUTCOME)
        assert (await _begin(connection, keys, user)) == Operation(refused.id, "book", False, OUTCOME, None)


async def test_a_late_refusal_does_not_reach_the_retry(db: Database, keys: SealingKeys, user: UUID) -> None:
    refused = await _refused(db, keys, user)
    async with db.connection() as connection:
        afresh = await _begin(connection, keys, user)
        await operations.refuse(connection, keys, refused.id, TAKEN)
        record = await operations.find(connection, keys, user, afresh.id)
    assert record is not None
    assert record.refusal is None


async def test_two_attempts_at_once_do_the_work_once(db: Database, keys: SealingKeys, user: UUID) -> None:
    async with db.connection() as connection:
        operation = await _begin(connection, keys, user)

    async def second() -> bytes | None:
        async with db.transaction() as connection:
            return await operations.outcome_of(connection, keys, operation.id)

    async with db.transaction() as connection:
        assert await operations.outcome_of(connection, keys, operation.id) is None
        later = asyncio.create_task(second())
        await someone_waits(db, "operations")
        await operations.finish(connection, keys, operation.id, OUTCOME)
    assert await later == OUTCOME


async def test_a_record_is_found_by_its_owner_alone(db: Database, keys: SealingKeys, user: UUID) -> None:
    async with db.connection() as connection:
        operation = await _begin(connection, keys, user)
        assert await operations.find(connection, keys, new_id(), operation.id) is None
        assert await operations.find(connection, keys, user, operation.id) == operation._replace(fresh=False)


@pytest.mark.parametrize("column", ["outcome", "refusal"])
async def test_outcome_and_refusal_lie_sealed_and_open_in_their_own_record_alone(
    db: Database, keys: SealingKeys, user: UUID, column: str
) -> None:
    async with db.transaction() as connection:
        mine, other = [await _begin(connection, keys, user, key=key) for key in ("mine", "other")]
        await operations.refuse(connection, keys, mine.id, TAKEN)
        if column == "outcome":
            await operations.finish(connection, keys, mine.id, OUTCOME)
        stored = f"SELECT {column} FROM operations WHERE operation_id = $1"  # noqa: S608 - the two above
        sealed = await connection.fetchval(stored, mine.id)
        assert not any(word in sealed for word in (b"confirmed", b"rash", b"slot_taken", b"quicker"))
        move = f"UPDATE operations SET {column} = $2 WHERE operation_id = $1"  # noqa: S608 - the same
        await connection.execute(move, other.id, sealed)
        with pytest.raises(SealError):
            await operations.find(connection, keys, user, other.id)


async def test_records_past_their_time_are_forgotten_the_oldest_first_and_not_too_many_at_once(
    db: Database, keys: SealingKeys, user: UUID
) -> None:
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    age: Callable[[int], datetime] = lambda days: long_ago + timedelta(days=days)  # noqa: E731 - reads better below
    async with db.transaction() as connection:
        records = [await _begin(connection, keys, user, key=f"{day}") for day in range(4)]
        for day, record in enumerate(records):
            await connection.execute(
                "UPDATE operations SET created_at = $2 WHERE operation_id = $1", record.id, age(day)
            )

        async def left() -> list[bool]:
            return [await operations.find(connection, keys, user, record.id) is not None for record in records]

        assert await operations.forget_before(connection, age(3), limit=2) == 2
        assert await left() == [False, False, True, True]
        assert await operations.forget_before(connection, age(3), limit=2) == 1
        assert await left() == [False, False, False, True]
        assert await operations.forget_before(connection, age(3), limit=2) == 0
