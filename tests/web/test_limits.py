"""Rate limits, seen from outside, on an API with the limits of production."""

import asyncio
import itertools
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

import httpx
import pytest

from amrutam.stack.ports import free_port
from amrutam.storage.pool import Database
from tests.beside import api_beside
from tests.conftest import System
from tests.people import Person
from tests.web.mounted import ROUTES, name
from web.quotas import NOTHING, PASSWORD, READ, SEARCH, WRITE

MakePatient = Callable[[], Awaitable[Person]]
UNITS = 60
# So slow to come back that a test's own time does not show.
SECONDS = 60_000
STRICT = {
    "RATE_LIMIT_FACTOR": "1",
    "RATE_LIMIT_SECONDS": str(SECONDS),
    "RATE_LIMIT_USER_UNITS": str(UNITS),
    "RATE_LIMIT_ADDRESS_UNITS": str(UNITS),
    "TRUSTED_PROXIES": "127.0.0.0/8",
}


@pytest.fixture(scope="module")
async def strict(system: System) -> AsyncGenerator[httpx.AsyncClient]:
    """HTTP to that API, through a proxy that it trusts. It has met Redis: an answer that comes late is counted twice,
    there and by the process that went on without it.
    """
    async with api_beside(system, **STRICT) as client:
        for _ in range(3):
            await asyncio.gather(*(client.get("/v1/doctors", headers=_from(f"198.19.0.{host}")) for host in range(20)))
        yield client


@pytest.fixture(scope="module")
def addresses() -> Iterator[str]:
    """Addresses that no other test uses."""
    return (f"198.18.{high}.{low}" for high, low in itertools.product(range(256), range(256)))


def _from(address: str) -> dict[str, str]:
    return {"X-Forwarded-For": address}


def _left(answer: httpx.Response) -> int:
    assert answer.headers["ratelimit-policy"] == f'"default";q={UNITS};w={SECONDS}'
    found = re.fullmatch(r'"default";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
    assert found
    return int(found[1])


async def test_every_answer_says_what_is_left_and_costs_what_its_route_declares(
    strict: httpx.AsyncClient, addresses: Iterator[str]
) -> None:
    sender = _from(next(addresses))
    read, search = "/v1/specialties", "/v1/doctors"
    assert _left(await strict.get(read, headers=sender)) == UNITS - READ
    assert _left(await strict.get(search, headers=sender)) == UNITS - READ - SEARCH
    refused = await strict.get("/v1/me", headers=sender)
    assert refused.status_code == 401
    assert _left(refused) == UNITS - 2 * READ - SEARCH
    invalid = await strict.post("/v1/auth/login", json={}, headers=sender)
    assert invalid.status_code == 422
    assert _left(invalid) == UNITS - 2 * READ - SEARCH - PASSWORD


async def test_who_has_spent_all_is_told_when_to_come_again(
    strict: httpx.AsyncClient, addresses: Iterator[str]
) -> None:
    sender = _from(next(addresses))
    answers = await asyncio.gather(*(strict.get("/v1/doctors", headers=sender) for _ in range(UNITS // SEARCH + 5)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) == 5
    assert {answer.json()["code"] for answer in refused} == {"rate_limited"}
    assert {int(answer.headers["retry-after"]) for answer in refused} <= set(range(2900, 3001))
    assert {_left(answer) for answer in refused} == {0}
    assert (await strict.get("/v1/specialties", headers=_from(next(addresses)))).status_code == 200


async def test_people_who_share_an_address_have_a_limit_each(
    strict: httpx.AsyncClient, make_patient: MakePatient, addresses: Iterator[str]
) -> None:
    sender, one, another = (
        _from(next(addresses)),
        await make_patient(),
        await make_patient(),
    )
    left = [_left(await strict.get("/v1/me", headers={**one.headers, **sender})) for _ in range(3)]
    assert left == [UNITS - 1, UNITS - 2, UNITS - 3]
    elsewhere = await strict.get("/v1/me", headers={**one.headers, **_from(next(addresses))})
    assert _left(elsewhere) == UNITS - 4
    assert _left(await strict.get("/v1/me", headers={**another.headers, **sender})) == UNITS - 1
    assert _left(await strict.get("/v1/specialties", headers=sender)) == UNITS - 1


async def test_who_shows_a_token_reads_open_pages_on_their_own_account(
    strict: httpx.AsyncClient, make_patient: MakePatient, addresses: Iterator[str]
) -> None:
    sender, patient = _from(next(addresses)), await make_patient()
    left = [
        _left(await strict.get("/v1/specialties", headers={**sender, **token}))
        for token in (patient.headers, patient.headers, {"Authorization": "Bearer none"}, {"Authorization": "Basic x"})
    ]
    assert left == [UNITS - 1, UNITS - 2, UNITS - 1, UNITS - 2]


async def test_a_token_that_is_not_good_buys_no_limit_of_its_own(
    strict: httpx.AsyncClient, addresses: Iterator[str]
) -> None:
    sender = _from(next(addresses))
    answers = [await strict.get("/v1/me", headers={"Authorization": f"Bearer {n}", **sender}) for n in range(3)]
    assert {answer.status_code for answer in answers} == {401}
    assert [_left(answer) for answer in answers] == [UNITS - 1, UNITS - 2, UNITS - 3]


async def test_a_strangers_false_cookies_are_looked_for_no_more_once_their_network_is_limited(
    strict: httpx.AsyncClient, addresses: Iterator[str], db: Database
) -> None:
    sender = {**_from(next(addresses)), "Cookie": f"amrutam_staff={'a' * 43}"}
    answers = [await strict.post("/staff/sign-out", headers=sender) for _ in range(UNITS // WRITE + 1)]
    assert [answer.status_code for answer in answers] == [401] * (UNITS // WRITE) + [429]
    async with db.transaction() as connection:  # a look would wait for it in vain
        await connection.execute("LOCK TABLE staff_sessions IN ACCESS EXCLUSIVE MODE")
        assert (await strict.post("/staff/sign-out", headers=sender)).status_code == 429


async def test_who_writes_another_address_each_time_has_one_limit_all_the_same(system: System) -> None:
    async with api_beside(system, **{**STRICT, "TRUSTED_PROXIES": ""}) as alone:
        senders = [_from(f"198.19.0.{n}") for n in range(UNITS + 30)]
        answers = await asyncio.gather(*(alone.get("/v1/specialties", headers=sender) for sender in senders))
    assert {answer.status_code for answer in answers} == {200, 429}


async def test_a_household_has_one_limit_for_all_its_addresses(
    strict: httpx.AsyncClient,
) -> None:
    left = [
        _left(await strict.get("/v1/specialties", headers=_from(address)))
        for address in ("2001:db8:5:5::1", "2001:db8:5:5:ffff::2", "2001:db8:5:6::1")
    ]
    assert left == [UNITS - 1, UNITS - 2, UNITS - 1]


async def test_health_is_asked_as_often_as_one_likes(strict: httpx.AsyncClient, addresses: Iterator[str]) -> None:
    sender = _from(next(addresses))
    answers = [await strict.get("/health/live", headers=sender) for _ in range(UNITS + 5)]
    assert {answer.status_code for answer in answers} == {200}
    assert "ratelimit" not in answers[0].headers
    assert {name(route) for route in ROUTES if route.limit == NOTHING} == {
        "GET /health/live",
        "GET /health/ready",
        "POST /v1/payments/webhooks/{gateway}",  # all of a gateway's come from one address, each with its signature
    }


async def test_without_redis_the_door_is_not_open(system: System, make_patient: MakePatient) -> None:
    patient = await make_patient()
    async with api_beside(system, **STRICT, REDIS_URL=f"redis://127.0.0.1:{free_port()}/0") as alone:
        answers = [await alone.get("/v1/me", headers=patient.headers) for _ in range(UNITS + 2)]
        assert [answer.status_code for answer in answers] == [200] * UNITS + [429] * 2
