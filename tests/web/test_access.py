"""Who may: every mounted route, asked by a stranger and by each role."""

import re
from collections.abc import Awaitable, Callable
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
from web.factor import FactorRule
from web.routing import EVERYONE, Route

# They end the sessions of whoever asks.
LEAVING = {"POST /v1/auth/logout", "POST /v1/auth/logout-all", "POST /staff/sign-out"}
Asking = Callable[[Route, Role], Awaitable[Person]]

CLOSED = [route for route in ROUTES if not route.is_open]

# Who may do what, said once more and apart, so that a role that slips into a declaration is seen.
RULES: dict[str, set[Role]] = {
    "POST /v1/auth/logout": set(Role),
    "POST /v1/auth/logout-all": set(Role),
    "GET /v1/auth/sessions": set(Role),
    "DELETE /v1/auth/sessions/{id}": set(Role),
    "POST /v1/auth/password/change": set(Role),
    "POST /v1/auth/email/change": set(Role),
    "GET /v1/auth/mfa": set(Role),
    "POST /v1/auth/mfa/enroll": set(Role),
    "POST /v1/auth/mfa/confirm": set(Role),
    "POST /v1/auth/mfa/disable": set(Role),
    "POST /v1/auth/mfa/recovery-codes": set(Role),
    "POST /v1/auth/step-up": set(Role),
    "GET /v1/me": set(Role),
    "PATCH /v1/me": set(Role),
    "GET /v1/doctors/me": {Role.DOCTOR},
    "PUT /v1/doctors/me": {Role.DOCTOR},
    "GET /v1/doctors/me/availability": {Role.DOCTOR},
    "PUT /v1/doctors/me/availability": {Role.DOCTOR},
    "GET /v1/doctors/me/exceptions": {Role.DOCTOR},
    "POST /v1/doctors/me/exceptions": {Role.DOCTOR},
    "DELETE /v1/doctors/me/exceptions/{id}": {Role.DOCTOR},
    "POST /v1/doctors/me/cancel-day": {Role.DOCTOR},
    "GET /v1/doctors/me/verification": {Role.DOCTOR},
    "POST /v1/doctors/me/verification": {Role.DOCTOR},
    "GET /v1/admin/doctors": {Role.ADMIN},
    "POST /v1/admin/doctors/{id}/verification": {Role.ADMIN},
    "GET /v1/doctors/me/photo": {Role.DOCTOR},
    "PUT /v1/doctors/me/photo": {Role.DOCTOR},
    "DELETE /v1/doctors/me/photo": {Role.DOCTOR},
    "GET /v1/doctors/me/documents": {Role.DOCTOR},
    "POST /v1/doctors/me/documents": {Role.DOCTOR},
    "DELETE /v1/doctors/me/documents/{id}": {Role.DOCTOR},
    "GET /v1/admin/documents/{id}": {Role.ADMIN},
    "POST /v1/bookings": {Role.PATIENT, Role.SUPPORT},
    "GET /v1/bookings": {Role.PATIENT, Role.DOCTOR},
    "GET /v1/bookings/{id}": {Role.PATIENT, Role.DOCTOR, Role.SUPPORT},
    "GET /v1/bookings/{id}/receipt.pdf": {Role.PATIENT},
    "GET /v1/bookings/{id}/calendar.ics": {Role.PATIENT, Role.DOCTOR},
    "POST /v1/bookings/{id}/reschedule": {Role.PATIENT},
    "POST /v1/bookings/{id}/pay": {Role.PATIENT},
    "POST /v1/bookings/{id}/extend-hold": {Role.PATIENT},
    "GET /v1/bookings/{id}/cancel-quote": {Role.PATIENT, Role.DOCTOR, Role.SUPPORT},
    "GET /v1/payments": {Role.PATIENT},
    "GET /v1/payments/{id}": {Role.PATIENT, Role.SUPPORT},
    "POST /v1/payments/{id}/refunds": {Role.SUPPORT},
    "POST /v1/payments/{id}/refunds/{refund_id}/approve": {Role.SUPPORT},
    "POST /v1/bookings/{id}/cancel": {Role.PATIENT, Role.DOCTOR, Role.SUPPORT},
    "POST /v1/doctors/{id}/reviews": {Role.PATIENT},
    "GET /v1/reviews/{id}": {Role.PATIENT},
    "PATCH /v1/reviews/{id}": {Role.PATIENT},
    "DELETE /v1/reviews/{id}": {Role.PATIENT},
    "GET /v1/me/reviews": {Role.PATIENT},
    "GET /v1/admin/reviews": {Role.SUPPORT, Role.ADMIN},
    "POST /v1/admin/reviews/{id}/moderation": {Role.SUPPORT, Role.ADMIN},
    "GET /v1/support/patients": {Role.SUPPORT},
    "GET /v1/me/notifications": set(Role),
    "PUT /v1/me/notifications": set(Role),
    "GET /v1/me/access-log": set(Role),
    "GET /v1/admin/audit": {Role.ADMIN},
    "GET /v1/admin/users": {Role.ADMIN},
    "GET /v1/admin/users/{id}": {Role.ADMIN},
    "PATCH /v1/admin/users/{id}": {Role.ADMIN},
    "GET /v1/admin/invitations": {Role.ADMIN},
    "POST /v1/admin/invitations": {Role.ADMIN},
    "DELETE /v1/admin/invitations/{id}": {Role.ADMIN},
    "GET /v1/admin/outbox": {Role.ADMIN},
    "POST /staff/sign-out": set(Role),
}
OPEN = {
    "POST /v1/auth/register",
    "POST /v1/auth/verify-email",
    "POST /v1/auth/verify-email/resend",
    "POST /v1/auth/password/forgot",
    "POST /v1/auth/password/reset",
    "POST /v1/auth/email/confirm",
    "POST /v1/auth/login",
    "POST /v1/auth/mfa/verify",
    "POST /v1/auth/refresh",
    "GET /.well-known/jwks.json",
    "GET /v1/specialties",
    "GET /v1/languages",
    "GET /v1/doctors/{id}/photo",
    "GET /v1/doctors",
    "GET /v1/doctors/{id}",
    "GET /v1/doctors/{id}/slots",
    "GET /v1/doctors/{id}/reviews",
    "GET /verify-email",
    "GET /reset-password",
    "GET /change-email",
    "GET /invitation",
    "POST /v1/auth/invitations/accept",
    "GET /staff",
    "POST /staff/sign-in",
    "POST /staff/code",
    "GET /",
    "GET /openapi.json",
    "GET /docs",
    "GET /docs/{asset}",
    "POST /v1/payments/webhooks/{gateway}",
    "GET /health/live",
    "GET /health/ready",
}


@pytest.fixture(scope="module")
async def callers(people: People) -> dict[Role, Person]:
    """One person of each role."""
    return {role: await _one(people, role) for role in Role}


@pytest.fixture
def asking(people: People, callers: dict[Role, Person]) -> Asking:
    """Who asks for a route in a role: somebody new for what would leave nobody to ask for the next."""

    async def asking(route: Route, role: Role) -> Person:
        person = await _one(people, role) if name(route) in LEAVING else callers[role]
        return await people.in_browser(person) if route.browser else person

    return asking


async def _one(people: People, role: Role) -> Person:
    """Somebody who has just shown a second factor."""
    person = await people.doctor() if role is Role.DOCTOR else await people.staff(role)
    return await people.with_factor(person)


async def _ask(api: httpx.AsyncClient, route: Route, nothing: UUID, headers: dict[str, str]) -> httpx.Response:
    """With an id that nothing has, and no body."""
    path = route.path.replace("{id}", str(nothing)).replace("{refund_id}", str(nothing))
    path = path.replace("{asset}", "none").replace("{gateway}", "none")
    return await api.request(route.method, path, headers=headers)


def test_the_application_serves_what_is_declared_and_nothing_else(settings: Settings, keyring: Keyring) -> None:
    app = create_app(settings, keyring)
    try:
        served = {(method, f"/{route.path}") for route in app.router.routes for method in route.methods}
    finally:
        Sanic.unregister_app(app)
    declared = {(route.method, route.path) for feature in features(settings) for route in feature.routes}
    assert {
        (method, re.sub(r"<(\w+):\w+>", r"{\1}", path))
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
    api: httpx.AsyncClient, asking: Asking, route: Route, some_id: UUID
) -> None:
    for role in set(Role) - route.roles:
        answer = await _ask(api, route, some_id, (await asking(route, role)).headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), role
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("route", ROUTES, ids=name)
async def test_a_role_that_is_allowed_passes_and_nobody_meets_a_failure(
    api: httpx.AsyncClient, asking: Asking, route: Route, some_id: UUID
) -> None:
    for role in route.roles or set(Role):
        answer = await _ask(api, route, some_id, (await asking(route, role)).headers)
        assert answer.status_code < 500, answer.text
        if not route.is_open:
            assert answer.status_code not in {401, 403}, (role, answer.text)
    if route.is_open:
        assert (await _ask(api, route, some_id, {})).status_code < 500


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method != "GET"], ids=name)
@pytest.mark.parametrize("body", [b"null", b"[]", b'"x"', b"{", b"\xff", b'{"a": 1}'])
async def test_whatever_is_sent_nobody_meets_a_failure(
    api: httpx.AsyncClient, asking: Asking, route: Route, body: bytes, some_id: UUID
) -> None:
    person = await asking(route, next(iter(route.roles), Role.PATIENT))
    path = route.path.replace("{id}", str(some_id))
    headers = {**person.writing(), "Content-Type": "application/json"}
    answer = await api.request(route.method, path, headers=headers, content=body)
    assert 400 <= answer.status_code < 500 or answer.status_code == 204, answer.text


# What somebody may do whose role needs a second factor, and who has not shown one.
WITHOUT_FACTOR = LEAVING | {
    "GET /v1/auth/mfa",
    "POST /v1/auth/mfa/enroll",
    "POST /v1/auth/mfa/confirm",
    "POST /v1/auth/step-up",
}


def test_without_a_second_factor_that_is_needed_one_is_set_up_or_shown_and_nothing_else() -> None:
    assert {name(route) for route in CLOSED if route.factor is not FactorRule.AS_ROLE_NEEDS} == WITHOUT_FACTOR


@pytest.mark.parametrize("route", [route for route in CLOSED if route.step_up], ids=name)
async def test_what_needs_a_recent_factor_is_refused_without_one(
    api: httpx.AsyncClient, people: People, route: Route, some_id: UUID
) -> None:
    for role in route.roles:
        person = await people.staff(role)
        answer = await _ask(api, route, some_id, person.headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "mfa_enrollment_required")
        await people.with_factor(person)
        answer = await _ask(api, route, some_id, person.headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "step_up_required")
