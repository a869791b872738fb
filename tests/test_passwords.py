"""Hashing passwords without standing still."""

import asyncio

import pytest
from argon2 import PasswordHasher

from amrutam.domain.errors import Unavailable
from amrutam.passwords import Passwords


@pytest.fixture(scope="module")
def passwords() -> Passwords:
    return Passwords(memory_kib=1024, passes=1)


async def test_a_password_is_known_again_and_no_other_is(passwords: Passwords) -> None:
    stored = await passwords.hash("correct horse")
    assert await passwords.verify(stored, "correct horse")
    assert not await passwords.verify(stored, "correct horse ")


async def test_one_password_is_stored_differently_each_time(passwords: Passwords) -> None:
    assert await passwords.hash("correct horse") != await passwords.hash("correct horse")


@pytest.mark.parametrize("stored", [None, "", "no password", "$argon2id$v=19$m=1024,t=1,p=1$rubbish"])
async def test_no_password_fits_where_none_is_stored(passwords: Passwords, stored: str | None) -> None:
    assert not await passwords.verify(stored, "no password")


async def test_a_hash_with_older_parameters_still_fits(passwords: Passwords) -> None:
    older = PasswordHasher(time_cost=2, memory_cost=512, parallelism=2).hash("correct horse")
    assert await passwords.verify(older, "correct horse")


@pytest.mark.parametrize(("passes", "memory_kib", "lanes"), [(2, 1024, 1), (1, 2048, 1), (1, 1024, 2)])
async def test_a_hash_with_other_parameters_is_to_be_made_anew(
    passwords: Passwords, passes: int, memory_kib: int, lanes: int
) -> None:
    other = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=lanes).hash("correct horse")
    assert passwords.outdated(other)
    assert not passwords.outdated(await passwords.hash("correct horse"))


async def test_an_unknown_account_costs_the_same_work_as_a_known_one(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    verify = PasswordHasher.verify

    def watched(self: PasswordHasher, stored: str, password: str) -> bool:
        checked.append(stored.rsplit("$", 2)[0])
        return verify(self, stored, password)

    monkeypatch.setattr(PasswordHasher, "verify", watched)
    await passwords.verify(await passwords.hash("correct horse"), "wrong")
    await passwords.verify(None, "wrong")
    assert checked[0] == checked[1]


async def test_the_event_loop_goes_on_while_passwords_are_hashed() -> None:
    turns = 0
    hashing = asyncio.gather(*(Passwords(memory_kib=19 * 1024, passes=2).hash("correct horse") for _ in range(2)))
    while not hashing.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 10


async def test_who_comes_when_too_many_wait_is_told_so_at_once() -> None:
    passwords = Passwords(memory_kib=1024, passes=1, most_waiting=3)
    outcomes = await asyncio.gather(*(passwords.hash("correct horse") for _ in range(5)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [str, str, str, Unavailable, Unavailable]
    assert await passwords.hash("correct horse")
