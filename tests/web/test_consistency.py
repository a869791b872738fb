"""Whoever has written reads what they wrote: the token that an answer to a write carries."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from sanic import HTTPResponse

from amrutam.crypto import Keyring
from amrutam.settings import Settings
from amrutam.stack.postgres import APP, DATABASE
from amrutam.storage.nodes import Nodes
from amrutam.storage.pool import Database
from tests.beside import api_beside
from tests.conftest import System
from tests.people import Person
from tests.polling import until
from tests.replica import Standby, standby_of
from tests.tcp_proxy import Behaviour, proxy_to
from web.consistency import COOKIE, HEADER, LIFE, position_of, tell, token
from web.context import Call

MakeDoctor = Callable[..., Awaitable[Person]]


@pytest.fixture(scope="module")
async def standby(system: System) -> AsyncGenerator[Standby]:
    """A replica that each test leaves following."""
    async with standby_of(system) as standby:
        yield standby


@pytest.fixture(scope="module")
async def replicated(system: System, standby: Standby) -> AsyncGenerator[httpx.AsyncClient]:
    """HTTP to an API that reads from the replica."""
    async with api_beside(system, DATABASE_REPLICA_URLS=standby.url(APP, DATABASE)) as client:
        yield client


async def _bio(client: httpx.AsyncClient, doctor: Person, headers: Mapping[str, str] | None = None) -> str:
    answer = await client.get(f"/v1/doctors/{doctor.id}", headers=dict(headers or {}))
    assert answer.status_code == 200, answer.text
    return answer.json()["bio"]


async def _edit(client: httpx.AsyncClient, doctor: Person, bio: str) -> httpx.Response:
    before = await client.get("/v1/doctors/me", headers=doctor.headers)
    edited = await client.put(
        "/v1/doctors/me",
        json={**before.json(), "bio": bio},
        headers={**doctor.headers, "If-Match": before.headers["etag"]},
    )
    assert edited.status_code == 200, edited.text
    return edited


async def test_while_a_replica_lags_who_wrote_sees_it_and_so_does_everybody_once_it_is_dropped(
    replicated: httpx.AsyncClient, standby: Standby, make_doctor: MakeDoctor
) -> None:
    doctor = await make_doctor()

    async def there() -> bool:
        return (await replicated.get(f"/v1/doctors/{doctor.id}")).status_code == 200

    await until(there)
    await standby.hold()
    edited = await _edit(replicated, doctor, "Sees children, too.")
    replicated.cookies.clear()
    seen = await _bio(replicated, doctor, {HEADER: edited.headers[HEADER]})
    by_cookie = await _bio(replicated, doctor, {"Cookie": f"other=1; {COOKIE}={edited.headers[HEADER]}"})
    strangers = await _bio(replicated, doctor)  # dropped since: the lagging replica may not fill it
    await standby.let_go()
    assert [seen, by_cookie, strangers] == ["Sees children, too."] * 3


async def test_every_answer_to_a_write_carries_a_token_and_its_cookie_and_no_read_does(
    api: httpx.AsyncClient, make_doctor: MakeDoctor, keyring: Keyring
) -> None:
    doctor = await make_doctor()
    edited = await _edit(api, doctor, "Since 1999.")
    assert position_of(keyring, edited.headers[HEADER], time.time()) > 0
    cookie = edited.headers["set-cookie"]
    assert cookie == f"{COOKIE}={edited.headers[HEADER]}; Path=/v1; Max-Age={LIFE}; HttpOnly; SameSite=Strict"
    read = await api.get("/v1/doctors/me", headers=doctor.headers)
    refused = await api.put("/v1/doctors/me", json={}, headers=doctor.headers)
    assert refused.status_code == 422
    for answer in (read, refused):
        assert HEADER not in answer.headers
        assert "set-cookie" not in answer.headers


async def test_positions_of_writes_only_grow(api: httpx.AsyncClient, make_doctor: MakeDoctor, keyring: Keyring) -> None:
    doctor = await make_doctor()
    given = [(await _edit(api, doctor, f"{number}")).headers[HEADER] for number in range(3)]
    positions = [position_of(keyring, each, time.time()) for each in given]
    assert positions == sorted(set(positions))


async def test_who_wrote_is_served_at_once_by_every_process(
    api: httpx.AsyncClient, replicated: httpx.AsyncClient, make_doctor: MakeDoctor
) -> None:
    doctor = await make_doctor()

    async def there() -> bool:
        return (await replicated.get(f"/v1/doctors/{doctor.id}")).status_code == 200

    await until(there)
    for number in range(10):
        edited = await _edit(api, doctor, f"{number}")
        headers = {HEADER: edited.headers[HEADER]}
        assert (
            await asyncio.gather(*(_bio(client, doctor, headers) for client in (api, replicated))) == [f"{number}"] * 2
        )


@pytest.mark.parametrize("given", ["", "x", "A" * 39, "é" * 39, "A" * 1_000, "=" * 39])
async def test_a_token_that_is_not_ours_changes_nothing(
    api: httpx.AsyncClient, make_doctor: MakeDoctor, keyring: Keyring, given: str
) -> None:
    doctor = await make_doctor()
    await _bio(api, doctor)
    assert position_of(keyring, given, time.time()) == 0
    raw = given.encode() if given.isascii() else given.encode("latin-1")
    answer = await api.get(f"/v1/doctors/{doctor.id}", headers=[(HEADER.encode(), raw)])
    assert answer.status_code == 200


def test_a_token_is_good_for_its_time_and_under_its_key_alone(keyring: Keyring) -> None:
    now = 1_800_000_000.0
    given = token(keyring, 12345, now)
    assert position_of(keyring, given, now) == 12345
    assert position_of(keyring, given, now + LIFE - 1) == 12345
    assert position_of(keyring, given, now + LIFE + 1) == 0
    changed = ("B" if given[3] != "B" else "C").join((given[:3], given[4:]))
    assert position_of(keyring, changed, now) == 0
    assert position_of(Keyring.model_validate_json(Keyring.generate("demo")), given, now) == 0


async def test_an_answer_goes_without_its_token_while_the_primary_is_silent(
    system: System, keyring: Keyring, settings: Settings
) -> None:
    """The write has committed: whoever made it is told so, within the time of a request."""
    postgres = system.servers.postgres
    async with proxy_to(postgres.port) as proxy:
        url = postgres.url(APP).replace(f":{postgres.port}/", f":{proxy.port}/")
        db = await Database.connect(url, size=1, application="tests")
        nodes = Nodes(db, [])
        assert await nodes.position()
        await proxy.turn(Behaviour.HANG)
        services = SimpleNamespace(nodes=nodes, keyring=keyring, settings=settings)
        response = HTTPResponse()
        async with asyncio.timeout(5):
            await tell(cast("Call", SimpleNamespace(services=services)), response)
        assert not response.headers
        await db.close()
