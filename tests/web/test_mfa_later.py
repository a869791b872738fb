"""The second factor once it is there: recovery codes, showing it again, switching it off, who hears of it."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx

from amrutam.storage.pool import Database
from tests.web.accounts import MakePatient, Outbox, bearer, log_in, refresh, with_password
from tests.web.factors import (
    challenged,
    claims_of,
    code,
    confirm,
    enroll,
    let_a_minute_pass,
    standing,
    step_up,
    turn_on,
    verify,
    wrong_code,
)


async def test_a_recovery_code_opens_the_door_once_and_its_owner_is_told(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient, outbox: Outbox
) -> None:
    patient = await with_password(db, make_patient)
    _, recovery, _ = await turn_on(api, db, patient)
    answer = await verify(api, await challenged(api, patient), recovery[7].upper().replace("-", " "), "recovery_code")
    assert answer.status_code == 200, answer.text
    tokens = answer.json()
    assert claims_of(tokens["access_token"])["amr"] == ["pwd", "mfa"]
    assert (await standing(api, bearer(tokens)))["recovery_codes_left"] == 9

    answer = await verify(api, await challenged(api, patient), recovery[7], "recovery_code")
    assert answer.json()["code"] == "invalid_credentials"
    subjects = [mail["subject"] for mail in await outbox(patient.email, 3)]
    assert "A recovery code was used" in subjects
    async with db.connection() as connection:
        actions = await connection.fetch("SELECT action FROM audit WHERE actor_id = $1 ORDER BY xid, id", patient.id)
    assert [row["action"] for row in actions].count("mfa.use_recovery_code") == 1


async def test_a_recovery_code_is_no_code_of_the_app_and_the_other_way_round(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    secret, recovery, _ = await turn_on(api, db, patient)
    for given, factor in ((recovery[0], "totp"), (code(secret), "recovery_code")):
        answer = await verify(api, await challenged(api, patient), given, factor)
        assert answer.json()["code"] == "invalid_credentials"
    assert (await verify(api, await challenged(api, patient), "x", "sms")).json()["code"] == "validation_failed"


async def test_new_recovery_codes_void_the_old_ones(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient, outbox: Outbox
) -> None:
    patient = await with_password(db, make_patient)
    secret, old, headers = await turn_on(api, db, patient)
    answer = await api.post("/v1/auth/mfa/recovery-codes", headers=headers, json={})
    assert (answer.status_code, answer.json()["code"]) == (403, "step_up_required")

    stepped_up = bearer((await step_up(api, headers, code(secret))).json())
    answer = await api.post("/v1/auth/mfa/recovery-codes", headers=stepped_up, json={})
    new = answer.json()["recovery_codes"]
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert not set(old) & set(new)
    assert (await verify(api, await challenged(api, patient), old[0], "recovery_code")).status_code == 401
    assert (await verify(api, await challenged(api, patient), new[0], "recovery_code")).status_code == 200
    assert "You have new recovery codes" in [mail["subject"] for mail in await outbox(patient.email, 3)]


async def test_stepping_up_gives_a_token_that_says_when_the_factor_was_shown(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient, now: datetime
) -> None:
    patient = await with_password(db, make_patient)
    secret, _, headers = await turn_on(api, db, patient)
    given = code(secret)
    answer = await step_up(api, headers, given)
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"access_token", "expires_in"}
    before, after = claims_of(headers["Authorization"].split()[1]), claims_of(answer.json()["access_token"])
    assert "factor_at" not in before
    assert after["factor_at"] >= int(now.timestamp())
    assert (after["sid"], after["auth_time"]) == (before["sid"], before["auth_time"])
    assert (before["amr"], after["amr"]) == (["pwd"], ["pwd", "otp"])
    assert (await step_up(api, headers, given)).json()["code"] == "invalid_credentials"  # taken already


async def test_a_factor_that_was_shown_long_ago_is_asked_for_again(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    secret, _, _ = await turn_on(api, db, patient)
    tokens = (await verify(api, await challenged(api, patient), code(secret))).json()
    async with db.connection() as connection:
        await connection.execute(
            "UPDATE sessions SET factor_at = $2 WHERE id = $1",
            UUID(tokens["session_id"]), datetime.now(UTC) - timedelta(minutes=10, seconds=1),
        )  # fmt: skip
    later = (await refresh(api, tokens["refresh_token"])).json()
    for headers, status in ((bearer(tokens), 200), (bearer(later), 403)):
        answer = await api.post("/v1/auth/mfa/recovery-codes", headers=headers, json={})
        assert answer.status_code == status, answer.text
    assert answer.json()["code"] == "step_up_required"
    assert (await api.get("/v1/me", headers=bearer(later))).status_code == 200


async def test_who_has_no_factor_is_asked_to_set_one_up_instead(
    api: httpx.AsyncClient, make_patient: MakePatient
) -> None:
    headers = (await make_patient()).headers
    for path, said in (("/v1/auth/mfa/recovery-codes", {}), ("/v1/auth/step-up", {"code": "123456"})):
        answer = await api.post(path, headers=headers, json=said)
        assert (answer.status_code, answer.json()["code"]) == (403, "mfa_enrollment_required")
    answer = await api.post("/v1/auth/mfa/disable", headers=headers, json={"password": "x", "code": "123456"})
    assert (answer.status_code, answer.json()["code"]) == (409, "invalid_state")
    answer = await confirm(api, headers, "123456")
    assert (answer.status_code, answer.json()["code"]) == (409, "invalid_state")


async def test_switching_it_off_needs_password_and_code_and_its_owner_is_told(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient, outbox: Outbox
) -> None:
    patient = await with_password(db, make_patient)
    secret, _, _ = await turn_on(api, db, patient)
    tokens = (await verify(api, await challenged(api, patient), code(secret))).json()
    await let_a_minute_pass(db, patient.id)
    right = "correct horse battery staple"

    async def disable(password: str, given: str) -> tuple[int, str | None]:
        body = {"password": password, "code": given}
        answer = await api.post("/v1/auth/mfa/disable", headers=bearer(tokens), json=body)
        return answer.status_code, answer.json()["code"] if answer.content else None

    assert await disable("wrong", code(secret)) == (401, "invalid_credentials")
    assert await disable(right, wrong_code(secret)) == (401, "invalid_credentials")
    answer = await api.post("/v1/auth/mfa/disable", headers=bearer(tokens), json={"password": right})
    assert answer.json()["code"] == "validation_failed"
    assert (await standing(api, bearer(tokens)))["enabled"] is True
    assert await disable(right, code(secret)) == (204, None)

    fresh = (await refresh(api, tokens["refresh_token"])).json()
    assert "factor_at" not in claims_of(fresh["access_token"])
    assert (await standing(api, bearer(fresh)))["enabled"] is False
    assert (await log_in(api, patient.email)).json()["status"] == "authenticated"
    mails = {mail["subject"] for mail in await outbox(patient.email, 3)}
    assert {"Two-step sign-in is on", "Two-step sign-in is off"} <= mails
    async with db.connection() as connection:
        left = await connection.fetchval("SELECT count(*) FROM recovery_codes WHERE user_id = $1", patient.id)
    assert left == 0


async def test_who_has_lost_the_app_switches_it_off_with_a_recovery_code_and_sets_up_another(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    old, recovery, _ = await turn_on(api, db, patient)
    tokens = (await verify(api, await challenged(api, patient), recovery[0], "recovery_code")).json()
    said = {"password": "correct horse battery staple", "code": recovery[1]}
    assert (await api.post("/v1/auth/mfa/disable", headers=bearer(tokens), json=said)).status_code == 204
    headers = bearer((await refresh(api, tokens["refresh_token"])).json())
    new = (await enroll(api, headers)).json()["secret"]
    assert new != old
    assert (await confirm(api, headers, code(new))).status_code == 200


async def test_a_factor_that_is_off_counts_in_no_token_that_was_given_before(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    secret, recovery, elsewhere = await turn_on(api, db, patient)
    stepped_up = bearer((await step_up(api, elsewhere, code(secret))).json())
    tokens = (await verify(api, await challenged(api, patient), recovery[0], "recovery_code")).json()
    said = {"password": "correct horse battery staple", "code": recovery[1]}
    assert (await api.post("/v1/auth/mfa/disable", headers=bearer(tokens), json=said)).status_code == 204
    for headers in (stepped_up, bearer(tokens)):
        answer = await api.post("/v1/auth/mfa/recovery-codes", headers=headers, json={})
        assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")
    async with db.connection() as connection:
        shown = await connection.fetchval("SELECT count(factor_at) FROM sessions WHERE user_id = $1", patient.id)
    assert shown == 0
    fresh = bearer((await refresh(api, tokens["refresh_token"])).json())
    answer = await api.post("/v1/auth/mfa/recovery-codes", headers=fresh, json={})
    assert (answer.status_code, answer.json()["code"]) == (403, "mfa_enrollment_required")


async def test_a_factor_that_is_on_is_not_replaced_by_who_holds_a_token(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    secret, _, headers = await turn_on(api, db, patient)
    assert (await enroll(api, headers)).json()["code"] == "invalid_state"
    assert (await confirm(api, headers, code(secret))).json()["code"] == "invalid_state"
    assert (await verify(api, await challenged(api, patient), code(secret))).status_code == 200


async def test_setting_up_again_before_the_first_code_makes_the_first_app_void(
    api: httpx.AsyncClient, make_patient: MakePatient
) -> None:
    headers = (await make_patient()).headers
    first, second = [(await enroll(api, headers)).json()["secret"] for _ in range(2)]
    assert first != second
    assert (await confirm(api, headers, code(first))).json()["code"] == "invalid_credentials"
    assert (await confirm(api, headers, code(second))).status_code == 200


async def test_two_who_confirm_at_once_get_one_set_of_recovery_codes(
    api: httpx.AsyncClient, make_patient: MakePatient
) -> None:
    headers = (await make_patient()).headers
    secret = (await enroll(api, headers)).json()["secret"]
    answers = await asyncio.gather(*(confirm(api, headers, code(secret, ahead)) for ahead in (0, 1)))
    assert sorted(answer.status_code for answer in answers) == [200, 409]


async def test_how_it_stands_can_be_read(api: httpx.AsyncClient, db: Database, make_patient: MakePatient) -> None:
    patient = await with_password(db, make_patient)
    nothing: dict[str, Any] = {
        "enabled": False,
        "required": False,
        "factors": [],
        "enabled_at": None,
        "recovery_codes_left": 0,
    }
    assert await standing(api, patient.headers) == nothing
    await enroll(api, patient.headers)
    assert await standing(api, patient.headers) == nothing
    _, _, headers = await turn_on(api, db, patient)
    stands = await standing(api, headers)
    assert datetime.fromisoformat(stands.pop("enabled_at")) <= datetime.now(UTC)
    assert stands == {
        "enabled": True, "required": False, "factors": ["totp", "recovery_code"], "recovery_codes_left": 10,
    }  # fmt: skip


async def test_what_is_done_to_a_factor_is_in_the_audit_trail(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    secret, recovery, headers = await turn_on(api, db, patient)
    stepped_up = bearer((await step_up(api, headers, code(secret))).json())
    await api.post("/v1/auth/mfa/recovery-codes", headers=stepped_up, json={})
    await let_a_minute_pass(db, patient.id)
    said = {"password": "correct horse battery staple", "code": code(secret)}
    assert (await api.post("/v1/auth/mfa/disable", headers=headers, json=said)).status_code == 204
    async with db.connection() as connection:
        rows = await connection.fetch(
            "SELECT action FROM audit WHERE actor_id = $1 AND outcome = 'done' ORDER BY xid, id", patient.id
        )
        everything = await connection.fetchval(
            "SELECT string_agg(a::text, ' ') FROM audit a WHERE actor_id = $1", patient.id
        )
    actions = ["auth.login", "mfa.enroll", "mfa.enable", "auth.step_up", "mfa.replace_recovery_codes", "mfa.disable"]
    assert [row["action"] for row in rows] == actions
    assert secret not in everything
    assert recovery[0] not in everything


async def test_an_old_sign_in_sets_up_a_factor_with_the_password_only(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    tokens = (await log_in(api, patient.email)).json()
    async with db.connection() as connection:
        await connection.execute(
            "UPDATE sessions SET authenticated_at = authenticated_at - interval '11 minutes' WHERE id = $1",
            UUID(tokens["session_id"]),
        )
    headers = bearer((await refresh(api, tokens["refresh_token"])).json())
    answer = await enroll(api, headers)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/password")
    assert (await enroll(api, headers, password="wrong")).json()["code"] == "invalid_credentials"
    assert (await enroll(api, headers, password="correct horse battery staple")).status_code == 200
