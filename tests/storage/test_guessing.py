"""Counters of wrong guesses: in Redis, in one process, and the two against each other."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from redis.asyncio import Redis

from amrutam.domain.limits import HERE, NETWORK, SECOND, Guesses, guess
from amrutam.ids import new_id
from amrutam.settings import Settings
from amrutam.stack.ports import free_port
from amrutam.storage.guessing import Counter, Guessing
from amrutam.storage.scripts import Scripts


@pytest.fixture
async def guessing(settings: Settings) -> AsyncGenerator[Guessing]:
    """With Valkey."""
    scripts = Scripts(settings.redis_url.get_secret_value())
    yield Guessing(scripts)
    await scripts.close()


@pytest.fixture
async def alone() -> AsyncGenerator[Guessing]:
    """With nobody where Redis should be."""
    scripts = Scripts(f"redis://127.0.0.1:{free_port()}/0")
    yield Guessing(scripts)
    await scripts.close()


@pytest.fixture(params=["guessing", "alone"])
def either(request: pytest.FixtureRequest) -> Guessing:
    """With Redis, and without."""
    return request.getfixturevalue(request.param)


def _counters() -> list[Counter]:
    """As for a stranger's guess at an account."""
    return [
        Counter(f"test/{new_id()}", NETWORK, clears=False),
        Counter(f"test/{new_id()}", HERE, clears=True),
    ]


async def _age(redis: Redis, counter: Counter, by: int) -> None:
    """As if all of it had happened so many µs before."""
    key = f"guesses/{counter.name}"
    state = await redis.hgetall(key)
    await redis.hset(key, mapping={name: int(state[name]) - by for name in (b"at", b"closed_until")})


async def test_after_so_many_wrong_guesses_everybody_waits(either: Guessing) -> None:
    counters = _counters()
    for _ in range(HERE.allowance + 1):
        assert await either.take(counters) == 0
    assert 0.5 * SECOND < await either.take(counters) <= SECOND


async def test_of_many_guesses_at_once_no_more_are_heard_than_one_after_another(
    either: Guessing,
) -> None:
    counters = _counters()
    waits = await asyncio.gather(*(either.take(counters) for _ in range(200)))
    assert sum(wait == 0 for wait in waits) == HERE.allowance + 1


async def test_a_guess_that_is_not_heard_prolongs_nothing_and_counts_nowhere(
    either: Guessing,
) -> None:
    shared, narrow = _counters()
    for _ in range(HERE.allowance + 1):
        await either.take([narrow])
    waits = [await either.take([shared, narrow]) for _ in range(NETWORK.allowance * 2)]
    assert waits == sorted(waits, reverse=True)
    assert await either.take([shared]) == 0


async def test_a_right_guess_clears_its_own_counter_and_gives_back_one_of_a_shared_one(
    either: Guessing,
) -> None:
    shared, narrow = _counters()
    for _ in range(NETWORK.allowance):
        assert await either.take([shared]) == 0
    for _ in range(HERE.allowance):
        assert await either.take([narrow]) == 0
    assert await either.take([shared, narrow]) == 0
    await either.settle([shared, narrow], right=True)
    for _ in range(HERE.allowance + 1):
        assert await either.take([narrow]) == 0
    assert await either.take([shared]) == 0
    assert await either.take([shared]) > 0


async def test_a_guess_of_which_nobody_could_tell_is_as_if_it_had_not_been(
    either: Guessing,
) -> None:
    counters = _counters()
    for _ in range(HERE.allowance * 3):
        assert await either.take(counters) == 0
        await either.settle(counters, right=False)


async def test_the_wait_grows_by_the_clock_of_redis_as_the_rules_have_it(guessing: Guessing, redis: Redis) -> None:
    counter = Counter(f"test/{new_id()}", HERE, clears=True)
    expected, now = Guesses(), 0
    for _ in range(18):
        assert await guessing.take([counter]) == 0
        expected = guess(expected, HERE, now)
        state = await redis.hgetall(f"guesses/{counter.name}")
        wait = int(state[b"closed_until"]) - int(state[b"at"])
        assert wait == expected.closed_until - expected.at
        assert float(state[b"failures"]) == pytest.approx(expected.failures, abs=0.01)
        if wait:
            assert wait - 10 * SECOND < await guessing.take([counter]) <= wait
        now = max(now, expected.closed_until)
        await _age(redis, counter, wait)
    assert expected.closed_until - expected.at == HERE.longest


async def test_counters_end_by_themselves(guessing: Guessing, redis: Redis) -> None:
    counters = _counters()
    await guessing.take(counters)
    for counter in counters:
        life = await redis.pttl(f"guesses/{counter.name}")
        assert 0 < life * 1000 <= counter.patience.forget
        assert life * 1000 > counter.patience.forget / 2
