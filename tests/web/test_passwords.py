"""Passwords that are forgotten, chosen anew and changed, over HTTP."""

import asyncio
import re
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher, extract_parameters

from amrutam.settings import Settings
from amrutam.storage.pool import Database
from tests.people import People
from tests.polling import until
from tests.web.accounts import (
    PASSWORD,
    MakePatient,
    Outbox,
    bearer,
    log_in,
    new_address,
    refresh,
    register,
    verify,
    with_password,
)
from web.links import EVEN_SECONDS

NEW = "a lantern under seven plums"


async def forgot(api: httpx.AsyncClient, email: str) -> httpx.Response:
    """Ask for a link."""
    return await api.post("/v1/auth/password/forgot", json={"email": email})


async def reset(api: httpx.AsyncClient, token: str, password: str = NEW) -> httpx.Response:
    """Use a link."""
    return await api.post("/v1/auth/password/reset", json={"token": token, "password": password})


async def change(api: httpx.AsyncClient, who: dict[str, Any], current: str, new: str = NEW) -> httpx.Response:
    """Choose another password while signed in."""
    said = {"current_password": current, "new_password": new}
    return await api.post("/v1/auth/password/change", json=said, headers=bearer(who))


def link_in(mail: dict[str, Any], path: str = "reset-password") -> str:
    """The token of the link in a mail."""
    found = re.search(rf"/{path}\?token=([\w-]+)", mail["text"])
    assert found, mail
    return found[1]


async def mail_about(outbox: Outbox, email: str, subject: str) -> dict[str, Any]:
    """The newest mail with this subject, once it is there."""

    async def look() -> dict[str, Any] | None:
        return next((mail for mail in await outbox(email) if mail["subject"] == subject), None)

    return await until(look)


async def asked(api: httpx.AsyncClient, outbox: Outbox, email: str) -> str:
    """The token of a link that was asked for."""
    assert (await forgot(api, email)).status_code == 202
    return link_in(await mail_about(outbox, email, "Choose another password"))


async def _hash_of(db: Database, email: str) -> str:
    async with db.connection() as connection:
        return await connection.fetchval("SELECT password_hash FROM users WHERE email = $1", email)


async def test_a_forgotten_password_is_replaced_by_the_link_and_its_person_told(
    api: httpx.AsyncClient, outbox: Outbox, db: Database, make_patient: MakePatient
) -> None:
    email = (await with_password(db, make_patient)).email
    answer = await forgot(api, email.upper())
    assert (answer.status_code, answer.json()) == (202, {"status": "reset_sent"})
    token = link_in(await mail_about(outbox, email, "Choose another password"))

    answer = await reset(api, token)
    assert (answer.status_code, answer.json()) == (200, {"status": "password_reset"})
    assert (await log_in(api, email)).status_code == 401
    assert (await log_in(api, email, NEW)).status_code == 200
    await mail_about(outbox, email, "Your password was changed")


async def test_a_reset_ends_every_session_at_once(
    api: httpx.AsyncClient, outbox: Outbox, db: Database, make_patient: MakePatient
) -> None:
    email = (await with_password(db, make_patient)).email
    sessions = [(await log_in(api, email)).json() for _ in range(2)]
    assert [(await api.get("/v1/me", headers=bearer(each))).status_code for each in sessions] == [200, 200]
    assert (await reset(api, await asked(api, outbox, email))).status_code == 200
    assert [(await api.get("/v1/me", headers=bearer(each))).status_code for each in sessions] == [401, 401]
    assert [(await refresh(api, each["refresh_token"])).status_code for each in sessions] == [401, 401]


async def test_a_link_replaces_a_password_once_and_voids_the_others(
    api: httpx.AsyncClient, outbox: Outbox, db: Database, make_patient: MakePatient
) -> None:
    email = (await with_password(db, make_patient)).email
    await forgot(api, email)
    await forgot(api, email)
    first, second = [link_in(mail) for mail in await outbox(email, 2)]
    assert (await reset(api, first)).status_code == 200
    for token in (first, second):
        answer = await reset(api, token, "another lantern under plums")
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/token")
    assert (await log_in(api, email, NEW)).status_code == 200


async def test_one_link_used_many_times_at_once_is_used_once(
    api: httpx.AsyncClient, outbox: Outbox, db: Database, make_patient: MakePatient
) -> None:
    email = (await with_password(db, make_patient)).email
    token = await asked(api, outbox, email)
    answers = await asyncio.gather(*(reset(api, token, f"{NEW} {number}") for number in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 422, 422, 422]
    [taken] = [number for number, answer in enumerate(answers) if answer.status_code == 200]
    assert (await log_in(api, email, f"{NEW} {taken}")).status_code == 200


async def test_a_password_that_is_refused_does_not_use_the_link_up(
    api: httpx.AsyncClient, outbox: Outbox, db: Database, make_patient: MakePatient
) -> None:
    email = (await with_password(db, make_patient)).email
    token = await asked(api, outbox, email)
    for password, code in (
        ("password123", "common_password"),
        (email, "weak_password"),
        ("Asha Rao 1", "weak_password"),
    ):
        answer = await reset(api, token, password)
        fault = answer.json()["errors"][0]
        assert (answer.status_code, fault["pointer"], fault["code"]) == (422, "/password", code)
    assert (await reset(api, token)).status_code == 200


async def test_a_link_that_is_too_old_replaces_nothing(
    api: httpx.AsyncClient, outbox: Outbox, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    token = await asked(api, outbox, patient.email)
    async with db.connection() as connection:
        await connection.execute("UPDATE password_resets SET expires_at = now() WHERE user_id = $1", patient.id)
    assert (await reset(api, token)).status_code == 422
    assert (await log_in(api, patient.email)).status_code == 200


async def test_a_link_of_one_kind_is_not_good_for_another(
    api: httpx.AsyncClient, outbox: Outbox, db: Database, make_patient: MakePatient
) -> None:
    email = (await with_password(db, make_patient)).email
    token = await asked(api, outbox, email)
    assert (await verify(api, token)).status_code == 422
    assert (await api.post("/v1/auth/email/confirm", json={"token": token})).status_code == 422
    assert (await reset(api, token)).status_code == 200


async def test_a_link_lies_in_the_database_as_a_hash_only(
    api: httpx.AsyncClient, outbox: Outbox, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    token = await asked(api, outbox, patient.email)
    async with db.connection() as connection:
        links = await connection.fetch("SELECT r::text FROM password_resets r WHERE user_id = $1", patient.id)
        told = await connection.fetch("SELECT data::text FROM events WHERE subject = $1", patient.id)
    assert links
    assert token not in str(links) + str(told)


async def test_forgetting_a_password_tells_nothing_of_an_address(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    unconfirmed, known = new_address(), (await with_password(db, make_patient)).email
    await register(api, unconfirmed)
    answers = [await forgot(api, email) for email in (known, new_address(), unconfirmed)]
    assert {(answer.status_code, answer.text) for answer in answers} == {(202, '{"status":"reset_sent"}')}


async def test_a_known_address_and_an_unknown_one_answer_in_the_same_time(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    """The work hides behind a fixed time: each answer takes that long, and neither shows what there was to do."""
    known = (await with_password(db, make_patient)).email
    ask: dict[str, Callable[[str], Awaitable[httpx.Response]]] = {
        "forgot": lambda email: forgot(api, email),
        "login": lambda email: log_in(api, email, "wrong password"),
        "resend": lambda email: api.post("/v1/auth/verify-email/resend", json={"email": email}),
    }
    for name, question in ask.items():
        took: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(3):
            for is_known, email in ((True, known), (False, new_address())):
                started = time.perf_counter()
                await question(email)
                took[is_known].append(time.perf_counter() - started)
        assert min(statistics.median(times) for times in took.values()) >= EVEN_SECONDS, name


async def test_whoever_asks_again_and_again_fills_nobodys_mailbox(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    answers = [await forgot(api, patient.email) for _ in range(8)]
    assert {answer.status_code for answer in answers} == {202}
    async with db.connection() as connection:
        links = await connection.fetchval("SELECT count(*) FROM password_resets WHERE user_id = $1", patient.id)
    assert links == 5


async def test_an_unconfirmed_account_gets_another_link_that_confirms_it(
    api: httpx.AsyncClient, outbox: Outbox
) -> None:
    email = new_address()
    await register(api, email)
    await forgot(api, email)
    newest, _ = await outbox(email, 2)
    assert newest["subject"] == "Confirm your email address"
    assert (await verify(api, link_in(newest, "verify-email"))).status_code == 200


async def test_a_password_is_changed_by_whoever_knows_it_and_other_devices_sign_in_again(
    api: httpx.AsyncClient, outbox: Outbox, db: Database, make_patient: MakePatient
) -> None:
    email = (await with_password(db, make_patient)).email
    here, there = [(await log_in(api, email)).json() for _ in range(2)]
    assert (await change(api, here, PASSWORD)).status_code == 204

    assert (await api.get("/v1/me", headers=bearer(here))).status_code == 200
    assert (await refresh(api, here["refresh_token"])).status_code == 200
    assert (await api.get("/v1/me", headers=bearer(there))).status_code == 401
    assert (await refresh(api, there["refresh_token"])).status_code == 401
    assert (await log_in(api, email, NEW)).status_code == 200
    await mail_about(outbox, email, "Your password was changed")


async def test_a_password_is_not_changed_by_whoever_only_holds_the_access_token(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    email = (await with_password(db, make_patient)).email
    here = (await log_in(api, email)).json()
    answer = await change(api, here, "wrong password")
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")
    assert (await log_in(api, email)).status_code == 200


@pytest.mark.parametrize(
    ("password", "code"),
    [("password123", "common_password"), ("Asha Rao 1", "weak_password"), (PASSWORD, "unchanged")],
)
async def test_a_new_password_that_is_no_better_is_refused(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient, password: str, code: str
) -> None:
    here = (await log_in(api, (await with_password(db, make_patient)).email)).json()
    answer = await change(api, here, PASSWORD, password)
    fault = answer.json()["errors"][0]
    assert (answer.status_code, fault["pointer"], fault["code"]) == (422, "/new_password", code)


async def test_a_change_voids_links_that_were_sent_before(
    api: httpx.AsyncClient, outbox: Outbox, db: Database, make_patient: MakePatient
) -> None:
    email = (await with_password(db, make_patient)).email
    token = await asked(api, outbox, email)
    here = (await log_in(api, email)).json()
    assert (await change(api, here, PASSWORD)).status_code == 204
    assert (await reset(api, token, "another lantern under plums")).status_code == 422


@pytest.mark.parametrize("password", ["trustno1", "iloveyou", "Asha Rao 1", "abcdefghijkl"])
async def test_nobody_registers_with_a_password_that_is_easy_to_guess(api: httpx.AsyncClient, password: str) -> None:
    answer = await register(api, new_address(), password=password, date_of_birth="2999-01-01")
    assert answer.status_code == 422
    assert {fault["pointer"] for fault in answer.json()["errors"]} == {"/password", "/date_of_birth"}
    assert password not in answer.text


async def test_a_sign_in_hashes_the_password_anew_where_the_parameters_have_changed(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient, settings: Settings
) -> None:
    email = (await with_password(db, make_patient)).email
    before = await _hash_of(db, email)
    assert (await log_in(api, email, "wrong password")).status_code == 401
    assert await _hash_of(db, email) == before

    assert (await log_in(api, email)).status_code == 200
    after = await _hash_of(db, email)
    now = extract_parameters(after)
    assert (now.memory_cost, now.time_cost) == (settings.password_memory_kib, settings.password_passes)
    assert PasswordHasher().verify(after, PASSWORD)
    assert (await log_in(api, email)).status_code == 200
    assert await _hash_of(db, email) == after


async def test_what_was_done_to_a_password_is_audited(
    api: httpx.AsyncClient, outbox: Outbox, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    assert (await reset(api, await asked(api, outbox, patient.email))).status_code == 200
    here = (await log_in(api, patient.email, NEW)).json()
    assert (await change(api, here, NEW, "another lantern under plums")).status_code == 204
    async with db.connection() as connection:
        rows = await connection.fetch("SELECT action FROM audit WHERE subject = $1 ORDER BY id", patient.id)
    assert [row["action"] for row in rows if row["action"].startswith("account.")] == [
        "account.ask_for_reset",
        "account.reset_password",
        "account.change_password",
    ]


async def test_a_reset_leaves_the_second_factor_in_place(
    api: httpx.AsyncClient, outbox: Outbox, db: Database, make_patient: MakePatient, people: People
) -> None:
    patient = await people.with_factor(await with_password(db, make_patient))
    assert (await reset(api, await asked(api, outbox, patient.email))).status_code == 200
    answer = await log_in(api, patient.email, NEW)
    assert (answer.status_code, answer.json()["status"]) == (200, "mfa_required")


async def test_whoever_guesses_the_present_password_has_to_wait_longer_and_longer(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    patient = await with_password(db, make_patient)
    here = (await log_in(api, patient.email)).json()
    answers = [await change(api, here, f"wrong {number}") for number in range(12)]
    assert answers[0].status_code == 401
    assert (answers[-1].status_code, answers[-1].json()["code"]) == (429, "rate_limited")
    assert int(answers[-1].headers["retry-after"]) > 0
    async with db.connection() as connection:
        refused = await connection.fetchval(
            "SELECT count(*) FROM audit WHERE subject = $1 AND action = $2 AND outcome = 'refused'",
            patient.id,
            "account.show_password",
        )
    assert refused == sum(answer.status_code == 401 for answer in answers)
