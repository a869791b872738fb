"""The second factor over HTTP: setting it up, and signing in with it."""

import asyncio
import re
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import httpx
import pytest
import segno

from amrutam.domain.mfa import CHALLENGE_ATTEMPTS
from amrutam.storage.auth import token_hash
from amrutam.storage.pool import Database
from tests.web.accounts import MakePatient, bearer, log_in, refresh, with_password
from tests.web.factors import (
    challenged,
    claims_of,
    code,
    confirm,
    enroll,
    step_up,
    turn_on,
    verify,
    wrong_code,
)

SVG = "{http://www.w3.org/2000/svg}"


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
    claims = claims_of(tokens["access_token"])
    assert claims["amr"] == ["pwd", "otp"]
    assert 0 <= claims["factor_at"] - claims["auth_time"] <= 1
    assert (await api.get("/v1/me", headers=bearer(tokens))).json()["email"] == patient.email
    fresh = (await refresh(api, tokens["refresh_token"])).json()
    assert claims_of(fresh["access_token"])["factor_at"] == claims["factor_at"]


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
