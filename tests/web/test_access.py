"""Who may: every mounted route, asked by a stranger and by each role."""

from uuid import UUID

import httpx
import pytest
from sanic import Sanic

from amrutam.crypto import Keyring
from amrutam.domain.common import Role
from amrutam.settings import Settings
from tests.people import People, Person
from tests.web.mounted import ROUTES, name
from web.app import create_app, features
from web.routing import EVERYONE, Route

CLOSED = [route for route in ROUTES if not route.is_open]

# Who may do what, said once more and apart, so that a role that slips into a declaration is seen.
RULES: dict[str, set[Role]] = {
    "POST /v1/auth/logout": set(Role),
    "GET /v1/me": set(Role),
    "GET /v1/doctors/me": {Role.DOCTOR},
    "PUT /v1/doctors/me": {Role.DOCTOR},
    "GET /v1/doctors/me/availability": {Role.DOCTOR},
    "PUT /v1/doctors/me/availability": {Role.DOCTOR},
    "GET /v1/doctors/me/exceptions": {Role.DOCTOR},
    "POST /v1/doctors/me/exceptions": {Role.DOCTOR},
    "DELETE /v1/doctors/me/exceptions/{id}": {Role.DOCTOR},
    "POST /v1/bookings": {Role.PATIENT},
    "GET /v1/bookings": {Role.PATIENT, Role.DOCTOR},
    "GET /v1/bookings/{id}": {Role.PATIENT, Role.DOCTOR, Role.SUPPORT},
    "POST /v1/bookings/{id}/cancel": {Role.PATIENT, Role.DOCTOR, Role.SUPPORT},
    "GET /v1/admin/outbox": {Role.ADMIN},
}
OPEN = {
    "POST /v1/auth/register",
    "POST /v1/auth/verify-email",
    "POST /v1/auth/verify-email/resend",
    "POST /v1/auth/login",
    "POST /v1/auth/refresh",
    "GET /.well-known/jwks.json",
    "GET /v1/specialties",
    "GET /v1/doctors",
    "GET /v1/doctors/{id}",
    "GET /v1/doctors/{id}/slots",
    "GET /verify-email",
    "GET /",
    "GET /openapi.json",
    "GET /docs",
    "GET /docs/{asset}",
    "GET /health/live",
    "GET /health/ready",
}


@pytest.fixture(scope="module")
async def callers(people: People) -> dict[Role, Person]:
    """One person of each role."""
    return {
        Role.PATIENT: await people.patient(),
        Role.DOCTOR: await people.doctor(),
        Role.SUPPORT: await people.staff(Role.SUPPORT),
        Role.ADMIN: await people.staff(Role.ADMIN),
    }


async def _ask(api: httpx.AsyncClient, route: Route, nothing: UUID, headers: dict[str, str]) -> httpx.Response:
    """With an id that nothing has, and no body."""
    path = route.path.replace("{id}", str(nothing)).replace("{asset}", "none")
    return await api.request(route.method, path, headers=headers)


def test_the_application_serves_what_is_declared_and_nothing_else(settings: Settings, keyring: Keyring) -> None:
    app = create_app(settings, keyring)
    try:
        served = {(method, f"/{route.path}") for route in app.router.routes for method in route.methods}
    finally:
        Sanic.unregister_app(app)
    declared = {(route.method, route.path) for feature in features(settings) for route in feature.routes}
    assert {
        (method, path.replace("<id:uuid>", "{id}").replace("<asset:str>", "{asset}"))
        for method, path in served
        if method != "HEAD"  # answers as GET does, without the body
    } == declared
    assert declared == {(route.method, route.path) for route in ROUTES}


def test_every_route_has_a_rule_here() -> None:
    assert {name(route): set(route.roles) for route in CLOSED} == RULES
    assert {name(route) for route in ROUTES if route.is_open} == OPEN
    assert frozenset() == EVERYONE


def test_production_has_no_outbox(settings: Settings) -> None:
    production = settings.model_copy(update={"amrutam_mode": "production"})
    assert not any("outbox" in route.path for feature in features(production) for route in feature.routes)


@pytest.mark.parametrize("route", CLOSED, ids=name)
async def test_a_stranger_is_asked_to_sign_in(api: httpx.AsyncClient, route: Route, some_id: UUID) -> None:
    for headers in ({}, {"Authorization": "Bearer none"}, {"Authorization": "Basic cGF0aWVudDp4"}):
        answer = await _ask(api, route, some_id, headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("route", CLOSED, ids=name)
async def test_a_role_that_is_not_allowed_is_refused_before_anything_is_read(
    api: httpx.AsyncClient, callers: dict[Role, Person], route: Route, some_id: UUID
) -> None:
    for role in set(Role) - route.roles:
        answer = await _ask(api, route, some_id, callers[role].headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), role
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("route", ROUTES, ids=name)
async def test_a_role_that_is_allowed_passes_and_nobody_meets_a_failure(
    api: httpx.AsyncClient, callers: dict[Role, Person], route: Route, some_id: UUID
) -> None:
    for role in route.roles or set(Role):
        answer = await _ask(api, route, some_id, callers[role].headers)
        assert answer.status_code < 500, answer.text
        if not route.is_open:
            assert answer.status_code not in {401, 403}, (role, answer.text)
    if route.is_open:
        assert (await _ask(api, route, some_id, {})).status_code < 500


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method != "GET"], ids=name)
@pytest.mark.parametrize("body", [b"null", b"[]", b'"x"', b"{", b"\xff", b'{"a": 1}'])
async def test_whatever_is_sent_nobody_meets_a_failure(
    api: httpx.AsyncClient, callers: dict[Role, Person], route: Route, body: bytes, some_id: UUID
) -> None:
    person = callers[next(iter(route.roles), Role.PATIENT)]
    path = route.path.replace("{id}", str(some_id))
    headers = {**person.writing(), "Content-Type": "application/json"}
    answer = await api.request(route.method, path, headers=headers, content=body)
    assert 400 <= answer.status_code < 500 or answer.status_code == 204, answer.text
