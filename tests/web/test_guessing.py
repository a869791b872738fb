"""Guessing at passwords: slower and slower for strangers, and no way to keep a person out."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

import httpx
import pytest

from amrutam.domain.limits import ACCOUNT, DEVICE, HERE, NETWORK
from amrutam.stack.ports import free_port
from amrutam.storage.pool import Database
from tests.beside import api_beside
from tests.conftest import System
from tests.people import Person
from tests.web.accounts import PASSWORD, log_in, new_address, with_password

MakePatient = Callable[[], Awaitable[Person]]
Machine = Callable[[], httpx.AsyncClient]
HEARD = HERE.allowance + 1


@pytest.fixture(scope="module")
async def behind_proxy(system: System) -> AsyncGenerator[httpx.AsyncClient]:
    """HTTP to an API that believes us where we come from, and limits nothing else."""
    async with api_beside(system, TRUSTED_PROXIES="127.0.0.0/8") as client:
        yield client


@pytest.fixture(scope="module")
def addresses() -> Iterator[str]:
    """Addresses that no other test uses."""
    return (f"198.19.{high}.{low}" for high, low in itertools.product(range(256), range(256)))


@pytest.fixture
async def machine(behind_proxy: httpx.AsyncClient, addresses: Iterator[str]) -> AsyncGenerator[Machine]:
    """Another machine each time, in a network of its own, with its own cookies."""
    machines: list[httpx.AsyncClient] = []

    def make() -> httpx.AsyncClient:
        headers = {"X-Forwarded-For": next(addresses)}
        machines.append(
            httpx.AsyncClient(
                base_url=behind_proxy.base_url,
                headers=headers,
                timeout=20,
                trust_env=False,
            )
        )
        return machines[-1]

    yield make
    for each in machines:
        await each.aclose()


async def _guess(machine: httpx.AsyncClient, email: str, times: int) -> list[int]:
    return [(await log_in(machine, email, "wrong")).status_code for _ in range(times)]


async def _close_to_strangers(machine: Machine, email: str) -> None:
    """Guess from as many networks as it takes."""
    for _ in range(4 * ACCOUNT.allowance // HERE.allowance):  # on a slow machine some of it is back meanwhile
        await _guess(machine(), email, HERE.allowance)
        if (await log_in(machine(), email, "wrong")).status_code == 429:
            return
    pytest.fail("strangers may guess on and on")


@pytest.mark.parametrize("known", [True, False], ids=["an account", "nobody's address"])
async def test_after_some_wrong_passwords_one_waits_and_whether_there_is_an_account_makes_no_difference(
    machine: Machine, db: Database, make_patient: MakePatient, *, known: bool
) -> None:
    thief, email = (
        machine(),
        (await with_password(db, make_patient)).email if known else new_address(),
    )
    assert await _guess(thief, email, HEARD) == [401] * HEARD
    answer = await log_in(thief, email, PASSWORD)
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert answer.headers["retry-after"] == "1"


async def test_many_guesses_at_once_are_heard_no_more_than_one_after_another(
    machine: Machine, db: Database, make_patient: MakePatient
) -> None:
    thief, patient = machine(), await with_password(db, make_patient)
    answers = await asyncio.gather(*(log_in(thief, patient.email, "wrong") for _ in range(40)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(401), statuses.count(429)) == (HEARD, 40 - HEARD)


async def test_a_stranger_in_one_network_keeps_nobody_out_who_is_in_another(
    machine: Machine, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    await _guess(machine(), patient.email, HEARD + 3)
    assert (await log_in(machine(), patient.email)).status_code == 200


async def test_strangers_in_many_networks_are_slow_together_and_keep_no_known_device_out(
    machine: Machine, db: Database, make_patient: MakePatient
) -> None:
    patient, own = await with_password(db, make_patient), machine()
    assert (await log_in(own, patient.email)).status_code == 200
    await _close_to_strangers(machine, patient.email)
    assert (await log_in(machine(), patient.email)).status_code == 429
    assert (await log_in(own, patient.email)).status_code == 200


async def test_a_known_device_has_an_allowance_of_its_own_and_no_more(
    machine: Machine, db: Database, make_patient: MakePatient
) -> None:
    patient, own = await with_password(db, make_patient), machine()
    await log_in(own, patient.email)
    assert await _guess(own, patient.email, DEVICE.allowance + 2) == [401] * (DEVICE.allowance + 1) + [429]
    assert (await log_in(machine(), patient.email)).status_code == 200


async def test_an_app_without_cookies_shows_its_device_in_a_header(
    machine: Machine, db: Database, make_patient: MakePatient
) -> None:
    patient, app = await with_password(db, make_patient), machine()
    token = (await log_in(app, patient.email)).headers["x-device-token"]
    app.cookies.clear()
    await _close_to_strangers(machine, patient.email)
    assert (await log_in(app, patient.email)).status_code == 429
    app.headers["X-Device-Token"] = token
    again = await log_in(app, patient.email)
    assert again.status_code == 200
    assert again.headers["x-device-token"].partition(".")[0] == token.partition(".")[0]


async def test_anothers_device_and_one_that_was_made_up_are_no_known_devices(
    machine: Machine, db: Database, make_patient: MakePatient
) -> None:
    patient, thief = await with_password(db, make_patient), machine()
    own = (await log_in(thief, (await with_password(db, make_patient)).email)).headers["x-device-token"]
    thief.cookies.clear()
    device, issued, generation, mark = own.split(".")
    forged = [
        own,
        f"{device}.{issued}.{generation}.",
        f"{device}.{issued}.{generation}",
        device,
        f"{device}.{issued}.{generation}.{mark[::-1]}",
        f"{'0' * 32}.{issued}.{generation}.{mark}",
        f"{device}.{'9' * 5000}.{generation}.{mark}",
        "x",
        "\N{SNOWMAN}".encode(),
    ]
    for _ in range(2):
        for token in forged:
            await thief.post(
                "/v1/auth/login",
                json={"email": patient.email, "password": "wrong"},
                headers=[
                    (
                        b"X-Device-Token",
                        token if isinstance(token, bytes) else token.encode(),
                    )
                ],
            )
    assert (await log_in(thief, patient.email)).status_code == 429


async def test_the_right_password_makes_the_wrong_ones_before_it_forgotten(
    machine: Machine, db: Database, make_patient: MakePatient
) -> None:
    patient, own = await with_password(db, make_patient), machine()
    for _ in range(3):
        assert await _guess(own, patient.email, HERE.allowance) == [401] * HERE.allowance
        assert (await log_in(own, patient.email)).status_code == 200


async def test_the_device_is_kept_in_a_cookie_that_scripts_and_other_sites_do_not_get(
    system: System, machine: Machine, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    cookie = (await log_in(machine(), patient.email)).headers["set-cookie"]
    assert cookie.startswith("amrutam_device=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/v1/auth"} <= set(cookie.split("; "))
    assert "Secure" not in cookie  # the demo is plain HTTP
    async with api_beside(system, PUBLIC_URL="https://api.amrutam.test") as api:
        assert "; Secure" in (await log_in(api, patient.email)).headers["set-cookie"]


async def test_links_are_no_way_to_guess_either(machine: Machine) -> None:
    thief = machine()
    answers = [await thief.post("/v1/auth/verify-email", json={"token": "x" * 43}) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {422}


async def test_one_password_tried_at_many_accounts_is_slow_too_and_ones_own_sign_ins_do_not_help(
    system: System, addresses: Iterator[str], db: Database, make_patient: MakePatient
) -> None:
    own = await with_password(db, make_patient)
    told = {"RATE_LIMIT_FACTOR": "1", "RATE_LIMIT_ADDRESS_UNITS": "100000", "TRUSTED_PROXIES": "127.0.0.0/8"}
    async with api_beside(system, **told) as strict:
        strict.headers["X-Forwarded-For"] = next(addresses)
        for _ in range(NETWORK.allowance // 7 + 1):
            answers = await asyncio.gather(*(log_in(strict, new_address(), "wrong") for _ in range(7)))
            if {answer.status_code for answer in answers} == {401}:
                assert (await log_in(strict, own.email)).status_code == 200
                strict.cookies.clear()
        assert (await log_in(strict, new_address(), "wrong")).status_code == 429
        strict.headers["X-Forwarded-For"] = next(addresses)
        assert (await log_in(strict, new_address(), "wrong")).status_code == 401


async def test_without_redis_guessing_is_slow_too(system: System, db: Database, make_patient: MakePatient) -> None:
    patient = await with_password(db, make_patient)
    away = f"redis://127.0.0.1:{free_port()}/0"
    async with api_beside(system, REDIS_URL=away) as alone:
        assert await _guess(alone, patient.email, HEARD + 1) == [401] * HEARD + [429]
