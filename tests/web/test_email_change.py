"""Another address for an account: nothing changes before both mailboxes have agreed."""

import asyncio
from typing import Any

import httpx
import pytest

from amrutam.storage.pool import Database
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
from tests.web.test_passwords import asked, link_in, mail_about, reset

ASKED = "Do you want to change your address?"
OFFERED = "Confirm your new address"


class Mover:
    """Somebody who has asked for another address, and the tokens that both mailboxes got."""

    def __init__(self, old: str, new: str, session: dict[str, Any]) -> None:
        self.old, self.new, self.session = old, new, session
        self.from_old = self.from_new = ""


async def change(api: httpx.AsyncClient, who: dict[str, Any], email: str, password: str = PASSWORD) -> httpx.Response:
    """Ask for another address."""
    said = {"email": email, "password": password}
    return await api.post("/v1/auth/email/change", json=said, headers=bearer(who))


async def confirm(api: httpx.AsyncClient, token: str, **said: Any) -> httpx.Response:
    """Answer one of the mails."""
    return await api.post("/v1/auth/email/confirm", json={"token": token, **said})


@pytest.fixture
async def mover(api: httpx.AsyncClient, outbox: Outbox, db: Database, make_patient: MakePatient) -> Mover:
    """One who waits for both confirmations."""
    old, new = (await with_password(db, make_patient)).email, new_address()
    mover = Mover(old, new, (await log_in(api, old)).json())
    answer = await change(api, mover.session, new.upper())
    assert (answer.status_code, answer.json()) == (202, {"status": "confirmation_sent"})
    mover.from_old = link_in(await mail_about(outbox, old, ASKED), "change-email")
    mover.from_new = link_in(await mail_about(outbox, new, OFFERED), "change-email")
    return mover


async def _address(api: httpx.AsyncClient, mover: Mover) -> str:
    return (await api.get("/v1/me", headers=bearer(mover.session))).json()["email"]


@pytest.mark.parametrize("old_first", [True, False])
async def test_an_address_changes_once_both_sides_have_agreed(
    api: httpx.AsyncClient, outbox: Outbox, mover: Mover, old_first: bool
) -> None:
    first, second = (mover.from_old, mover.from_new) if old_first else (mover.from_new, mover.from_old)
    answer = await confirm(api, first)
    assert (answer.status_code, answer.json()) == (200, {"status": "half_confirmed"})
    assert await _address(api, mover) == mover.old
    assert (await log_in(api, mover.new)).status_code == 401

    assert (await confirm(api, second)).json() == {"status": "changed"}
    assert await _address(api, mover) == mover.new
    assert (await log_in(api, mover.new)).status_code == 200
    assert (await log_in(api, mover.old)).status_code == 401
    await mail_about(outbox, mover.old, "Your address was changed")


async def test_one_side_cannot_agree_for_both(api: httpx.AsyncClient, mover: Mover) -> None:
    for token in (mover.from_new, mover.from_old):
        answers = await asyncio.gather(*(confirm(api, token) for _ in range(3)))
        assert sorted(answer.status_code for answer in answers) == [200, 422, 422]
    assert await _address(api, mover) == mover.new


async def test_the_link_of_a_verification_mail_is_confirmed_in_the_same_place(
    api: httpx.AsyncClient, mover: Mover
) -> None:
    for token in (mover.from_old, mover.from_new):
        answer = await verify(api, token)
        assert (answer.status_code, answer.json()) == (200, {"status": "verified"})
    assert await _address(api, mover) == mover.new


async def test_whoever_says_from_the_old_address_that_it_was_not_them_ends_every_session(
    api: httpx.AsyncClient, mover: Mover
) -> None:
    assert (await confirm(api, mover.from_new)).status_code == 200
    assert (await confirm(api, mover.from_old, refuse=True)).json() == {"status": "refused"}
    assert (await api.get("/v1/me", headers=bearer(mover.session))).status_code == 401
    assert (await refresh(api, mover.session["refresh_token"])).status_code == 401
    assert (await confirm(api, mover.from_old)).status_code == 422
    assert (await log_in(api, mover.old)).status_code == 200


async def test_a_stranger_at_the_new_address_refuses_and_signs_nobody_out(api: httpx.AsyncClient, mover: Mover) -> None:
    assert (await confirm(api, mover.from_new, refuse=True)).json() == {"status": "refused"}
    assert (await confirm(api, mover.from_old)).status_code == 422
    assert await _address(api, mover) == mover.old


async def test_a_later_wish_takes_the_place_of_an_earlier_one(
    api: httpx.AsyncClient, outbox: Outbox, mover: Mover
) -> None:
    newer = new_address()
    assert (await change(api, mover.session, newer)).status_code == 202
    for token in (mover.from_old, mover.from_new):
        assert (await confirm(api, token)).status_code == 422
    offered = link_in(await mail_about(outbox, newer, OFFERED), "change-email")
    assert (await confirm(api, offered)).json() == {"status": "half_confirmed"}
    assert await _address(api, mover) == mover.old


async def test_a_link_that_is_too_old_changes_nothing(api: httpx.AsyncClient, db: Database, mover: Mover) -> None:
    assert (await confirm(api, mover.from_old)).status_code == 200
    async with db.connection() as connection:
        await connection.execute("UPDATE email_changes SET expires_at = now() WHERE new_email = $1", mover.new)
    assert (await confirm(api, mover.from_new)).status_code == 422
    assert await _address(api, mover) == mover.old


async def test_an_address_that_has_an_account_gets_the_same_answer_and_its_owner_a_mail(
    api: httpx.AsyncClient, outbox: Outbox, db: Database, make_patient: MakePatient
) -> None:
    owner, asking = [await with_password(db, make_patient) for _ in range(2)]
    session = (await log_in(api, asking.email)).json()
    known, unknown = await change(api, session, owner.email), await change(api, session, new_address())
    assert (known.status_code, known.content) == (unknown.status_code, unknown.content)

    [told] = await outbox(owner.email)
    assert told["subject"] == "Your address is in use"
    assert "token=" not in told["text"]
    assert asking.email not in told["text"]


async def test_an_address_that_somebody_else_confirmed_meanwhile_stays_theirs(
    api: httpx.AsyncClient, outbox: Outbox, mover: Mover
) -> None:
    await register(api, mover.new)
    mail = await mail_about(outbox, mover.new, "Confirm your email address")
    assert (await verify(api, link_in(mail, "verify-email"))).status_code == 200
    assert (await confirm(api, mover.from_old)).status_code == 200
    answer = await confirm(api, mover.from_new)
    assert (answer.status_code, answer.json()["code"]) == (409, "invalid_state")
    assert await _address(api, mover) == mover.old


async def test_nobody_keeps_an_address_from_its_owner_by_registering_it_first(
    api: httpx.AsyncClient, outbox: Outbox, mover: Mover
) -> None:
    await register(api, mover.new, password="the stranger's password")
    squatters = await mail_about(outbox, mover.new, "Confirm your email address")
    for token in (mover.from_old, mover.from_new):
        assert (await confirm(api, token)).status_code == 200
    assert await _address(api, mover) == mover.new
    assert (await verify(api, link_in(squatters, "verify-email"))).status_code == 422
    assert (await log_in(api, mover.new, "the stranger's password")).status_code == 401


async def test_a_wrong_password_or_the_present_address_changes_nothing(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    email, wanted = (await with_password(db, make_patient)).email, new_address()
    session = (await log_in(api, email)).json()
    answer = await change(api, session, wanted, "wrong password")
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")
    answer = await change(api, session, email)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/email")
    async with db.connection() as connection:
        assert not await connection.fetchval("SELECT count(*) FROM email_changes WHERE old_email = $1", email)


async def test_nobody_has_mails_sent_to_many_strangers(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    session = (await log_in(api, (await with_password(db, make_patient)).email)).json()
    answers = [await change(api, session, new_address()) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 202, 202, 429]
    assert answers[-1].json()["code"] == "rate_limited"
    assert int(answers[-1].headers["retry-after"]) > 0


async def test_a_reset_voids_the_links_of_a_change(api: httpx.AsyncClient, outbox: Outbox, mover: Mover) -> None:
    """Whoever asked for the change may be the reason for the reset."""
    assert (await reset(api, await asked(api, outbox, mover.old))).status_code == 200
    for token in (mover.from_old, mover.from_new):
        assert (await confirm(api, token)).status_code == 422


async def test_a_change_voids_a_reset_that_lies_in_the_old_mailbox(
    api: httpx.AsyncClient, outbox: Outbox, mover: Mover
) -> None:
    link = await asked(api, outbox, mover.old)
    for token in (mover.from_old, mover.from_new):
        assert (await confirm(api, token)).status_code == 200
    assert (await reset(api, link)).status_code == 422


async def test_a_mail_to_the_new_address_holds_no_word_of_whoever_asked(outbox: Outbox, mover: Mover) -> None:
    mail = await mail_about(outbox, mover.new, OFFERED)
    assert "Asha" not in mail["text"] + mail["subject"]
    assert mover.old not in mail["text"]


async def test_a_change_is_audited_and_its_tokens_and_addresses_are_in_no_event(
    api: httpx.AsyncClient, db: Database, mover: Mover
) -> None:
    for token in (mover.from_old, mover.from_new):
        await confirm(api, token)
    async with db.connection() as connection:
        user_id = await connection.fetchval("SELECT id FROM users WHERE email = $1", mover.new)
        rows = await connection.fetch("SELECT action FROM audit WHERE subject = $1 ORDER BY id", user_id)
        told = await connection.fetch("SELECT data::text FROM events WHERE subject = $1", user_id)
        stored = await connection.fetch("SELECT c::text FROM email_changes c WHERE user_id = $1", user_id)
    assert [row["action"] for row in rows if row["action"].startswith("account.")] == [
        "account.ask_for_email_change",
        "account.confirm_email_change",
        "account.confirm_email_change",
        "account.change_email",
    ]
    for secret in (mover.from_old, mover.from_new):
        assert secret not in str(told) + str(stored)
    for address in (mover.old, mover.new):
        assert address not in str(told)
