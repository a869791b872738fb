"""Roles that need a second factor: nothing but setting one up before they have it, as production has it."""

from collections.abc import AsyncGenerator, Awaitable, Callable

import httpx
import pytest

from amrutam.domain.common import Role
from amrutam.storage.pool import Database
from tests.beside import api_beside
from tests.conftest import System
from tests.people import People, Person
from tests.web.accounts import bearer, log_in, refresh, with_password
from tests.web.factors import challenged, code, confirm, enroll, let_a_minute_pass, step_up, verify

MakeDoctor = Callable[..., Awaitable[Person]]


@pytest.fixture(scope="module")
async def strict(system: System) -> AsyncGenerator[httpx.AsyncClient, None]:
    """An API that asks for the factors that production asks for."""
    async with api_beside(system, REQUIRE_MFA_ROLES="doctor,support,admin") as client:
        yield client


async def test_a_doctor_without_a_factor_gets_a_token_with_which_to_set_one_up_and_no_more(
    strict: httpx.AsyncClient, db: Database, make_doctor: MakeDoctor
) -> None:
    doctor = await with_password(db, make_doctor)
    answer = await log_in(strict, doctor.email)
    asked = answer.json()
    assert (answer.status_code, asked["status"]) == (200, "mfa_enrollment_required")
    assert asked.keys() == {"status", "mfa_token", "expires_in", "factors"}
    assert asked["expires_in"] == 300
    only = {"Authorization": f"Bearer {asked['mfa_token']}"}
    for method, path in (
        ("GET", "/v1/doctors/me"),
        ("GET", "/v1/me"),
        ("GET", "/v1/auth/mfa"),
        ("POST", "/v1/auth/step-up"),
        ("POST", "/v1/auth/mfa/recovery-codes"),
        ("POST", "/v1/auth/logout"),
    ):
        answer = await strict.request(method, path, headers=only)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), path
    assert (await verify(strict, asked["mfa_token"], "123456")).json()["code"] == "unauthenticated"

    secret = (await enroll(strict, only)).json()["secret"]
    assert (await confirm(strict, only, code(secret, ahead=1))).status_code == 200
    assert (await enroll(strict, only)).status_code == 401  # good once

    await let_a_minute_pass(db, doctor.id)
    tokens = (await verify(strict, await challenged(strict, doctor), code(secret))).json()
    assert (await strict.get("/v1/doctors/me", headers=bearer(tokens))).status_code == 200
    fresh = (await refresh(strict, tokens["refresh_token"])).json()
    assert (await strict.get("/v1/doctors/me", headers=bearer(fresh))).status_code == 200


async def test_a_token_for_setting_up_is_void_when_it_is_old_or_the_password_has_changed(
    strict: httpx.AsyncClient, db: Database, make_doctor: MakeDoctor
) -> None:
    for change in (
        "UPDATE factor_challenges SET expires_at = now() WHERE user_id = $1",
        "UPDATE users SET password_hash = 'another' WHERE id = $1",
    ):
        doctor = await with_password(db, make_doctor)
        only = {"Authorization": f"Bearer {(await log_in(strict, doctor.email)).json()['mfa_token']}"}
        secret = (await enroll(strict, only)).json()["secret"]
        async with db.connection() as connection:
            await connection.execute(change, doctor.id)
        assert (await confirm(strict, only, code(secret))).status_code == 401


@pytest.mark.parametrize("role", [Role.DOCTOR, Role.SUPPORT, Role.ADMIN])
async def test_a_session_without_a_factor_can_do_nothing_but_set_one_up(
    strict: httpx.AsyncClient, people: People, role: Role
) -> None:
    person = await people.staff(role)
    answer = await strict.get("/v1/me", headers=person.headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "mfa_enrollment_required")
    answer = await strict.get("/v1/auth/mfa", headers=person.headers)
    assert (answer.json()["required"], answer.json()["enabled"]) == (True, False)

    secret = (await enroll(strict, person.headers)).json()["secret"]
    assert (await confirm(strict, person.headers, code(secret))).status_code == 200
    answer = await strict.get("/v1/me", headers=person.headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "step_up_required")
    shown = (await step_up(strict, person.headers, code(secret, ahead=1))).json()
    assert (await strict.get("/v1/me", headers=bearer(shown))).status_code == 200


async def test_who_has_no_factor_may_still_sign_out(strict: httpx.AsyncClient, people: People) -> None:
    person = await people.staff(Role.ADMIN)
    assert (await strict.post("/v1/auth/logout", headers=person.headers, json={})).status_code == 204


async def test_a_factor_that_was_shown_at_sign_in_is_enough_for_what_needs_no_recent_one(
    strict: httpx.AsyncClient, people: People
) -> None:
    admin = await people.with_factor(await people.staff(Role.ADMIN))
    assert (await strict.get("/v1/me", headers=admin.headers)).status_code == 200


async def test_patients_need_none(strict: httpx.AsyncClient, db: Database, people: People) -> None:
    patient = await with_password(db, people.patient)
    assert (await log_in(strict, patient.email)).json()["status"] == "authenticated"
    assert (await strict.get("/v1/me", headers=patient.headers)).status_code == 200


async def test_who_switches_it_off_sets_it_up_again_before_the_session_goes_on(
    strict: httpx.AsyncClient, db: Database, make_doctor: MakeDoctor, people: People
) -> None:
    doctor = await people.with_factor(await with_password(db, make_doctor))
    tokens = (await verify(strict, await challenged(strict, doctor), code(doctor.secret))).json()
    said = {"password": "correct horse battery staple", "code": code(doctor.secret, ahead=1)}
    assert (await strict.post("/v1/auth/mfa/disable", headers=bearer(tokens), json=said)).status_code == 204
    fresh = bearer((await refresh(strict, tokens["refresh_token"])).json())
    answer = await strict.get("/v1/doctors/me", headers=fresh)
    assert (answer.status_code, answer.json()["code"]) == (403, "mfa_enrollment_required")
    assert (await enroll(strict, fresh)).status_code == 200
