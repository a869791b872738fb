"""Registering again: what a link puts into force, and that no answer tells whether an address has an account."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from amrutam.domain.limits import HERE
from amrutam.storage.pool import Database
from tests.web.accounts import (
    MakePatient,
    Outbox,
    bearer,
    log_in,
    new_address,
    register,
    said,
    token_in,
    verify,
    with_password,
)
from web import links


async def test_a_known_address_gets_the_same_answer_and_its_owner_a_mail(
    api: httpx.AsyncClient, outbox: Outbox, db: Database, make_patient: MakePatient
) -> None:
    owner = await with_password(db, make_patient)
    fresh = await register(api, new_address())
    known = await register(api, owner.email, password="another password", full_name="Buy cheap pills")

    assert said(known) == said(fresh)
    [mail] = await outbox(owner.email)
    assert mail["subject"] == "You already have an account"
    assert "token=" not in mail["text"]
    assert "pills" not in mail["text"]
    assert (await log_in(api, owner.email)).status_code == 200
    assert (await log_in(api, owner.email, "another password")).status_code == 403


async def test_a_mail_to_an_unconfirmed_address_holds_no_word_of_whoever_asked_for_it(
    api: httpx.AsyncClient, outbox: Outbox
) -> None:
    email = new_address()
    await register(api, email, full_name="Visit http://evil.test")
    [mail] = await outbox(email)
    assert "evil" not in mail["text"] + mail["subject"]


async def test_a_link_puts_the_password_of_its_own_registration_into_force(
    api: httpx.AsyncClient, outbox: Outbox
) -> None:
    email = new_address()
    await register(api, email, password="the stranger's password", full_name="A Stranger")
    [strangers] = await outbox(email)
    await register(api, email)
    owners, _ = await outbox(email, 2)

    assert (await verify(api, token_in(owners))).status_code == 200
    assert (await log_in(api, email, "the stranger's password")).status_code == 401
    tokens = (await log_in(api, email)).json()
    assert (await api.get("/v1/me", headers=bearer(tokens))).json()["full_name"] == "Asha Rao"
    assert (await verify(api, token_in(strangers))).status_code == 422


async def test_a_link_puts_into_force_what_its_own_registration_said_and_nothing_of_a_later_one(
    api: httpx.AsyncClient, outbox: Outbox, db: Database
) -> None:
    email = new_address()
    first = {"phone": "+919876543210", "address": "12 MG Road", "date_of_birth": "1990-04-01", "locale": "hi-IN"}
    await register(api, email, **first)
    [owners] = await outbox(email)
    stranger = {"phone": "+919999999999", "sex": "male", "time_zone": "Asia/Tokyo"}
    await register(api, email, password="the stranger's password", full_name="Mallory", role="doctor", **stranger)
    async with db.connection() as connection:
        row = await connection.fetchrow("SELECT full_name, roles, sex FROM users WHERE email = $1", email)
    assert row
    assert tuple(row) == ("Asha Rao", ["patient"], None)

    assert (await verify(api, token_in(owners))).status_code == 200
    me = (await api.get("/v1/me", headers=bearer((await log_in(api, email)).json()))).json()
    assert {name: me[name] for name in first} == first
    assert (me["full_name"], me["roles"], me["sex"], me["time_zone"]) == ("Asha Rao", ["patient"], None, "UTC")
    assert await _doctors(db, email) == 0


async def test_a_later_link_puts_its_own_registration_into_force_with_role_and_sealed_fields(
    api: httpx.AsyncClient, outbox: Outbox, db: Database
) -> None:
    email = new_address()
    await register(api, email, password="the stranger's password", full_name="Mallory", phone="+919999999999")
    await register(api, email, full_name="Dr Meera Iyer", role="doctor", address="12 MG Road", time_zone="Asia/Kolkata")
    later, earlier = await outbox(email, 2)
    assert "account of a doctor" in later["text"]
    assert "account of a patient" in earlier["text"]

    assert (await verify(api, token_in(later))).status_code == 200
    me = (await api.get("/v1/me", headers=bearer((await log_in(api, email)).json()))).json()
    assert (me["full_name"], me["roles"], me["time_zone"]) == ("Dr Meera Iyer", ["doctor"], "Asia/Kolkata")
    assert (me["address"], me["phone"]) == ("12 MG Road", None)
    assert await _doctors(db, email) == 1
    async with db.connection() as connection:
        assert await connection.fetchval("SELECT phone_index FROM users WHERE email = $1", email) is None


async def _doctors(db: Database, email: str) -> int:
    async with db.connection() as connection:
        return await connection.fetchval("SELECT count(*) FROM doctors JOIN users USING (id) WHERE email = $1", email)


@pytest.mark.parametrize("path", ["/v1/auth/verify-email/resend", "/v1/auth/password/forgot"])
async def test_asking_for_another_mail_sends_the_first_registration_and_not_a_strangers(
    api: httpx.AsyncClient, outbox: Outbox, path: str
) -> None:
    email = new_address()
    await register(api, email)
    await register(api, email, password="the stranger's password", full_name="Mallory", role="doctor")
    await api.post(path, json={"email": email})
    newest, *_ = await outbox(email, 3)
    assert (await verify(api, token_in(newest))).status_code == 200
    me = (await api.get("/v1/me", headers=bearer((await log_in(api, email)).json()))).json()
    assert (me["full_name"], me["roles"]) == ("Asha Rao", ["patient"])


async def test_what_a_registration_said_lies_sealed_with_its_link(api: httpx.AsyncClient, db: Database) -> None:
    email = new_address()
    await register(api, email, phone="+919876543210", address="12 MG Road")
    async with db.connection() as connection:
        rows = await connection.fetch(
            "SELECT t.* FROM email_tokens t JOIN users u ON u.id = t.user_id WHERE u.email = $1", email
        )
    [sealed] = [row["profile"] for row in rows if row["profile"]]
    for plain in (b"9876543210", b"MG Road", b"Asha"):
        assert plain not in sealed


async def test_registering_and_signing_in_tells_nobody_whether_an_address_has_an_account(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    """Whatever a stranger registers and then tries, the answers are those of an address that nobody has."""
    answers: list[list[Any]] = []
    for email in ((await with_password(db, make_patient)).email, new_address()):
        await register(api, email, password="a stranger's first choice")
        once = await log_in(api, email, "a stranger's first choice")
        await register(api, email, password="a stranger's second choice")
        await api.post("/v1/auth/verify-email/resend", json={"email": email})
        passwords = ("a stranger's first choice", "a stranger's second choice", "neither")
        answers.append([said(once), *[said(await log_in(api, email, password)) for password in passwords]])
    assert answers[0] == answers[1]
    assert [status for status, _ in answers[0]] == [403, 401, 403, 401]


async def test_a_strangers_password_goes_on_being_answered_alike_after_the_owner_confirmed(
    api: httpx.AsyncClient, outbox: Outbox
) -> None:
    email = new_address()
    await register(api, email)
    [owners] = await outbox(email)
    await register(api, email, password="a stranger's own choice")
    before = await log_in(api, email, "a stranger's own choice")
    assert (await verify(api, token_in(owners))).status_code == 200
    after = await log_in(api, email, "a stranger's own choice")
    assert said(before) == said(after)
    assert after.json()["code"] == "email_unverified"
    assert (await log_in(api, email)).status_code == 200


async def test_a_password_that_a_stranger_registered_takes_no_wrong_guesses_back(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    email = (await with_password(db, make_patient)).email
    await register(api, email, password="a stranger's own choice")
    for _ in range(HERE.allowance):
        await log_in(api, email, "a stranger's own choice")
    await log_in(api, email, "wrong")
    assert (await log_in(api, email, "wrong")).status_code == 429


async def test_every_refusal_to_sign_in_takes_the_same_time(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    known = (await with_password(db, make_patient)).email
    await register(api, known, password="a stranger's own choice")
    tries = ((known, "wrong"), (known, "a stranger's own choice"), (new_address(), "wrong"))
    for email, password in tries:
        started = time.perf_counter()
        await log_in(api, email, password)
        assert time.perf_counter() - started >= links.EVEN_SECONDS


@pytest.mark.parametrize("known", [True, False], ids=["an account", "nobody's address"])
async def test_whoever_registers_an_address_again_and_again_fills_nobodys_mailbox(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient, known: bool
) -> None:
    email = (await make_patient()).email if known else new_address()
    answers = [await register(api, email) for _ in range(links.MOST_LIVE + 3)]
    assert len({str(said(answer)) for answer in answers}) == 1
    async with db.connection() as connection:
        mails = await connection.fetchval(
            """SELECT count(*) FROM events JOIN users ON users.id = subject
               WHERE email = $1 AND type IN ('account.verification_requested', 'account.registration_repeated')""",
            email,
        )
        remembered = await connection.fetchval(
            "SELECT count(*) FROM email_tokens t JOIN users u ON u.id = user_id WHERE email = $1 AND profile IS NULL",
            email,
        )
    assert (mails, remembered) == (links.MOST_LIVE, 1)


async def test_two_registrations_at_once_leave_one_account(
    api: httpx.AsyncClient, outbox: Outbox, db: Database
) -> None:
    email = new_address()
    answers = await asyncio.gather(*(register(api, email) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {202}
    async with db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM users WHERE email = $1", email) == 1
    mails = await outbox(email, 4)
    answers = await asyncio.gather(*(verify(api, token_in(mail)) for mail in mails))
    assert sorted(answer.status_code for answer in answers) == [200, 422, 422, 422]
