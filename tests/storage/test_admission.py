"""Quotas in Redis, in one process, and the two against each other."""

import asyncio
import time
from collections.abc import AsyncGenerator
from types import SimpleNamespace

import pytest
from redis.asyncio import Redis

from amrutam.domain.limits import SECOND, Quota, admit
from amrutam.ids import new_id
from amrutam.settings import Settings
from amrutam.stack.ports import free_port
from amrutam.storage import admission
from amrutam.storage.admission import LENT_SECONDS, MOST_LOCAL, Admissions
from amrutam.storage.breaker import redis_client
from amrutam.storage.line import Line
from amrutam.storage.scripts import Scripts
from amrutam.storage.session_memory import SessionMemory
from tests.polling import until

# So slow to come back that a test's own time does not show.
QUOTA = Quota(100, 100_000)

# A line that nobody listens to, so that no marker is remembered.
UNHEARD = Line(Redis())


def _key(caller: str) -> str:
    return f"limit/{QUOTA.interval}/{caller}"


@pytest.fixture
async def admissions(settings: Settings) -> AsyncGenerator[Admissions]:
    """With Valkey."""
    scripts = Scripts(settings.redis_url.get_secret_value())
    yield Admissions(scripts, SessionMemory(UNHEARD))
    await scripts.close()


@pytest.fixture
async def alone() -> AsyncGenerator[Admissions]:
    """With nobody where Redis should be."""
    scripts = Scripts(f"redis://127.0.0.1:{free_port()}/0")
    yield Admissions(scripts, SessionMemory(UNHEARD))
    await scripts.close()


@pytest.fixture(params=["admissions", "alone"])
def either(request: pytest.FixtureRequest) -> Admissions:
    """With Redis, and without."""
    return request.getfixturevalue(request.param)


async def test_a_quota_is_spent_by_weight_and_then_the_wait_is_told(
    either: Admissions,
) -> None:
    caller = f"user/{new_id()}"
    spent = [(await either.admit(caller, 30, QUOTA)).spent for _ in range(3)]
    assert [round(each / QUOTA.interval) for each in spent] == [30, 60, 90]
    refused = await either.admit(caller, 30, QUOTA)
    assert round(refused.wait / QUOTA.interval) == 20
    assert round(refused.spent / QUOTA.interval) == 90
    assert (await either.admit(caller, 10, QUOTA)).wait == 0


async def test_callers_do_not_spend_of_one_another(either: Admissions) -> None:
    for _ in range(3):
        assert (await either.admit(f"user/{new_id()}", 100, QUOTA)).wait == 0


async def test_what_was_spent_of_a_long_quota_does_not_close_a_short_one(either: Admissions) -> None:
    caller = f"user/{new_id()}"
    await either.admit(caller, 100, QUOTA)
    assert (await either.admit(caller, 1, Quota(100, 60))).wait == 0


async def test_of_many_at_once_no_more_are_admitted_than_the_quota_has(
    either: Admissions,
) -> None:
    caller = f"user/{new_id()}"
    answers = await asyncio.gather(*(either.admit(caller, 1, QUOTA) for _ in range(300)))
    assert sum(answer.wait == 0 for answer in answers) == QUOTA.units


async def test_what_was_spent_comes_back_by_the_clock_of_redis(admissions: Admissions, redis: Redis) -> None:
    caller = f"user/{new_id()}"
    await admissions.admit(caller, 100, QUOTA)
    back = int(await redis.get(_key(caller)) or b"")
    await redis.set(_key(caller), back - 50 * QUOTA.interval)
    assert round((await admissions.admit(caller, 40, QUOTA)).spent / QUOTA.interval) == 90
    await redis.set(_key(caller), 1)
    assert round((await admissions.admit(caller, 40, QUOTA)).spent / QUOTA.interval) == 40


async def test_redis_and_the_process_count_alike(admissions: Admissions) -> None:
    caller, spent, whole = f"user/{new_id()}", 0, QUOTA.units * QUOTA.interval
    for weight in (1, 10, 3, 50, 30, 7, 90, 6, 100, 1):
        told = await admissions.admit(caller, weight, QUOTA)
        expected = admit(spent, weight * QUOTA.interval, whole)
        spent = expected.spent
        assert told.wait == pytest.approx(expected.wait, abs=10 * SECOND)
        assert told.spent == pytest.approx(expected.spent, abs=10 * SECOND)


async def test_a_key_is_gone_once_all_is_back(admissions: Admissions, redis: Redis) -> None:
    caller = f"user/{new_id()}"
    await admissions.admit(caller, 1, QUOTA)
    assert 0 < await redis.pttl(_key(caller)) <= QUOTA.interval // 1000


async def test_the_sessions_marker_comes_with_the_same_answer(admissions: Admissions, redis: Redis) -> None:
    caller, session_id = f"user/{new_id()}", new_id()
    assert (await admissions.admit(caller, 1, QUOTA, session_id)).marker is None
    await redis.set(f"session/{session_id}", "7", ex=60)
    assert (await admissions.admit(caller, 1, QUOTA, session_id)).marker == b"7"
    assert (await admissions.admit(caller, 1, QUOTA)).marker is None
    refused = await admissions.admit(caller, 100, QUOTA, session_id)
    assert refused.wait
    assert refused.marker == b"7"


async def test_without_redis_the_marker_is_not_known(alone: Admissions) -> None:
    assert (await alone.admit("user/x", 1, QUOTA, new_id())).marker is None


async def test_without_redis_a_process_remembers_so_many_callers_and_no_more(
    alone: Admissions,
) -> None:
    caller = "address/first"
    assert (await alone.admit(caller, 100, QUOTA)).wait == 0
    for n in range(MOST_LOCAL // 2):
        await alone.admit(f"address/{n}", 1, QUOTA)
    assert (await alone.admit(caller, 1, QUOTA)).wait > 0
    for n in range(MOST_LOCAL):
        await alone.admit(f"address/more/{n}", 1, QUOTA)
    assert (await alone.admit(caller, 1, QUOTA)).wait == 0


@pytest.fixture
async def beside(settings: Settings) -> AsyncGenerator[Admissions]:
    """As another process has them."""
    scripts = Scripts(settings.redis_url.get_secret_value())
    yield Admissions(scripts, SessionMemory(UNHEARD))
    await scripts.close()


async def test_who_asks_often_is_lent_units_and_redis_is_asked_less(admissions: Admissions, redis: Redis) -> None:
    caller, seen = f"user/{new_id()}", list[object]()
    for number in range(40):
        answer = await admissions.admit(caller, 1, QUOTA)
        assert (answer.wait, round(answer.spent / QUOTA.interval)) == (0, number + 1)
        seen.append(await redis.get(_key(caller)))
    assert len(set(seen)) < 20


async def test_units_that_were_lent_and_not_used_come_back(
    admissions: Admissions, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, began = f"user/{new_id()}", time.monotonic()
    for _ in range(20):
        await admissions.admit(caller, 1, QUOTA)
    later = SimpleNamespace(monotonic=lambda: began + 100 * LENT_SECONDS, monotonic_ns=time.monotonic_ns)
    monkeypatch.setattr(admission, "time", later)
    answer = await admissions.admit(caller, 1, QUOTA)
    assert round(answer.spent / QUOTA.interval) == 21


async def test_of_two_processes_that_lend_no_more_is_admitted_than_the_quota_has(
    admissions: Admissions, beside: Admissions
) -> None:
    caller = f"user/{new_id()}"
    admitted = 0
    for _ in range(QUOTA.units):
        answers = await asyncio.gather(admissions.admit(caller, 1, QUOTA), beside.admit(caller, 1, QUOTA))
        admitted += sum(answer.wait == 0 for answer in answers)
    assert admitted == QUOTA.units  # what one of them holds is refused to the other, and used by it later


async def test_a_dear_request_is_admitted_though_only_cheap_ones_were_lent_to(admissions: Admissions) -> None:
    caller = f"user/{new_id()}"
    for _ in range(10):
        await admissions.admit(caller, 1, QUOTA)
    dear = await admissions.admit(caller, 90, QUOTA)
    assert (dear.wait, round(dear.spent / QUOTA.interval)) == (0, 100)
    assert (await admissions.admit(caller, 1, QUOTA)).wait > 0


async def test_a_marker_that_is_remembered_is_not_asked_for(settings: Settings, redis: Redis) -> None:
    line = Line(redis_client(settings.redis_url.get_secret_value(), connections=1, seconds=10))
    sessions, scripts = SessionMemory(line), Scripts(settings.redis_url.get_secret_value())
    admissions, session_id = Admissions(scripts, sessions), new_id()
    line.start()

    async def stands() -> bool:
        return line.stands

    await until(stands)
    await redis.set(f"session/{session_id}", "7", ex=60)
    assert (await admissions.admit("user/x", 1, QUOTA, session_id)).marker == b"7"
    await redis.delete(f"session/{session_id}")
    assert (await admissions.admit("user/x", 1, QUOTA, session_id)).marker == b"7"
    sessions.note(session_id, 0)
    assert (await admissions.admit("user/x", 1, QUOTA, session_id)).marker == b"0"
    await line.close()
    await scripts.close()
