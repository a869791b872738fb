"""Invitations that were not accepted yet: who sees and withdraws them, and what ends with the right to invite."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest

from amrutam.domain.common import Role
from amrutam.storage.pool import Database
from tests.people import People, Person
from tests.storage.waiting import someone_waits
from tests.web.accounts import Outbox, new_address
from tests.web.test_invitations import accept, invite, invited, refused_at, token_of


@pytest.fixture(scope="module")
async def admin(people: People) -> Person:
    """Has just shown a second factor."""
    return await people.with_factor(await people.staff(Role.ADMIN))


async def change(api: httpx.AsyncClient, admin: Person, user_id: UUID, **said: Any) -> None:
    """Of somebody's account."""
    headers = {**admin.headers, "If-Match": "*"}
    answer = await api.patch(f"/v1/admin/users/{user_id}", json=said, headers=headers)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("lost", "back"),
    [
        ({"status": "suspended"}, {"status": "active"}),
        ({"roles": ["support"]}, {"roles": ["admin"]}),
    ],
)
async def test_what_somebody_invited_is_void_with_their_right_to_invite_and_stays_so(
    api: httpx.AsyncClient,
    admin: Person,
    people: People,
    outbox: Outbox,
    db: Database,
    lost: dict[str, Any],
    back: dict[str, Any],
) -> None:
    eve = await people.with_factor(await people.staff(Role.ADMIN))
    email, token = await invited(api, eve, outbox, "admin")
    _, admins = await invited(api, admin, outbox, "support")
    await change(api, admin, eve.id, **lost)
    assert refused_at(await accept(api, token)) == ["/token"]
    await change(api, admin, eve.id, **back)
    assert refused_at(await accept(api, token)) == ["/token"]
    assert (await accept(api, admins)).status_code == 200
    async with db.connection() as connection:
        noted = await connection.fetch(
            """SELECT a.actor_id, a.action FROM audit a JOIN invitations i ON i.id = a.subject WHERE i.email = $1
               ORDER BY a.id""",
            email,
        )
    assert [tuple(row) for row in noted] == [(eve.id, "staff.invite"), (admin.id, "staff.withdraw_invitation")]


async def test_another_role_beside_leaves_an_administrators_invitations_as_they_are(
    api: httpx.AsyncClient, admin: Person, people: People, outbox: Outbox
) -> None:
    eve = await people.with_factor(await people.staff(Role.ADMIN))
    _, token = await invited(api, eve, outbox, "support")
    await change(api, admin, eve.id, roles=["admin", "support"])
    assert (await accept(api, token)).status_code == 200


@pytest.mark.parametrize(
    "befalls",
    ["UPDATE users SET suspended_at = now() WHERE id = $1", "UPDATE users SET roles = ARRAY['support'] WHERE id = $1"],
)
async def test_accepting_asks_whether_who_invited_still_may(
    api: httpx.AsyncClient, people: People, outbox: Outbox, db: Database, befalls: str
) -> None:
    eve = await people.with_factor(await people.staff(Role.ADMIN))
    _, token = await invited(api, eve, outbox, "admin")
    async with db.connection() as connection:
        await connection.execute(befalls, eve.id)
    assert refused_at(await accept(api, token)) == ["/token"]


async def test_who_is_suspended_while_they_invite_has_invited_nobody(
    api: httpx.AsyncClient, people: People, db: Database
) -> None:
    eve, email = await people.with_factor(await people.staff(Role.ADMIN)), new_address()
    async with db.transaction() as connection:
        await connection.execute("UPDATE users SET suspended_at = now() WHERE id = $1", eve.id)
        asked = asyncio.create_task(invite(api, eve, email, "admin"))
        await someone_waits(db, "FOR SHARE")
    answer = await asked
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    async with db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM invitations WHERE email = $1", email) == 0


async def opened(api: httpx.AsyncClient, admin: Person) -> dict[str, dict[str, Any]]:
    """Every open invitation by its address, from pages of two."""
    found, query = dict[str, dict[str, Any]](), dict[str, Any](limit=2)
    while True:
        answer = await api.get("/v1/admin/invitations", params=query, headers=admin.headers)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found |= {each["email"]: each for each in page["items"]}
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]


async def test_open_invitations_are_listed_with_who_sent_them(
    api: httpx.AsyncClient, admin: Person, outbox: Outbox, db: Database
) -> None:
    made = [await invited(api, admin, outbox, "support") for _ in range(3)]
    listed = await opened(api, admin)
    assert {email for email, _ in made} <= listed.keys()
    first = listed[made[0][0]]
    assert first.keys() == {"id", "email", "roles", "invited_by", "expires_at"}
    assert (first["roles"], first["invited_by"]) == (["support"], str(admin.id))
    assert [each["id"] for each in listed.values()] == sorted((each["id"] for each in listed.values()), reverse=True)
    await accept(api, made[0][1])
    async with db.connection() as connection:
        await connection.execute("UPDATE invitations SET expires_at = now() WHERE email = $1", made[1][0])
        noted = await connection.fetchval(
            "SELECT count(*) FROM audit WHERE actor_id = $1 AND action = 'staff.list_invitations'", admin.id
        )
    assert noted > 0
    assert {email for email, _ in made} & (await opened(api, admin)).keys() == {made[2][0]}


async def test_an_invitation_that_is_withdrawn_leads_nowhere_and_another_can_be_sent(
    api: httpx.AsyncClient, admin: Person, outbox: Outbox, db: Database
) -> None:
    email, token = await invited(api, admin, outbox, "support")
    path = f"/v1/admin/invitations/{(await opened(api, admin))[email]['id']}"
    assert (await api.delete(path, headers=admin.headers)).status_code == 204
    assert refused_at(await accept(api, token)) == ["/token"]
    assert email not in await opened(api, admin)
    assert (await api.delete(path, headers=admin.headers)).json()["code"] == "not_found"
    async with db.connection() as connection:
        noted = await connection.fetch(
            "SELECT actor_id FROM audit WHERE subject = $1 AND action = 'staff.withdraw_invitation'",
            UUID(path.rpartition("/")[2]),
        )
    assert [row["actor_id"] for row in noted] == [admin.id]
    await invite(api, admin, email, "support")
    assert (await accept(api, token_of((await outbox(email, 2))[0]))).status_code == 200
