"""Whose: every route that names something, by every role, by owner or stranger; and every list, by owner or stranger.

`test_access.py` walks every route by every role. A route that names something, or lists things, and is in no table here
fails; so does one whose rule says nothing.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import httpx
import pytest

from amrutam.domain.common import Role
from amrutam.ids import new_id
from amrutam.storage.pool import Database
from tests.people import People, Person
from tests.visits import completed_visit
from tests.web import paying
from tests.web.mounted import ROUTES, name
from tests.web.slots import book, free_times
from web.routing import Route


class Side(Enum):
    """Who asks."""

    OWNER = "owner"
    STRANGER = "stranger"


@dataclass(frozen=True)
class World:
    """Where things are made."""

    api: httpx.AsyncClient
    people: People
    db: Database
    environment: Mapping[str, str]
    staff: list[Person] = field(default_factory=list[Person])

    async def one(self, role: Role) -> Person:
        """Somebody new, who has just shown a second factor."""
        if role is Role.DOCTOR:
            return await self.people.with_factor(await self.people.doctor())
        self.staff.append(await self.people.staff(role))
        return await self.people.with_factor(self.staff[-1])


@dataclass(frozen=True)
class Thing:
    """What a route names, and who of the wanted role may have it."""

    id: str
    owner: Person
    body: Mapping[str, Any] | None = None  # of a request that names it
    refund_id: str = ""


Maker = Callable[[World, Role], Awaitable[Thing]]


async def _session(world: World, role: Role) -> Thing:
    owner = await world.one(role)
    items = (await world.api.get("/v1/auth/sessions", headers=owner.headers)).json()["items"]
    return Thing(next(item["id"] for item in items if not item["current"]), owner)


async def _leave(world: World, role: Role) -> Thing:
    owner = await world.one(role)
    said = {"starts_at": "2199-01-01T00:00:00Z", "ends_at": "2199-01-02T00:00:00Z"}
    answer = await world.api.post("/v1/doctors/me/exceptions", json=said, headers=owner.writing())
    assert answer.status_code == 201, answer.text
    return Thing(answer.json()["id"], owner)


async def _document(world: World, role: Role) -> Thing:
    owner = await world.one(Role.DOCTOR)
    pdf = b"%PDF-1.7\n%%EOF\n"
    answer = await world.api.post("/v1/doctors/me/documents", content=pdf, headers=owner.writing())
    assert answer.status_code == 201, answer.text
    return Thing(answer.json()["id"], owner if role is Role.DOCTOR else await world.one(role))


async def _booking(world: World, role: Role) -> Thing:
    patient, doctor = await world.one(Role.PATIENT), await world.one(Role.DOCTOR)
    answer = await book(world.api, patient, doctor, (await free_times(world.api, doctor))[0])
    assert answer.status_code == 201, answer.text
    parties = {Role.PATIENT: patient, Role.DOCTOR: doctor}
    return Thing(answer.json()["id"], parties[role] if role in parties else await world.one(role))


async def _movable(world: World, role: Role) -> Thing:
    patient, doctor = await world.one(Role.PATIENT), await world.one(Role.DOCTOR)
    first, second = (await free_times(world.api, doctor))[:2]
    answer = await book(world.api, patient, doctor, first)
    assert answer.status_code == 201, answer.text
    return Thing(answer.json()["id"], patient if role is Role.PATIENT else await world.one(role), {"starts_at": second})


async def _held(world: World, role: Role) -> Thing:
    patient = await world.one(role)
    doctor = await world.people.doctor(fee=paying.FEE)
    return Thing((await paying.held(world.api, patient, doctor))["id"], patient)


async def _payment(world: World, role: Role) -> Thing:
    patient, doctor = await world.one(Role.PATIENT), await world.people.doctor(fee=paying.FEE)
    booking = await paying.confirmed(world.api, world.environment, patient, doctor)
    owner = patient if role is Role.PATIENT else await world.one(role)
    return Thing(booking["payment"]["id"], owner, {"amount": 100, "reason": "The connection was bad."})


async def _paid(world: World, role: Role) -> Thing:
    patient, doctor = await world.one(role), await world.people.doctor(fee=paying.FEE)
    return Thing((await paying.confirmed(world.api, world.environment, patient, doctor))["id"], patient)


async def _proposed(world: World, role: Role) -> Thing:
    paid, colleague = await _payment(world, role), await world.one(Role.SUPPORT)
    said = {**(paid.body or {}), "amount": paying.FEE}
    answer = await world.api.post(f"/v1/payments/{paid.id}/refunds", json=said, headers=colleague.writing())
    assert (answer.status_code, answer.json()["status"]) == (201, "proposed"), answer.text
    return replace(paid, body=None, refund_id=answer.json()["id"])


async def _account(world: World, role: Role) -> Thing:
    return Thing(str((await world.one(Role.PATIENT)).id), await world.one(role))


async def _practice(world: World, role: Role) -> Thing:
    said = {"decision": "suspend", "reason": "A complaint is looked into."}
    return Thing(str((await world.one(Role.DOCTOR)).id), await world.one(role), said)


async def _invitation(world: World, role: Role) -> Thing:
    owner = await world.one(role)
    said = {"email": f"{new_id().hex}@invited.amrutam.test", "full_name": "Ravi Nair", "roles": ["support"]}
    answer = await world.api.post("/v1/admin/invitations", json=said, headers=owner.writing())
    assert answer.status_code == 201, answer.text
    return Thing(answer.json()["id"], owner)


async def _visit(world: World, role: Role) -> Thing:
    patient, doctor = await world.one(role), await world.one(Role.DOCTOR)
    booking_id = await completed_visit(world.db, patient.id, doctor.id)
    return Thing(str(doctor.id), patient, {"booking_id": str(booking_id), "stars": 4})


async def _review(world: World, role: Role) -> Thing:
    visit = await _visit(world, Role.PATIENT)
    said = {**(visit.body or {}), "text": "Kind, and on time."}
    answer = await world.api.post(f"/v1/doctors/{visit.id}/reviews", json=said, headers=visit.owner.writing())
    assert answer.status_code == 201, answer.text
    owner = visit.owner if role is Role.PATIENT else await world.one(role)
    return Thing(answer.json()["id"], owner, {"decision": "publish"} if role is not Role.PATIENT else {"stars": 5})


@dataclass(frozen=True)
class Rule:
    """How a thing is made, and which roles may have everybody's."""

    make: Maker
    everybodys: frozenset[Role] = frozenset()


_BOOKING = Rule(_booking, everybodys=frozenset({Role.SUPPORT}))
_MODERATED = Rule(_review, everybodys=frozenset({Role.SUPPORT, Role.ADMIN}))
_ACCOUNT = Rule(_account, everybodys=frozenset({Role.ADMIN}))

# Every closed route whose path names something.
NAMED: Mapping[str, Rule] = {
    "DELETE /v1/auth/sessions/{id}": Rule(_session),
    "DELETE /v1/doctors/me/exceptions/{id}": Rule(_leave),
    "DELETE /v1/doctors/me/documents/{id}": Rule(_document),
    "GET /v1/admin/documents/{id}": Rule(_document, everybodys=frozenset({Role.ADMIN})),
    "GET /v1/bookings/{id}": _BOOKING,
    "GET /v1/bookings/{id}/calendar.ics": Rule(_booking),
    "GET /v1/bookings/{id}/cancel-quote": _BOOKING,
    "GET /v1/bookings/{id}/receipt.pdf": Rule(_paid),
    "POST /v1/bookings/{id}/pay": Rule(_held),
    "POST /v1/bookings/{id}/extend-hold": Rule(_held),
    "GET /v1/payments/{id}": Rule(_payment, everybodys=frozenset({Role.SUPPORT})),
    "POST /v1/payments/{id}/refunds": Rule(_payment, everybodys=frozenset({Role.SUPPORT})),
    "POST /v1/payments/{id}/refunds/{refund_id}/approve": Rule(_proposed, everybodys=frozenset({Role.SUPPORT})),
    "POST /v1/bookings/{id}/cancel": _BOOKING,
    "POST /v1/bookings/{id}/reschedule": Rule(_movable),
    "POST /v1/doctors/{id}/reviews": Rule(_visit),
    "GET /v1/reviews/{id}": Rule(_review),
    "PATCH /v1/reviews/{id}": Rule(_review),
    "DELETE /v1/reviews/{id}": Rule(_review),
    "POST /v1/admin/reviews/{id}/moderation": _MODERATED,
    "POST /v1/admin/doctors/{id}/verification": Rule(_practice, everybodys=frozenset({Role.ADMIN})),
    "DELETE /v1/admin/invitations/{id}": Rule(_invitation, everybodys=frozenset({Role.ADMIN})),
    "GET /v1/admin/users/{id}": _ACCOUNT,
    "PATCH /v1/admin/users/{id}": _ACCOUNT,
}
# Every closed list of things that are somebody's.
LISTS: Mapping[str, Rule] = {
    "GET /v1/auth/sessions": Rule(_session),
    "GET /v1/doctors/me/exceptions": Rule(_leave),
    "GET /v1/doctors/me/documents": Rule(_document),
    "GET /v1/bookings": Rule(_booking),
    "GET /v1/me/reviews": Rule(_review),
    "GET /v1/payments": Rule(_payment),
}
# Every other closed route that is not about the caller alone, and so is staff's.
EVERYBODYS = {
    "GET /v1/admin/audit",
    "GET /v1/admin/doctors",
    "GET /v1/admin/invitations",
    "GET /v1/admin/outbox",
    "GET /v1/admin/reviews",
    "GET /v1/admin/users",
    "POST /v1/admin/invitations",
    "GET /v1/support/patients",
}
BODIES: Mapping[str, dict[str, Any]] = {"PATCH /v1/admin/users/{id}": {"status": "active"}}

CLOSED = [route for route in ROUTES if not route.is_open]
BY_NAME = {name(route): route for route in CLOSED}
CASES = [
    pytest.param(route, role, side, id=f"{name(route)}-{role}-{side.value}")
    for route in CLOSED
    if "{" in route.path
    for role in Role
    for side in Side
]


@pytest.fixture(scope="module")
async def world(
    api: httpx.AsyncClient, people: People, db: Database, environment: Mapping[str, str]
) -> AsyncGenerator[World]:
    """The running system. Its administrators leave in the end: each one there is gets a mail for each submission."""
    world = World(api, people, db, environment)
    yield world
    async with db.connection() as connection:
        left = [person.id for person in world.staff]
        await connection.execute("UPDATE users SET suspended_at = now() WHERE id = ANY ($1)", left)


async def _ask(world: World, route: Route, thing: Thing, person: Person) -> httpx.Response:
    path = route.path.replace("{id}", thing.id).replace("{refund_id}", thing.refund_id)
    if route.method in {"GET", "DELETE"}:
        return await world.api.request(route.method, path, headers=person.headers)
    headers = {**person.writing(), "If-Match": "*"}
    return await world.api.request(route.method, path, headers=headers, json=thing.body or BODIES.get(name(route), {}))


def test_every_route_says_whose_it_is() -> None:
    assert [name(route) for route in ROUTES if not route.owns.strip()] == []
    named = {name(route) for route in CLOSED if "{" in route.path}
    assert named == set(NAMED)
    callers_own = {name(route) for route in CLOSED if "caller" in route.owns or "browser's own" in route.owns}
    assert set(BY_NAME) == named | callers_own | EVERYBODYS
    assert not callers_own & EVERYBODYS
    assert set(LISTS) <= callers_own


def test_what_is_everybodys_is_staffs() -> None:
    for route in EVERYBODYS:
        assert BY_NAME[route].roles <= {Role.SUPPORT, Role.ADMIN}, route
        assert BY_NAME[route].audited, route
    for route, rule in NAMED.items():
        assert rule.everybodys <= BY_NAME[route].roles & {Role.SUPPORT, Role.ADMIN}, route


@pytest.mark.parametrize(("route", "role", "side"), CASES)
async def test_a_thing_is_its_owners(world: World, route: Route, role: Role, side: Side) -> None:
    rule = NAMED[name(route)]
    thing = await rule.make(world, role if role in route.roles else min(route.roles))
    person = thing.owner if side is Side.OWNER and role in route.roles else await world.one(role)
    answer = await _ask(world, route, thing, person)
    if role not in route.roles:
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    elif side is Side.OWNER or role in rule.everybodys:
        assert answer.is_success, answer.text
    else:  # not told apart from what is not there
        nothing = await _ask(world, route, replace(thing, id=str(new_id())), person)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert (nothing.status_code, nothing.json()["detail"]) == (404, answer.json()["detail"])


@pytest.mark.parametrize(
    ("route", "role"),
    [pytest.param(BY_NAME[each], role, id=f"{each}-{role}") for each in LISTS for role in sorted(BY_NAME[each].roles)],
)
async def test_a_list_holds_the_callers_own_things_alone(world: World, route: Route, role: Role) -> None:
    thing = await LISTS[name(route)].make(world, role)
    owners, strangers = [
        (await world.api.get(route.path, headers=person.headers)).json()["items"]
        for person in (thing.owner, await world.one(role))
    ]
    assert thing.id in {item["id"] for item in owners}
    assert thing.id not in {item["id"] for item in strangers}
