"""The second factor over HTTP: setting it up, signing in with it, showing it once more, doing without it."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID
from xml.etree import ElementTree

import httpx
import jwt
import pytest
import segno

from amrutam.domain.mfa import CHALLENGE_ATTEMPTS
from amrutam.storage.auth import token_hash
from amrutam.storage.pool import Database
from tests.web.accounts import MakePatient, Outbox, bearer, log_in, refresh, with_password
from tests.web.factors import (
    challenged,
    code,
    confirm,
    enroll,
    let_a_minute_pass,
    step_up,
    turn_on,
    verify,
    wrong_code,
)

SVG = "{http://www.w3.org/2000/svg}"


def _claims(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


async def _standing(api: httpx.AsyncClient, headers: dict[str, str]) -> dict[str, Any]:
    answer = await api.get("/v1/auth/mfa", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_person_sets_up_an_app_and_signs_in_with_its_codes(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    headers = bearer((await log_in(api, patient.email)).json())
    answer = await enroll(api, headers)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    app: dict[str, str] = answer.json()
    assert app.keys() == {"secret", "otpauth_uri", "qr_svg"}
    assert parse_qs(urlsplit(app["otpauth_uri"]).query) == {"secret": [app["secret"]], "issuer": ["Amrutam"]}
    assert (await log_in(api, patient.email)).json()["status"] == "authenticated"  # nothing has changed yet

    answer = await confirm(api, headers, code(app["secret"]))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert len(set(answer.json()["recovery_codes"])) == 10

    answer = await log_in(api, patient.email)
    asked = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    token = asked.pop("mfa_token")
    assert asked == {"status": "mfa_required", "expires_in": 300, "factors": ["totp", "recovery_code"]}

    answer = await verify(api, token, code(app["secret"], ahead=1))
    tokens = answer.json()
    assert answer.status_code == 200, answer.text
    assert (tokens["status"], tokens["token_type"], tokens["expires_in"]) == ("authenticated", "Bearer", 600)
    claims = _claims(tokens["access_token"])
    assert claims["amr"] == ["pwd", "otp"]
    assert 0 <= claims["factor_at"] - claims["auth_time"] <= 1
    assert (await api.get("/v1/me", headers=bearer(tokens))).json()["email"] == patient.email
    fresh = (await refresh(api, tokens["refresh_token"])).json()
    assert _claims(fresh["access_token"])["factor_at"] == claims["factor_at"]


async def test_the_picture_is_the_uri_and_needs_nothing_from_outside(
    api: httpx.AsyncClient, make_patient: MakePatient
) -> None:
    app = (await enroll(api, (await make_patient()).headers)).json()
    drawing = ElementTree.fromstring(app["qr_svg"])  # noqa: S314 - our own answer
    assert drawing.tag == f"{SVG}svg"
    assert {element.tag for element in drawing.iter()} == {f"{SVG}svg", f"{SVG}g", f"{SVG}path"}
    [lines] = [each.get("d") for each in drawing.iter(f"{SVG}path") if each.get("stroke")]
    expected = segno.make(app["otpauth_uri"], error="m", micro=False)
    dark = {(x, y) for y, row in enumerate(expected.matrix) for x, module in enumerate(row) if module}
    assert _drawn(lines or "", expected.default_border_size) == dark


def _drawn(path: str, border: int) -> set[tuple[int, int]]:
    """The modules that a path of horizontal strokes covers, counted from inside the border."""
    x, y, drawn = 0.0, 0.0, set[tuple[int, int]]()
    for command, numbers in re.findall(r"([Mmh])([-\d. ]+)", path):
        match command, [float(number) for number in numbers.split()]:
            case "M", [across, down]:
                x, y = across, down
            case "m", [across, down]:
                x, y = x + across, y + down
            case "h", [length]:
                drawn |= {(int(x) + step - border, int(y) - border) for step in range(int(length))}
                x += length
            case unknown:
                raise AssertionError(unknown)
    return drawn


async def test_a_secret_lies_sealed_and_recovery_codes_as_hashes_only(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    secret, recovery, _ = await turn_on(api, db, patient)
    async with db.connection() as connection:
        sealed = await connection.fetchval("SELECT secret FROM factors WHERE user_id = $1", patient.id)
        hashes = await connection.fetch("SELECT code_hash FROM recovery_codes WHERE user_id = $1", patient.id)
    assert secret.encode() not in sealed
    assert all(row["code_hash"].startswith("$argon2id$") for row in hashes)
    assert len(hashes) == len(recovery)


async def test_the_token_between_password_and_code_is_no_access_token_and_lies_as_a_hash_only(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    await turn_on(api, db, patient)
    token = await challenged(api, patient)
    headers = {"Authorization": f"Bearer {token}"}
    assert (await api.get("/v1/me", headers=headers)).status_code == 401
    assert (await enroll(api, headers)).status_code == 401
    assert (await confirm(api, headers, "123456")).status_code == 401
    async with db.connection() as connection:
        row = await connection.fetchval(
            "SELECT c::text FROM factor_challenges c WHERE token_hash = $1", token_hash(token)
        )
    assert token not in row


async def test_each_code_is_taken_once(api: httpx.AsyncClient, db: Database, make_patient: MakePatient) -> None:
    patient = await with_password(db, make_patient)
    secret, _, _ = await turn_on(api, db, patient)
    given = code(secret)
    assert (await verify(api, await challenged(api, patient), given)).status_code == 200
    answer = await verify(api, await challenged(api, patient), given)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")


async def test_a_code_that_arrives_many_times_at_once_opens_one_session(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    secret, recovery, _ = await turn_on(api, db, patient)
    for factor, given in (("totp", code(secret)), ("recovery_code", recovery[0])):
        tokens = [await challenged(api, patient) for _ in range(3)]
        answers = await asyncio.gather(*(verify(api, token, given, factor) for token in tokens))
        assert sorted(answer.status_code for answer in answers) == [200, 401, 401]


async def test_one_challenge_gives_one_session(api: httpx.AsyncClient, db: Database, make_patient: MakePatient) -> None:
    patient = await with_password(db, make_patient)
    secret, _, _ = await turn_on(api, db, patient)
    token = await challenged(api, patient)
    assert (await verify(api, token, code(secret))).status_code == 200
    answer = await verify(api, token, code(secret, ahead=1))
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE factor_challenges SET expires_at = now() WHERE user_id = $1",
        "UPDATE users SET password_hash = 'another' WHERE id = $1",
    ],
)
async def test_a_challenge_is_void_when_it_is_old_or_the_password_has_changed(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient, change: str
) -> None:
    patient = await with_password(db, make_patient)
    secret, _, _ = await turn_on(api, db, patient)
    token = await challenged(api, patient)
    async with db.connection() as connection:
        await connection.execute(change, patient.id)
    assert (await verify(api, token, code(secret))).json()["code"] == "unauthenticated"


async def test_one_challenge_hears_a_few_codes_only(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    secret, _, _ = await turn_on(api, db, patient)
    token = await challenged(api, patient)
    async with db.connection() as connection:
        await connection.execute(
            "UPDATE factor_challenges SET attempts = $2 WHERE token_hash = $1",
            token_hash(token), CHALLENGE_ATTEMPTS - 1,
        )  # fmt: skip
    assert (await verify(api, token, wrong_code(secret))).json()["code"] == "invalid_credentials"
    assert (await verify(api, token, code(secret))).json()["code"] == "unauthenticated"
    assert (await verify(api, await challenged(api, patient), code(secret))).status_code == 200


async def test_guessing_codes_is_slowed_down_and_noted(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    secret, _, headers = await turn_on(api, db, patient)
    answers = [await step_up(api, headers, wrong_code(secret)) for _ in range(12)]
    assert answers[0].json()["code"] == "invalid_credentials"
    assert (answers[-1].status_code, answers[-1].json()["code"]) == (429, "rate_limited")
    assert int(answers[-1].headers["retry-after"]) >= 1
    heard = sum(answer.status_code == 401 for answer in answers)
    async with db.connection() as connection:
        noted = await connection.fetchval(
            "SELECT count(*) FROM audit WHERE actor_id = $1 AND action = 'auth.show_factor' AND outcome = 'refused'",
            patient.id,
        )
    assert noted == heard < len(answers)


async def test_a_recovery_code_opens_the_door_once_and_its_owner_is_told(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient, outbox: Outbox
) -> None:
    patient = await with_password(db, make_patient)
    _, recovery, _ = await turn_on(api, db, patient)
    answer = await verify(api, await challenged(api, patient), recovery[7].upper().replace("-", " "), "recovery_code")
    assert answer.status_code == 200, answer.text
    tokens = answer.json()
    assert _claims(tokens["access_token"])["amr"] == ["pwd", "mfa"]
    assert (await _standing(api, bearer(tokens)))["recovery_codes_left"] == 9

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
    before, after = _claims(headers["Authorization"].split()[1]), _claims(answer.json()["access_token"])
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
    assert (await _standing(api, bearer(tokens)))["enabled"] is True
    assert await disable(right, code(secret)) == (204, None)

    fresh = (await refresh(api, tokens["refresh_token"])).json()
    assert "factor_at" not in _claims(fresh["access_token"])
    assert (await _standing(api, bearer(fresh)))["enabled"] is False
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
    assert await _standing(api, patient.headers) == nothing
    await enroll(api, patient.headers)
    assert await _standing(api, patient.headers) == nothing
    _, _, headers = await turn_on(api, db, patient)
    standing = await _standing(api, headers)
    assert datetime.fromisoformat(standing.pop("enabled_at")) <= datetime.now(UTC)
    assert standing == {
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
