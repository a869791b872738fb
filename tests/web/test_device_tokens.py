"""Tokens of known devices: good for a year, void once all is signed out, slow together where somebody hoards them."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from amrutam.crypto import Keyring
from amrutam.domain.limits import DEVICE, DEVICES, HERE
from amrutam.ids import new_id
from amrutam.storage import passwords
from amrutam.storage.auth import token_hash
from amrutam.storage.pool import Database
from tests.beside import api_beside
from tests.conftest import System
from tests.people import Person
from tests.web.accounts import PASSWORD, MakePatient, bearer, log_in, with_password
from tests.web.factors import step_up, turn_on, wrong_code
from web.devices import HEADER, LIFE_SECONDS, DeviceToken

NEW = "another horse, another battery"
HOARD = 10
STRANGER = HERE.allowance + 1
TOGETHER = DEVICES.allowance + 1
# Heard on a slow machine, as there is a wait of one second, then two, four, eight between them.
MORE = 4
Ending = Callable[[httpx.AsyncClient, Database, Person, dict[str, Any]], Awaitable[httpx.Response]]


async def _sign_in(api: httpx.AsyncClient, email: str, token: str = "", password: str = PASSWORD) -> httpx.Response:
    """With this device token alone, none for `""`."""
    body = {"email": email, "password": password}
    api.cookies.clear()
    answer = await api.post("/v1/auth/login", json=body, headers={HEADER: token} if token else {})
    api.cookies.clear()
    return answer


async def _hoard(api: httpx.AsyncClient, email: str) -> list[str]:
    return [(await _sign_in(api, email)).headers[HEADER] for _ in range(HOARD)]


async def _heard(api: httpx.AsyncClient, email: str, tokens: list[str]) -> int:
    """How many wrong passwords were looked at, of as many as each device alone has free."""
    answers = [await _sign_in(api, email, token, "wrong") for token in tokens for _ in range(DEVICE.allowance)]
    return [answer.status_code for answer in answers].count(401)


async def _change(api: httpx.AsyncClient, _db: Database, _person: Person, here: dict[str, Any]) -> httpx.Response:
    said = {"current_password": PASSWORD, "new_password": NEW}
    return await api.post("/v1/auth/password/change", json=said, headers=bearer(here))


async def _reset(api: httpx.AsyncClient, db: Database, person: Person, _here: dict[str, Any]) -> httpx.Response:
    token, until = new_id().hex, datetime.now(UTC) + timedelta(minutes=5)
    async with db.connection() as connection:
        await passwords.insert_reset(connection, new_id(), person.id, token_hash(token), until)
    return await api.post("/v1/auth/password/reset", json={"token": token, "password": NEW})


async def _log_out_all(api: httpx.AsyncClient, _db: Database, _person: Person, here: dict[str, Any]) -> httpx.Response:
    return await api.post("/v1/auth/logout-all", headers=bearer(here))


@pytest.mark.parametrize("end", [_change, _reset, _log_out_all])
async def test_hoarded_device_tokens_are_those_of_strangers_once_the_password_is_another_or_all_is_signed_out(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient, end: Ending
) -> None:
    person = await with_password(db, make_patient)
    hoard = await _hoard(api, person.email)
    here = (await _sign_in(api, person.email)).json()
    assert (await end(api, db, person, here)).is_success
    assert STRANGER <= await _heard(api, person.email, hoard) <= STRANGER + MORE


async def test_many_devices_of_one_person_are_slow_together_and_the_person_signs_in_elsewhere(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    person = await with_password(db, make_patient)
    assert TOGETHER <= await _heard(api, person.email, await _hoard(api, person.email)) <= TOGETHER + MORE
    assert (await _sign_in(api, person.email)).status_code == 200


async def test_they_are_slow_together_at_the_second_factor_too_and_another_password_begins_nothing_anew(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient, keyring: Keyring
) -> None:
    person = await with_password(db, make_patient)
    secret, _, headers = await turn_on(api, db, person)
    heard, now = 0, int(datetime.now(UTC).timestamp())
    for generation in (0, 1):
        for _ in range(HOARD):
            token = DeviceToken(new_id(), now, generation).signed(keyring, person.id)
            with_token = {**headers, HEADER: token}
            answers = [await step_up(api, with_token, wrong_code(secret)) for _ in range(DEVICE.allowance)]
            heard += [answer.status_code for answer in answers].count(401)
        if not generation:
            async with db.connection() as connection:
                await connection.execute("UPDATE users SET device_generation = 1 WHERE id = $1", person.id)
    assert TOGETHER <= heard <= TOGETHER + MORE


async def test_a_device_token_is_good_for_a_year(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient, keyring: Keyring
) -> None:
    person, now = await with_password(db, make_patient), int(datetime.now(UTC).timestamp())
    aged, old = (DeviceToken(new_id(), now - LIFE_SECONDS + left, 0).signed(keyring, person.id) for left in (3600, -1))
    for _ in range(STRANGER):
        await _sign_in(api, person.email, password="wrong")
    assert (await _sign_in(api, person.email, old)).status_code == 429
    fresh = await _sign_in(api, person.email, aged)
    assert fresh.status_code == 200
    assert int(fresh.headers[HEADER].split(".")[1]) >= now


async def test_the_device_on_which_the_password_is_changed_stays_known_and_no_other_becomes_so(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    person = await with_password(db, make_patient)
    signed_in = await _sign_in(api, person.email)
    said = {"current_password": PASSWORD, "new_password": NEW}
    own = {**bearer(signed_in.json()), HEADER: signed_in.headers[HEADER]}
    token = (await api.post("/v1/auth/password/change", json=said, headers=own)).headers[HEADER]
    for _ in range(STRANGER):
        await _sign_in(api, person.email, password="wrong")
    assert (await _sign_in(api, person.email, signed_in.headers[HEADER], NEW)).status_code == 429
    assert (await _sign_in(api, person.email, token, NEW)).status_code == 200
    back = {"current_password": NEW, "new_password": PASSWORD}
    stale = {**bearer(signed_in.json()), HEADER: signed_in.headers[HEADER]}
    api.cookies.clear()
    assert HEADER not in (await api.post("/v1/auth/password/change", json=back, headers=stale)).headers


async def test_another_password_makes_no_new_device_of_one_that_was_used_before(
    system: System, db: Database, make_patient: MakePatient
) -> None:
    person = await with_password(db, make_patient)
    async with api_beside(system, TRUSTED_PROXIES="127.0.0.0/8") as phone:
        phone.headers["X-Forwarded-For"] = "198.18.7.1"
        here = (await log_in(phone, person.email)).json()
        assert (await _log_out_all(phone, db, person, here)).status_code == 204
        phone.headers["X-Forwarded-For"] = "198.18.9.1"
        assert (await log_in(phone, person.email)).status_code == 200
    async with db.connection() as connection:
        told = await connection.fetchval(
            "SELECT count(*) FROM events WHERE subject = $1 AND type = 'session.opened_on_new_device'", person.id
        )
    assert told == 1
