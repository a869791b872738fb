"""Staying signed in and signing out."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import jwt

from amrutam.settings import Settings
from amrutam.storage.auth import token_hash
from amrutam.storage.pool import Database
from tests.web.accounts import MakePatient, bearer, log_in, refresh, signed_in, with_password


async def _used_long_ago(db: Database, token: str) -> None:
    async with db.connection() as connection:
        await connection.execute(
            "UPDATE refresh_tokens SET used_at = used_at - interval '11 s' WHERE token_hash = $1", token_hash(token)
        )


async def test_a_refresh_token_is_exchanged_for_new_tokens_of_the_same_session(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    first = await signed_in(api, db, make_patient)
    answer = await refresh(api, first["refresh_token"])
    second = answer.json()
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert second.keys() == first.keys()
    assert second["session_id"] == first["session_id"]
    assert second["refresh_token"] != first["refresh_token"]
    assert (await api.get("/v1/me", headers=bearer(second))).status_code == 200


async def test_a_refreshed_token_carries_the_roles_of_today_and_the_time_of_signing_in(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    first = (await log_in(api, patient.email)).json()
    async with db.connection() as connection:
        await connection.execute("UPDATE users SET roles = '{patient,support}' WHERE id = $1", patient.id)
    second = (await refresh(api, first["refresh_token"])).json()
    before, after = (_claims(tokens["access_token"]) for tokens in (first, second))
    assert (before["roles"], after["roles"]) == (["patient"], ["patient", "support"])
    assert (before["auth_time"], before["amr"]) == (after["auth_time"], after["amr"])
    assert before["jti"] != after["jti"]


def _claims(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


async def test_reuse_of_a_refresh_token_ends_its_session(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    first = await signed_in(api, db, make_patient)
    second = (await refresh(api, first["refresh_token"])).json()
    await _used_long_ago(db, first["refresh_token"])

    answer = await refresh(api, first["refresh_token"])
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert (await refresh(api, second["refresh_token"])).status_code == 401
    async with db.connection() as connection:
        noted = await connection.fetchval(
            "SELECT action FROM audit WHERE subject = $1 AND actor_role = 'system'", UUID(first["session_id"])
        )
    assert noted == "auth.refresh_token_reused"


async def test_a_lost_answer_logs_nobody_out(api: httpx.AsyncClient, db: Database, make_patient: MakePatient) -> None:
    first = await signed_in(api, db, make_patient)
    await refresh(api, first["refresh_token"])  # the answer never arrived
    again = await refresh(api, first["refresh_token"])
    assert again.status_code == 200
    assert (await refresh(api, again.json()["refresh_token"])).status_code == 200


async def test_an_older_token_than_the_predecessor_ends_the_session_at_once(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    first = await signed_in(api, db, make_patient)
    second = (await refresh(api, first["refresh_token"])).json()
    third = (await refresh(api, second["refresh_token"])).json()
    assert (await refresh(api, first["refresh_token"])).status_code == 401
    assert (await refresh(api, third["refresh_token"])).status_code == 401


async def test_many_tabs_that_refresh_at_once_stay_signed_in(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    first = await signed_in(api, db, make_patient)
    answers = await asyncio.gather(*(refresh(api, first["refresh_token"]) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 401, 401, 401, 401]
    for answer in answers:
        if answer.status_code == 200:
            assert (await refresh(api, answer.json()["refresh_token"])).status_code == 200


async def test_a_refresh_token_that_was_never_given_is_refused(api: httpx.AsyncClient) -> None:
    for token in ("unknown", "x" * 43, "ü"):
        answer = await refresh(api, token)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_a_session_that_has_run_out_is_over(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    tokens = await signed_in(api, db, make_patient)
    async with db.connection() as connection:
        await connection.execute("UPDATE sessions SET expires_at = now() WHERE id = $1", UUID(tokens["session_id"]))
    assert (await refresh(api, tokens["refresh_token"])).status_code == 401


async def test_signing_out_ends_this_session_and_no_other(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    phone, laptop = [(await log_in(api, patient.email)).json() for _ in range(2)]
    answer = await api.post("/v1/auth/logout", headers=bearer(phone), json={})
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await refresh(api, phone["refresh_token"])).status_code == 401
    assert (await refresh(api, laptop["refresh_token"])).status_code == 200


async def test_signing_out_with_a_refresh_token_ends_its_session_too_if_it_is_ones_own(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    laptop = (await log_in(api, patient.email)).json()
    stranger = await signed_in(api, db, make_patient)
    for token in (laptop["refresh_token"], stranger["refresh_token"], "unknown"):
        phone = (await log_in(api, patient.email)).json()
        answer = await api.post("/v1/auth/logout", headers=bearer(phone), json={"refresh_token": token})
        assert answer.status_code == 204
    assert (await refresh(api, laptop["refresh_token"])).status_code == 401
    assert (await refresh(api, stranger["refresh_token"])).status_code == 200


async def test_signing_out_needs_somebody_who_is_signed_in(api: httpx.AsyncClient) -> None:
    assert (await api.post("/v1/auth/logout", json={})).status_code == 401


async def test_refresh_tokens_lie_in_the_database_as_hashes_only(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    tokens = await signed_in(api, db, make_patient)
    async with db.connection() as connection:
        rows = await connection.fetch(
            "SELECT t::text AS everything FROM refresh_tokens t WHERE session_id = $1", UUID(tokens["session_id"])
        )
    assert len(rows) == 1
    assert tokens["refresh_token"] not in rows[0]["everything"]
    assert token_hash(tokens["refresh_token"]).hex() in rows[0]["everything"]


async def test_a_session_ends_when_it_is_not_used_for_long_and_lives_on_while_it_is(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient, settings: Settings
) -> None:
    tokens = await signed_in(api, db, make_patient)
    idle, whole = timedelta(days=settings.session_idle_days), timedelta(days=settings.session_days)

    async def signed_in_ago(age: timedelta) -> timedelta:
        """Let the session have begun so long ago, use it, and say how much longer it lives from then."""
        nonlocal tokens
        async with db.connection() as connection:
            await connection.execute(
                "UPDATE sessions SET authenticated_at = now() - $2::interval WHERE id = $1",
                UUID(tokens["session_id"]), age,
            )  # fmt: skip
            tokens = (await refresh(api, tokens["refresh_token"])).json()
            return await connection.fetchval(
                "SELECT expires_at - last_used_at FROM sessions WHERE id = $1", UUID(tokens["session_id"])
            )

    minute = timedelta(minutes=1)
    assert abs(await signed_in_ago(timedelta()) - idle) < minute
    assert abs(await signed_in_ago(whole - timedelta(days=2)) - timedelta(days=2)) < minute
