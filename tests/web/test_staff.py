"""Administrators find accounts, give roles, suspend, and take a suspension back."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx
import pytest

from amrutam.domain.common import Role
from amrutam.domain.errors import InvalidState
from amrutam.domain.staff import AccountStatus
from amrutam.storage import staff
from amrutam.storage.pool import Database
from tests.people import People, Person
from tests.storage.waiting import someone_waits
from tests.web.accounts import bearer, log_in, new_address, refresh, register, with_password
from tests.web.factors import challenged, code, verify

MakePatient = Callable[[], Awaitable[Person]]


@pytest.fixture(scope="module")
async def admin(people: People) -> Person:
    """Has just shown a second factor."""
    return await people.with_factor(await people.staff(Role.ADMIN))


async def seen(api: httpx.AsyncClient, admin: Person, user_id: UUID) -> httpx.Response:
    """An account as the administrator sees it."""
    answer = await api.get(f"/v1/admin/users/{user_id}", headers=admin.headers)
    assert answer.status_code == 200, answer.text
    return answer


async def change(api: httpx.AsyncClient, admin: Person, user_id: UUID, **said: Any) -> httpx.Response:
    """Read it, then say something else of it."""
    tag = (await seen(api, admin, user_id)).headers["etag"]
    headers = {**admin.headers, "If-Match": tag}
    return await api.patch(f"/v1/admin/users/{user_id}", json=said, headers=headers)


async def found(api: httpx.AsyncClient, admin: Person, **query: Any) -> list[UUID]:
    """Who is listed."""
    answer = await api.get("/v1/admin/users", params=query, headers=admin.headers)
    assert answer.status_code == 200, answer.text
    return [UUID(each["id"]) for each in answer.json()["items"]]


async def acts(db: Database, subject: UUID) -> list[str]:
    """What was done to somebody, in order."""
    async with db.connection() as connection:
        rows = await connection.fetch("SELECT action FROM audit WHERE subject = $1 ORDER BY id", subject)
    return [row["action"] for row in rows]


async def test_an_administrator_finds_accounts_by_role_name_address_and_status(
    api: httpx.AsyncClient, admin: Person, people: People
) -> None:
    patient, support = await people.patient(), await people.staff(Role.SUPPORT)
    part = patient.email.partition("@")[0][-12:]
    assert await found(api, admin, q=part) == [patient.id]
    assert await found(api, admin, q=part.upper(), role="patient", status="active") == [patient.id]
    assert await found(api, admin, q=part, role="support") == await found(api, admin, q=part, status="suspended") == []
    assert support.id in await found(api, admin, role="support")
    assert await found(api, admin, q="%%") == []


async def test_pages_of_accounts_follow_each_other(api: httpx.AsyncClient, admin: Person, people: People) -> None:
    made = {(await people.staff(Role.SUPPORT)).id for _ in range(3)}
    query: dict[str, Any] = {"role": "support", "limit": 2}
    listed, cursor = list[UUID](), None
    while not made <= set(listed):
        page = (await api.get("/v1/admin/users", params=query, headers=admin.headers)).json()
        listed += [UUID(each["id"]) for each in page["items"]]
        cursor = query["cursor"] = page["next_cursor"]
        assert cursor
    assert listed == sorted(set(listed), reverse=True)
    answer = await api.get("/v1/admin/users", params={"role": "doctor", "cursor": cursor}, headers=admin.headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")


async def test_what_an_administrator_sees_holds_nothing_that_is_sealed(
    api: httpx.AsyncClient, admin: Person, people: People
) -> None:
    answer = await seen(api, admin, (await people.patient()).id)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json().keys() == {
        "id",
        "email",
        "full_name",
        "roles",
        "status",
        "email_verified",
        "mfa_enabled",
        "created_at",
        "version",
    }


async def test_looking_at_patients_is_noted_on_each_of_them(
    api: httpx.AsyncClient, admin: Person, people: People, db: Database
) -> None:
    patient = await people.patient()
    await found(api, admin, q=patient.email)
    await seen(api, admin, patient.id)
    log = (await api.get("/v1/me/access-log", headers=patient.headers)).json()["items"]
    assert [each["action"] for each in log] == ["user.read", "user.list"]
    assert await acts(db, admin.id) != []


async def test_other_roles_hold_from_the_next_request_on_and_sign_nobody_out(
    api: httpx.AsyncClient, admin: Person, people: People, db: Database
) -> None:
    person = await with_password(db, lambda: people.staff(Role.SUPPORT))
    tokens = (await log_in(api, person.email)).json()
    answer = await change(api, admin, person.id, roles=["support", "admin"], reason="covers for Ada")
    assert (answer.status_code, answer.json()["roles"]) == (200, ["admin", "support"])
    answer = await api.get("/v1/me", headers=bearer(tokens))
    assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")
    fresh = (await refresh(api, tokens["refresh_token"])).json()
    assert (await api.get("/v1/admin/users", headers=bearer(fresh))).status_code == 200

    await change(api, admin, person.id, roles=["support"])
    assert (await api.get("/v1/admin/users", headers=bearer(fresh))).json()["code"] == "token_expired"
    again = (await refresh(api, fresh["refresh_token"])).json()
    assert (await api.get("/v1/admin/users", headers=bearer(again))).json()["code"] == "forbidden"
    assert (await acts(db, person.id)).count("user.change_roles") == 2


async def test_a_suspension_ends_every_session_and_lets_nobody_in_until_it_is_taken_back(
    api: httpx.AsyncClient, admin: Person, people: People, db: Database
) -> None:
    person = await with_password(db, people.patient)
    tokens = (await log_in(api, person.email)).json()
    answer = await change(api, admin, person.id, status="suspended")
    assert (answer.status_code, answer.json()["status"]) == (200, "suspended")
    assert (await api.get("/v1/me", headers=bearer(tokens))).status_code == 401
    assert (await refresh(api, tokens["refresh_token"])).status_code == 401
    answer = await log_in(api, person.email)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (await log_in(api, person.email, "not the password")).status_code == 401
    assert person.id in await found(api, admin, status="suspended", q=person.email)

    assert (await change(api, admin, person.id, status="active")).status_code == 200
    assert (await log_in(api, person.email)).status_code == 200
    assert [each for each in await acts(db, person.id) if each.startswith("user.s") or each == "user.reactivate"] == [
        "user.suspend",
        "user.reactivate",
    ]


async def test_whoever_is_between_password_and_code_when_suspended_does_not_get_in(
    api: httpx.AsyncClient, admin: Person, people: People, db: Database
) -> None:
    person = await people.with_factor(await with_password(db, people.patient))
    token = await challenged(api, person)
    await change(api, admin, person.id, status="suspended")
    answer = await verify(api, token, code(person.secret))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_a_doctor_who_does_not_practise_any_more_is_found_by_nobody(
    api: httpx.AsyncClient, admin: Person, people: People
) -> None:
    for said in ({"status": "suspended"}, {"roles": ["patient"]}):
        doctor = await people.doctor()
        assert (await api.get(f"/v1/doctors/{doctor.id}")).status_code == 200
        assert (await change(api, admin, doctor.id, **said)).status_code == 200
        assert (await api.get(f"/v1/doctors/{doctor.id}")).status_code == 404


async def test_whoever_becomes_a_doctor_has_a_profile_to_fill_in(
    api: httpx.AsyncClient, admin: Person, people: People
) -> None:
    person = await people.staff(Role.SUPPORT)
    for roles in (["support", "doctor"], ["support"], ["doctor"]):  # a profile that was there stays
        assert (await change(api, admin, person.id, roles=roles)).status_code == 200
    answer = await api.get("/v1/doctors/me", headers=(await people.with_factor(person)).headers)
    assert (answer.status_code, answer.json()["verified"]) == (200, False)


async def test_an_edit_needs_the_version_that_was_read_and_a_factor_that_was_just_shown(
    api: httpx.AsyncClient, admin: Person, people: People
) -> None:
    person, path = await people.staff(Role.SUPPORT), "/v1/admin/users/{}"
    said = {"status": "suspended"}
    for headers, refusal in (({}, (428, "if_match_missing")), ({"If-Match": '"v999"'}, (412, "stale"))):
        answer = await api.patch(path.format(person.id), json=said, headers={**admin.headers, **headers})
        assert (answer.status_code, answer.json()["code"]) == refusal
    without = await people.staff(Role.ADMIN)
    answer = await api.patch(path.format(person.id), json=said, headers={**without.headers, "If-Match": "*"})
    assert (answer.status_code, answer.json()["code"]) == (403, "mfa_enrollment_required")


@pytest.mark.parametrize("said", [{"roles": []}, {"roles": None}, {"roles": ["admin", "admin"]}, {"status": "gone"}])
async def test_roles_and_status_are_checked(
    api: httpx.AsyncClient, admin: Person, people: People, said: dict[str, Any]
) -> None:
    answer = await change(api, admin, (await people.staff(Role.SUPPORT)).id, **said)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


async def test_saying_what_stands_already_changes_nothing(
    api: httpx.AsyncClient, admin: Person, people: People
) -> None:
    person = await people.staff(Role.SUPPORT)
    before = await seen(api, admin, person.id)
    answer = await change(api, admin, person.id, roles=["support"], status="active")
    assert (answer.status_code, answer.json()) == (200, before.json())
    assert (await api.get("/v1/me", headers=person.headers)).status_code == 200


async def _as_the_last(db: Database, last: Person, roles: set[Role], status: AccountStatus) -> None:
    """Change the only administrator who is left; what was done is undone when that is refused."""
    async with db.transaction() as connection:
        await staff.one_at_a_time(connection)
        await connection.execute(
            "UPDATE users SET suspended_at = now() WHERE roles @> ARRAY['admin'] AND id <> $1", last.id
        )
        await staff.change(connection, last.id, roles, status)


async def test_the_last_administrator_stays_one(db: Database, people: People) -> None:
    last = await people.staff(Role.ADMIN)
    with pytest.raises(InvalidState):
        await _as_the_last(db, last, {Role.SUPPORT}, AccountStatus.ACTIVE)
    with pytest.raises(InvalidState):
        await _as_the_last(db, last, {Role.ADMIN}, AccountStatus.SUSPENDED)


async def test_two_who_take_away_administrators_wait_for_each_other(db: Database) -> None:
    async with db.transaction() as first:
        await staff.one_at_a_time(first)

        async def second() -> None:
            async with db.transaction() as connection:
                await staff.one_at_a_time(connection)

        waiting = asyncio.create_task(second())
        await someone_waits(db, "amrutam.administrators")
        assert not waiting.done()
    await waiting


async def test_an_unconfirmed_registration_is_seen_as_such(api: httpx.AsyncClient, admin: Person) -> None:
    email = new_address()
    await register(api, email)
    [user_id] = await found(api, admin, q=email)
    assert (await seen(api, admin, user_id)).json()["email_verified"] is False
