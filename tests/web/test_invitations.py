"""Staff are invited: the mail, the link, the account."""

import asyncio
import re
from typing import Any

import httpx
import pytest

from amrutam.domain.common import Role
from amrutam.storage.pool import Database
from tests.people import People, Person
from tests.web.accounts import PASSWORD, Outbox, bearer, log_in, new_address, register, token_in, verify

NAME = "Dr Kavya Menon"
# Of links that nobody may have; as long as a real one.
NO_TOKEN = "n" * 43


@pytest.fixture(scope="module")
async def admin(people: People) -> Person:
    """Has just shown a second factor."""
    return await people.with_factor(await people.staff(Role.ADMIN))


async def invite(
    api: httpx.AsyncClient, admin: Person, email: str, *roles: str, key: str | None = None
) -> httpx.Response:
    """Ask for a mail to somebody."""
    said = {"email": email, "full_name": NAME, "roles": list(roles)}
    return await api.post("/v1/admin/invitations", json=said, headers=admin.writing(key))


async def invited(api: httpx.AsyncClient, admin: Person, outbox: Outbox, *roles: str) -> tuple[str, str]:
    """A new address, and the token of the link that was mailed to it."""
    email = new_address()
    answer = await invite(api, admin, email, *roles)
    assert answer.status_code == 201, answer.text
    [mail] = await outbox(email)
    return email, token_of(mail)


def token_of(mail: dict[str, Any]) -> str:
    """Of the link in a mail."""
    found = re.search(r"/invitation\?token=([\w-]+)", mail["text"])
    assert found, mail
    return found[1]


async def accept(api: httpx.AsyncClient, token: str, **said: Any) -> httpx.Response:
    """Use the link."""
    return await api.post("/v1/auth/invitations/accept", json={"token": token, "password": PASSWORD, **said})


def refused_at(answer: httpx.Response) -> list[str]:
    """Which fields were wrong."""
    assert answer.status_code == 422, answer.text
    return [fault["pointer"] for fault in answer.json()["errors"]]


async def test_an_invited_person_chooses_a_password_and_signs_in_with_the_roles_that_were_given(
    api: httpx.AsyncClient, admin: Person, outbox: Outbox, db: Database
) -> None:
    email, token = await invited(api, admin, outbox, "support", "admin")
    answer = await accept(api, token, full_name="Kavya Menon")
    assert (answer.status_code, answer.json()) == (200, {"status": "accepted", "email": email})
    tokens = (await log_in(api, email)).json()
    account = (await api.get("/v1/me", headers=bearer(tokens))).json()
    assert (account["roles"], account["full_name"]) == (["admin", "support"], "Kavya Menon")
    async with db.connection() as connection:
        rows = await connection.fetch(
            "SELECT action FROM audit WHERE actor_id = $1 OR subject = $1 ORDER BY id", account["id"]
        )
    assert rows[0]["action"] == "staff.accept_invitation"


async def test_the_answer_tells_until_when_the_link_is_good_and_never_the_link(
    api: httpx.AsyncClient, admin: Person, outbox: Outbox, db: Database
) -> None:
    email = new_address()
    answer = await invite(api, admin, email.upper(), "support")
    body = answer.json()
    assert body.keys() == {"id", "email", "full_name", "roles", "expires_at"}
    assert (body["email"], body["roles"], body["full_name"]) == (email, ["support"], NAME)
    [mail] = await outbox(email)
    assert mail["subject"] == "You are invited to Amrutam"
    assert token_of(mail) not in answer.text
    async with db.connection() as connection:
        event = await connection.fetchval("SELECT data::text FROM events WHERE subject = $1", body["id"])
    assert email not in event


async def test_a_doctor_who_was_invited_has_a_profile_to_fill_in(
    api: httpx.AsyncClient, admin: Person, outbox: Outbox
) -> None:
    email, token = await invited(api, admin, outbox, "doctor")
    assert (await accept(api, token, time_zone="Asia/Kolkata")).status_code == 200
    headers = bearer((await log_in(api, email)).json())
    profile = (await api.get("/v1/doctors/me", headers=headers)).json()
    assert (profile["full_name"], profile["time_zone"], profile["verified"]) == (NAME, "Asia/Kolkata", False)


async def test_a_link_is_good_once_however_many_use_it_at_once(
    api: httpx.AsyncClient, admin: Person, outbox: Outbox
) -> None:
    _, token = await invited(api, admin, outbox, "support")
    answers = await asyncio.gather(*(accept(api, token) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 422, 422, 422, 422]
    assert refused_at(await accept(api, token)) == ["/token"]


async def test_a_later_link_voids_the_one_before_and_an_old_one_is_good_no_more(
    api: httpx.AsyncClient, admin: Person, outbox: Outbox, db: Database
) -> None:
    email, first = await invited(api, admin, outbox, "support")
    await invite(api, admin, email, "support")
    second = token_of((await outbox(email, 2))[0])
    assert refused_at(await accept(api, first)) == ["/token"]
    async with db.connection() as connection:
        await connection.execute("UPDATE invitations SET expires_at = now() WHERE email = $1", email)
    assert refused_at(await accept(api, second)) == ["/token"]
    assert refused_at(await accept(api, NO_TOKEN)) == ["/token"]


async def test_a_password_that_is_refused_does_not_use_the_link_up(
    api: httpx.AsyncClient, admin: Person, outbox: Outbox
) -> None:
    _, token = await invited(api, admin, outbox, "support")
    assert refused_at(await accept(api, token, password="password1")) == ["/password"]
    assert refused_at(await accept(api, token, password=f"{NAME}7")) == ["/password"]
    assert refused_at(await accept(api, token, time_zone="Mars/Olympus")) == ["/time_zone"]
    assert (await accept(api, token)).status_code == 200


async def test_whoever_registered_an_invited_address_before_gains_nothing_by_it(
    api: httpx.AsyncClient, admin: Person, outbox: Outbox
) -> None:
    email = new_address()
    await register(api, email, password="a stranger's own choice", full_name="Mallory")
    old_link = token_in((await outbox(email))[0])
    await invite(api, admin, email, "admin")
    assert (await accept(api, token_of((await outbox(email, 2))[0]))).status_code == 200
    assert (await verify(api, old_link)).status_code == 422
    assert (await log_in(api, email, "a stranger's own choice")).status_code == 401
    account = (await api.get("/v1/me", headers=bearer((await log_in(api, email)).json()))).json()
    assert (account["roles"], account["full_name"]) == (["admin"], NAME)


async def test_an_address_with_an_account_is_not_invited(
    api: httpx.AsyncClient, admin: Person, people: People, outbox: Outbox
) -> None:
    answer = await invite(api, admin, (await people.patient()).email, "support")
    assert (answer.status_code, answer.json()["code"]) == (409, "invalid_state")

    email, token = await invited(api, admin, outbox, "support")
    await register(api, email)
    await verify(api, token_in((await outbox(email, 2))[0]))
    answer = await accept(api, token)
    assert (answer.status_code, answer.json()["code"]) == (409, "invalid_state")


async def test_the_same_request_sends_one_mail_and_needs_a_key(
    api: httpx.AsyncClient, admin: Person, outbox: Outbox
) -> None:
    email, key = new_address(), admin.writing()["Idempotency-Key"]
    first, second = [await invite(api, admin, email, "support", key=key) for _ in range(2)]
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert second.headers["idempotency-replayed"] == "true"
    assert len(await outbox(email)) == 1
    answer = await api.post("/v1/admin/invitations", json={}, headers=admin.headers)
    assert answer.status_code in {400, 422}


@pytest.mark.parametrize("roles", [[], ["patient"], ["support", "support"], ["owner"]])
async def test_only_staff_are_invited(api: httpx.AsyncClient, admin: Person, roles: list[str]) -> None:
    assert {pointer.split("/")[1] for pointer in refused_at(await invite(api, admin, new_address(), *roles))} == {
        "roles"
    }


async def test_inviting_needs_a_factor_that_was_just_shown(api: httpx.AsyncClient, people: People) -> None:
    answer = await invite(api, await people.staff(Role.ADMIN), new_address(), "support")
    assert (answer.status_code, answer.json()["code"]) == (403, "mfa_enrollment_required")
