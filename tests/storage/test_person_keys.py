"""Data keys: each person's own, remembered for a while, gone when destroyed."""

from datetime import timedelta

import pytest

from amrutam.crypto import Keyring, SealError, place
from amrutam.ids import new_id
from amrutam.storage.person_keys import DataKeyMissing, PersonKeys
from amrutam.storage.pool import Database


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def test_what_is_sealed_for_a_person_opens_in_every_process(db: Database, keyring: Keyring) -> None:
    person, here = new_id(), place("users", new_id(), "phone")
    async with db.transaction() as connection:
        key = await PersonKeys(keyring).create(connection, person)
    sealed = key.seal("+91 98765 43210 घर", here)
    async with db.connection() as connection:
        assert (await PersonKeys(keyring).of(connection, person)).open(sealed, here) == "+91 98765 43210 घर"


async def test_one_persons_key_opens_nothing_of_another(db: Database, keyring: Keyring) -> None:
    keys, here = PersonKeys(keyring), place("users", new_id(), "phone")
    async with db.transaction() as connection:
        mine, other = await keys.create(connection, new_id()), await keys.create(connection, new_id())
    with pytest.raises(SealError):
        other.open(mine.seal("+919876543210", here), here)


async def test_a_wrapped_key_that_was_moved_to_another_person_does_not_open(db: Database, keyring: Keyring) -> None:
    keys, person, thief = PersonKeys(keyring), new_id(), new_id()
    async with db.transaction() as connection:
        await keys.create(connection, person)
        await keys.create(connection, thief)
        await connection.execute(
            """UPDATE data_keys SET wrapped = (SELECT wrapped FROM data_keys WHERE person_id = $1)
               WHERE person_id = $2""",
            person, thief,
        )  # fmt: skip
        with pytest.raises(SealError):
            await keys.of(connection, thief)


async def test_no_key_lies_in_the_database_as_it_is(db: Database, keyring: Keyring) -> None:
    person = new_id()
    async with db.transaction() as connection:
        await PersonKeys(keyring).create(connection, person)
        wrapped = await connection.fetchval("SELECT wrapped FROM data_keys WHERE person_id = $1", person)
    key = keyring.master.sealing("person-keys").open(wrapped, place("data_keys", person, "wrapped"))
    assert len(key) == 32
    assert key not in wrapped


async def test_a_destroyed_key_is_a_clear_error(db: Database, keyring: Keyring) -> None:
    person = new_id()
    async with db.transaction() as connection:
        await PersonKeys(keyring).create(connection, person)
        await connection.execute("DELETE FROM data_keys WHERE person_id = $1", person)
        with pytest.raises(DataKeyMissing, match=str(person)):
            await PersonKeys(keyring).of(connection, person)


async def test_a_key_is_remembered_for_its_time_and_no_longer(db: Database, keyring: Keyring) -> None:
    clock, person = Clock(), new_id()
    keys = PersonKeys(keyring, life=timedelta(minutes=5), clock=clock)
    async with db.transaction() as connection:
        await keys.create(connection, person)
        remembered = await keys.of(connection, person)
        await connection.execute("DELETE FROM data_keys WHERE person_id = $1", person)
        clock.seconds = 299
        assert await keys.of(connection, person) is remembered
        clock.seconds = 300
        with pytest.raises(DataKeyMissing):
            await keys.of(connection, person)


async def test_the_key_that_was_used_least_recently_is_forgotten_first(db: Database, keyring: Keyring) -> None:
    keys = PersonKeys(keyring, size=2)
    first, second, third = new_id(), new_id(), new_id()
    async with db.transaction() as connection:
        for person in (first, second, third):
            await keys.create(connection, person)
        known = await keys.of(connection, first)
        await keys.of(connection, second)
        await keys.of(connection, first)
        await keys.of(connection, third)
        await connection.execute("DELETE FROM data_keys WHERE person_id = ANY ($1)", [first, second])
        assert await keys.of(connection, first) is known
        with pytest.raises(DataKeyMissing):
            await keys.of(connection, second)


async def test_a_key_whose_transaction_rolled_back_is_not_remembered(db: Database, keyring: Keyring) -> None:
    keys, person = PersonKeys(keyring), new_id()

    async def fail() -> None:
        async with db.transaction() as connection:
            await keys.create(connection, person)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with db.connection() as connection:
        with pytest.raises(DataKeyMissing):
            await keys.of(connection, person)
