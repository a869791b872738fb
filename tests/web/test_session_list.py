"""Where somebody is signed in, and signing out there: access tokens stop working at once, on every way."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

import httpx
import pytest
from redis.asyncio import Redis

from amrutam.storage import sessions
from amrutam.storage.pool import Database
from amrutam.storage.session_markers import marker_key
from tests.beside import api_beside
from tests.conftest import System
from tests.polling import until
from tests.storage.waiting import someone_waits
from tests.web.accounts import (
    PASSWORD,
    MakePatient,
    Outbox,
    bearer,
    log_in,
    refresh,
    signed_in,
    with_password,
)

FIREFOX = "Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0"


async def _who(api: httpx.AsyncClient, tokens: dict[str, Any]) -> tuple[int, str | None]:
    """What somebody hears who asks who they are: status, and the code of a refusal."""
    answer = await api.get("/v1/me", headers=bearer(tokens))
    return answer.status_code, answer.json().get("code")


LIVE, OVER, OUTDATED = (200, None), (401, "unauthenticated"), (401, "token_expired")


async def _listed(api: httpx.AsyncClient, tokens: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await api.get("/v1/auth/sessions", headers=bearer(tokens))
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def test_the_list_shows_each_device_its_place_and_its_last_use(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    said = {"email": patient.email, "password": PASSWORD, "device_name": "Asha's phone"}
    phone = (await api.post("/v1/auth/login", json=said, headers={"User-Agent": FIREFOX})).json()
    laptop = (await log_in(api, patient.email)).json()
    newest, older, *others = await _listed(api, phone)
    assert (newest["id"], newest["current"], newest["device_name"]) == (laptop["session_id"], False, None)
    assert newest["user_agent"] == "python-httpx"
    assert older["id"] == phone["session_id"]
    assert older["current"] is True
    assert (older["device_name"], older["user_agent"]) == ("Asha's phone", "Firefox on Android")
    assert older["place"] == newest["place"] == "127.0.0.1"
    assert older["created_at"] <= older["last_used_at"]
    assert len(others) == 1  # the one that the account was made with


async def test_the_list_comes_in_pages(api: httpx.AsyncClient, db: Database, make_patient: MakePatient) -> None:
    patient = await with_password(db, make_patient)
    tokens = [(await log_in(api, patient.email)).json() for _ in range(2)]
    seen: list[str] = []
    cursor: str | None = None
    while len(seen) < 4:
        params = {"limit": "1", **({"cursor": cursor} if cursor else {})}
        page = (await api.get("/v1/auth/sessions", params=params, headers=patient.headers)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen[:2] == [each["session_id"] for each in reversed(tokens)]
    assert len(seen) == len(set(seen)) == 3


async def test_a_session_that_has_ended_is_not_in_the_list(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    phone, laptop = [(await log_in(api, patient.email)).json() for _ in range(2)]
    await api.post("/v1/auth/logout", headers=bearer(phone), json={})
    assert phone["session_id"] not in {each["id"] for each in await _listed(api, laptop)}


async def test_where_somebody_signed_in_lies_sealed(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    tokens = await signed_in(api, db, make_patient)
    async with db.connection() as connection:
        row = await connection.fetchrow(
            "SELECT s::text AS everything, address FROM sessions s WHERE id = $1", UUID(tokens["session_id"])
        )
    assert row is not None
    assert row["address"] is not None
    assert "127.0.0.1" not in row["everything"]
    assert b"127.0.0.1" not in row["address"]


async def test_signing_out_stops_the_access_token_at_once(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    phone, laptop = [(await log_in(api, patient.email)).json() for _ in range(2)]
    assert await _who(api, phone) == LIVE
    assert (await api.post("/v1/auth/logout", headers=bearer(phone), json={})).status_code == 204
    assert await _who(api, phone) == OVER
    assert await _who(api, laptop) == LIVE


async def test_a_device_that_is_signed_out_from_another_stops_at_once(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    phone, laptop = [(await log_in(api, patient.email)).json() for _ in range(2)]
    assert await _who(api, phone) == LIVE
    path = f"/v1/auth/sessions/{phone['session_id']}"
    assert (await api.delete(path, headers=bearer(laptop))).status_code == 204
    assert await _who(api, phone) == OVER
    assert (await refresh(api, phone["refresh_token"])).status_code == 401
    assert await _who(api, laptop) == LIVE
    assert (await api.delete(path, headers=bearer(laptop))).status_code == 404


async def test_nobody_ends_the_session_of_another(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient, some_id: UUID
) -> None:
    mine, theirs = [await signed_in(api, db, make_patient) for _ in range(2)]
    for session_id in (theirs["session_id"], some_id):
        answer = await api.delete(f"/v1/auth/sessions/{session_id}", headers=bearer(mine))
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert await _who(api, theirs) == LIVE


async def test_signing_out_everywhere_ends_every_session_of_ones_own_and_no_other(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    mine = [(await log_in(api, patient.email)).json() for _ in range(3)]
    stranger = await signed_in(api, db, make_patient)
    assert (await api.post("/v1/auth/logout-all", headers=bearer(mine[0]))).status_code == 204
    for tokens in mine:
        assert await _who(api, tokens) == OVER
        assert (await refresh(api, tokens["refresh_token"])).status_code == 401
    assert await _who(api, stranger) == LIVE
    assert await _who(api, (await log_in(api, patient.email)).json()) == LIVE


async def test_a_stolen_refresh_token_stops_the_access_tokens_too(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    first = await signed_in(api, db, make_patient)
    second = (await refresh(api, first["refresh_token"])).json()
    await refresh(api, second["refresh_token"])
    assert await _who(api, second) == LIVE
    assert (await refresh(api, first["refresh_token"])).status_code == 401
    assert await _who(api, first) == await _who(api, second) == OVER


async def test_what_redis_forgets_is_asked_of_the_database(
    api: httpx.AsyncClient, db: Database, redis: Redis, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    phone, laptop = [(await log_in(api, patient.email)).json() for _ in range(2)]
    await api.post("/v1/auth/logout", headers=bearer(phone), json={})
    for tokens in (phone, laptop):
        await redis.delete(marker_key(UUID(tokens["session_id"])))
    assert await _who(api, phone) == OVER
    assert await _who(api, laptop) == LIVE
    assert await redis.get(marker_key(UUID(laptop["session_id"]))) == b"1"


async def test_who_ends_a_session_and_is_killed_before_redis_hears_of_it_has_ended_it(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    tokens = (await log_in(api, patient.email)).json()
    assert await _who(api, tokens) == LIVE
    async with db.transaction() as connection:  # and nobody notes it
        await sessions.end(connection, patient.id, [UUID(tokens["session_id"])])

    async def over() -> bool:
        return await _who(api, tokens) == OVER

    await until(over)


async def test_roles_that_change_are_in_force_with_the_next_request_and_nobody_is_signed_out(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    tokens = (await log_in(api, patient.email)).json()
    assert await _who(api, tokens) == LIVE
    async with db.transaction() as connection:
        await connection.execute("UPDATE users SET roles = '{patient,admin}' WHERE id = $1", patient.id)
        await sessions.outdate_tokens(connection, patient.id)

    async def outdated() -> bool:
        return await _who(api, tokens) == OUTDATED

    await until(outdated)
    fresh = (await refresh(api, tokens["refresh_token"])).json()
    assert await _who(api, fresh) == LIVE
    assert (await api.get("/v1/admin/outbox", headers=bearer(fresh))).status_code == 200
    assert await _who(api, tokens) == OUTDATED


@pytest.fixture
async def without_redis(system: System) -> AsyncGenerator[httpx.AsyncClient, None]:
    """An API that cannot reach Redis."""
    async with api_beside(system, REDIS_URL="redis://127.0.0.1:1/0") as client:
        yield client


async def test_without_redis_sessions_are_checked_all_the_same(
    without_redis: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    phone, laptop = [(await log_in(without_redis, patient.email)).json() for _ in range(2)]
    assert await _who(without_redis, phone) == LIVE
    await without_redis.post("/v1/auth/logout", headers=bearer(phone), json={})
    assert await _who(without_redis, phone) == OVER
    assert await _who(without_redis, laptop) == LIVE


async def test_an_end_that_redis_did_not_hear_of_is_told_once_it_is_back(
    without_redis: httpx.AsyncClient, api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    tokens = await signed_in(api, db, make_patient)
    assert await _who(api, tokens) == LIVE  # Redis knows it as live
    await without_redis.post("/v1/auth/logout", headers=bearer(tokens), json={})

    async def over() -> bool:
        return await _who(api, tokens) == OVER

    await until(over)


async def test_a_person_is_told_by_mail_of_a_new_device_and_not_of_a_known_one(
    db: Database, make_patient: MakePatient, outbox: Outbox, system: System
) -> None:
    patient = await with_password(db, make_patient)
    said = {"email": patient.email, "password": PASSWORD}
    base = f"http://127.0.0.1:{system.api.port}"
    async with (
        httpx.AsyncClient(base_url=base, trust_env=False) as laptop,
        httpx.AsyncClient(base_url=base, trust_env=False, headers={"User-Agent": FIREFOX}) as phone,
    ):
        for device in (laptop, laptop, phone, phone):
            assert (await device.post("/v1/auth/login", json=said)).status_code == 200
    newest, first = await outbox(patient.email, 2)
    assert newest["subject"] == "A new device has signed in"
    assert "Firefox on Android" in newest["text"]
    assert "python-httpx" in first["text"]
    assert "Asia/Kolkata" in first["text"]
    async with db.connection() as connection:
        told = await connection.fetchval(
            "SELECT count(*) FROM events WHERE subject = $1 AND type = 'session.opened_on_new_device'", patient.id
        )
    assert told == 2


async def test_a_session_is_not_opened_with_a_password_that_was_just_changed(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    """Signing in has checked the password; before its session is there, the password is reset and all sessions end."""
    patient = await with_password(db, make_patient)
    assert (await log_in(api, patient.email)).status_code == 200  # its password is hashed by today's parameters now
    async with db.transaction() as resetting:
        await resetting.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", patient.id)
        signing_in = asyncio.create_task(log_in(api, patient.email))
        await someone_waits(db, "FOR SHARE")
        await resetting.execute("UPDATE users SET password_hash = 'another' WHERE id = $1", patient.id)
        await sessions.end_all(resetting, patient.id)
    answer = await signing_in
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")
