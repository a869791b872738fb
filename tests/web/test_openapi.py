"""The API's description: valid, complete, and true of what is really answered."""

import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast
from uuid import UUID

import httpx
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from amrutam.domain.common import Role
from amrutam.domain.errors import DomainError
from amrutam.storage.pool import Database
from tests.people import EVERY_HOUR, People, Person
from tests.pictures import picture
from tests.web import factors
from tests.web.accounts import PASSWORD, bearer, log_in, with_password
from tests.web.mounted import ROUTES, name
from tests.web.slots import book, free_times
from web.errors import STATUS
from web.openapi import document
from web.routing import Idempotency, Route

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]
Schema = dict[str, Any]

# The contract's codes by their status, and what HTTP itself adds.
CONTRACT = """
400 malformed_json idempotency_key_missing
401 unauthenticated token_expired invalid_credentials
403 forbidden email_unverified step_up_required mfa_enrollment_required
404 not_found
409 slot_taken patient_busy invalid_state operation_in_progress hold_expired
412 stale
413 too_large
415 unsupported_media_type
422 validation_failed not_a_slot doctor_unavailable invalid_cursor idempotency_key_reused
428 if_match_missing
429 rate_limited too_many_holds
503 unavailable
400 bad_request
405 method_not_allowed
408 request_timeout
500 internal
"""
CODES = {code: int(status) for status, *codes in map(str.split, CONTRACT.strip().splitlines()) for code in codes}


@pytest.fixture(scope="module")
def described() -> Schema:
    """The description, as it is made."""
    return document(ROUTES)


def _operations(described: Schema) -> Iterator[tuple[str, Schema]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def _leaves(value: object) -> Iterator[tuple[str, object]]:
    """Every name and plain value in it."""
    if isinstance(value, dict):
        for key, each in cast("dict[str, object]", value).items():
            yield key, each
            yield from _leaves(each)
    elif isinstance(value, list):
        for each in cast("list[object]", value):
            yield from _leaves(each)


async def test_the_running_api_answers_this_description(api: httpx.AsyncClient, described: Schema) -> None:
    answer = await api.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.json() == described


def test_it_is_valid_openapi_3_1(described: Schema) -> None:
    assert described["openapi"].startswith("3.1")
    assert [error.message for error in OpenAPIV31SpecValidator(described).iter_errors()] == []


def test_every_reference_leads_somewhere_and_every_schema_is_used(described: Schema) -> None:
    references = {target for key, target in _leaves(described) if key == "$ref"}
    assert references == {f"#/components/schemas/{each}" for each in described["components"]["schemas"]}


def test_every_operation_has_a_name_a_summary_and_says_who_may() -> None:
    operations = [operation for _, operation in _operations(document(ROUTES))]
    assert len({operation["operationId"] for operation in operations}) == len(operations) == len(ROUTES)
    for operation in operations:
        assert operation["summary"], operation["operationId"]
        assert "Who: " in operation["description"], operation["operationId"]


@pytest.mark.parametrize("route", ROUTES, ids=name)
def test_every_error_that_a_route_declares_has_a_status_that_it_documents(route: Route, described: Schema) -> None:
    responses = described["paths"][route.path][route.method.lower()]["responses"]
    for error in route.errors:
        assert error.code in responses[str(STATUS[error])]["content"]["application/problem+json"]["examples"]
    assert {str(status) for status in route.answers} <= set(responses)


def test_every_refusal_of_the_domain_has_a_status() -> None:
    assert set(STATUS) == set(DomainError.known.values())


def test_every_code_is_the_contracts_with_its_status(described: Schema) -> None:
    assert {error.code: status for error, status in STATUS.items()}.items() <= CODES.items()
    for operation, described_operation in _operations(described):
        for status, response in described_operation["responses"].items():
            for code, example in (
                response.get("content", {}).get("application/problem+json", {}).get("examples", {}).items()
            ):
                problem = example["value"]
                assert (problem["code"], problem["status"]) == (code, int(status)), operation
                assert CODES[code] == int(status), operation
                assert problem["type"] == f"/problems/{code}"
                assert problem["title"]


@pytest.mark.parametrize("route", ROUTES, ids=name)
def test_every_route_declares_a_rule(route: Route) -> None:
    assert route.owns.strip()
    assert route.description.strip()
    assert route.roles <= set(Role)


@pytest.mark.parametrize("route", ROUTES, ids=name)
def test_every_post_of_somebody_signed_in_outside_sign_in_takes_an_idempotency_key(route: Route) -> None:
    takes_one = route.idempotency is not Idempotency.NONE
    if route.method == "POST" and not route.is_open and not route.path.startswith(("/v1/auth/", "/staff/")):
        assert takes_one
    assert not (takes_one and (route.is_open or route.method != "POST"))


def test_what_is_received_and_sent_has_no_undocumented_field(described: Schema) -> None:
    for model, schema in described["components"]["schemas"].items():
        if "properties" in schema and model != "Problem":
            assert schema.get("additionalProperties") is False, model


class Witness:
    """Checks what is really answered against the description."""

    def __init__(self, described: Schema) -> None:
        self._described = described
        self.seen: set[tuple[str, int]] = set()

    def check(self, answer: httpx.Response) -> Any:
        """Its JSON. Fails when the description does not tell of this answer."""
        request = answer.request
        route = next(
            route
            for route in sorted(ROUTES, key=lambda route: "{" in route.path)
            if route.method == request.method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", route.path), request.url.path)
        )
        response = self._described["paths"][route.path][route.method.lower()]["responses"][str(answer.status_code)]
        kind = answer.headers["content-type"] if answer.content else None
        content = response.get("content", {})
        if kind and kind.startswith("application/") and content:
            schema = content[kind]["schema"] | {"components": self._described["components"]}
            faults = [error.message for error in OAS31Validator(schema).iter_errors(answer.json())]
            assert not faults, f"{name(route)} {answer.status_code}: {faults}"
        self.seen.add((name(route), answer.status_code))
        return answer.json() if kind == "application/json" else None


@pytest.fixture
def witness(described: Schema) -> Witness:
    """One that has seen nothing yet."""
    return Witness(described)


async def test_what_strangers_read_is_as_described(
    api: httpx.AsyncClient, make_doctor: MakeDoctor, witness: Witness
) -> None:
    doctor = await make_doctor(fee=50000)
    await api.put("/v1/doctors/me/photo", content=picture(), headers=doctor.headers)
    await free_times(api, doctor)
    day = {"from": "2000-01-01", "to": "2000-01-02"}
    for route in ROUTES:
        if route.is_open and route.method == "GET":
            path = route.path.replace("{id}", str(doctor.id)).replace("{asset}", "swagger-ui.css")
            witness.check(await api.get(path, params=day if path.endswith("slots") else {}))
    assert {status for _, status in witness.seen} == {200, 302}
    witness.check(await api.get("/v1/doctors/me/availability"))
    witness.check(await api.get("/v1/doctors", params={"limit": 0}))
    witness.check(await api.post("/v1/auth/login", json={"email": "nobody@test.amrutam.test", "password": "x"}))


async def test_a_bookings_life_is_as_described(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, people: People, witness: Witness
) -> None:
    patient, doctor, support = await make_patient(), await make_doctor(), await people.staff(Role.SUPPORT)
    times = await free_times(api, doctor)
    booking = witness.check(await book(api, patient, doctor, times[0], reason="A rash"))
    path = f"/v1/bookings/{booking['id']}"
    for person in (patient, doctor, support):
        witness.check(await api.get(path, headers=person.headers))
    witness.check(await api.get("/v1/bookings", headers=patient.headers))
    witness.check(await api.post(f"{path}/cancel", json={"reason": "Better now"}, headers=patient.writing()))
    witness.check(await api.get(path, headers=patient.headers))
    again = witness.check(await book(api, patient, doctor, times[1]))
    witness.check(await api.post(f"/v1/bookings/{again['id']}/cancel", json={}, headers=support.writing()))
    assert {status for _, status in witness.seen} == {200, 201}


async def test_a_refused_bookings_place_is_as_described(
    api: httpx.AsyncClient,
    make_patient: MakePatient,
    make_doctor: MakeDoctor,
    witness: Witness,
    some_id: UUID,
    db: Database,
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    time = (await free_times(api, doctor))[0]
    await book(api, await make_patient(), doctor, time)
    witness.check(await book(api, patient, doctor, time))
    async with db.connection() as connection:
        operation = await connection.fetchval("SELECT operation_id FROM operations WHERE user_id = $1", patient.id)
    told = witness.check(await api.get(f"/v1/bookings/{operation}", headers=patient.headers))
    assert (told["status"], told["problem"]["code"]) == ("refused", "slot_taken")
    witness.check(await api.get(f"/v1/bookings/{some_id}", headers=patient.headers))
    assert {status for _, status in witness.seen} == {200, 404, 409}


async def test_what_people_keep_of_themselves_is_as_described(
    api: httpx.AsyncClient, make_doctor: MakeDoctor, people: People, witness: Witness
) -> None:
    doctor, admin = await make_doctor(), await people.staff(Role.ADMIN)
    for path in ("/v1/me", "/v1/doctors/me", "/v1/doctors/me/availability", "/v1/doctors/me/exceptions"):
        witness.check(await api.get(path, headers=doctor.headers))
    leave = {"starts_at": "2030-03-01T10:00:00Z", "ends_at": "2030-03-01T12:00:00Z"}
    taken = witness.check(await api.post("/v1/doctors/me/exceptions", json=leave, headers=doctor.writing()))
    witness.check(await api.get("/v1/doctors/me/exceptions", headers=doctor.headers))
    witness.check(await api.delete(f"/v1/doctors/me/exceptions/{taken['id']}", headers=doctor.headers))
    anyway = {**doctor.headers, "If-Match": "*"}
    witness.check(await api.put("/v1/doctors/me/availability", json=EVERY_HOUR, headers=anyway))
    witness.check(await api.get("/v1/admin/outbox", headers=admin.headers))
    assert {status for _, status in witness.seen} == {200, 201, 204}


async def test_the_files_that_a_doctor_gives_are_as_described(
    api: httpx.AsyncClient, make_doctor: MakeDoctor, people: People, witness: Witness, described: Schema
) -> None:
    doctor, admin = await make_doctor(), await people.staff(Role.ADMIN)
    photo, papers = "/v1/doctors/me/photo", "/v1/doctors/me/documents"
    witness.check(await api.put(photo, content=picture(), headers=doctor.headers))
    witness.check(await api.put(photo, content=b"", headers=doctor.headers))
    witness.check(await api.put(photo, content=b"GIF89a", headers=doctor.headers))
    witness.check(await api.get(photo, headers=doctor.headers))
    witness.check(await api.delete(photo, headers=doctor.headers))
    document = witness.check(await api.post(papers, content=picture("PNG"), headers=doctor.writing()))
    witness.check(await api.get(papers, headers=doctor.headers))
    opened = await api.get(f"/v1/admin/documents/{document['id']}", headers=admin.headers)
    witness.check(opened)
    witness.check(await api.delete(f"{papers}/{document['id']}", headers=doctor.headers))
    assert {status for _, status in witness.seen} == {200, 201, 204, 415, 422}
    sent = described["paths"]["/v1/admin/documents/{id}"]["get"]["responses"]["200"]["content"]
    assert opened.headers["content-type"] in sent
    taken = described["paths"][photo]["put"]["requestBody"]["content"]
    assert {kind: each["schema"]["format"] for kind, each in taken.items()} == dict.fromkeys(
        ("image/jpeg", "image/png", "image/webp"), "binary"
    )


async def test_signing_in_with_a_second_factor_is_as_described(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient, witness: Witness
) -> None:
    patient = await with_password(db, make_patient)
    witness.check(await log_in(api, patient.email))
    witness.check(await api.post("/v1/auth/mfa/recovery-codes", headers=patient.headers))
    app = witness.check(await factors.enroll(api, patient.headers))
    witness.check(await factors.confirm(api, patient.headers, factors.wrong_code(app["secret"])))
    witness.check(await factors.confirm(api, patient.headers, factors.code(app["secret"])))
    witness.check(await api.get("/v1/auth/mfa", headers=patient.headers))
    asked = witness.check(await log_in(api, patient.email))
    witness.check(await factors.verify(api, asked["mfa_token"], "123456", "recovery_code"))
    witness.check(await factors.verify(api, "unknown", "123456"))
    witness.check(await factors.verify(api, asked["mfa_token"], factors.code(app["secret"], ahead=1)))
    await factors.let_a_minute_pass(db, patient.id)
    witness.check(await api.post("/v1/auth/mfa/recovery-codes", headers=patient.headers))
    shown = witness.check(await factors.step_up(api, patient.headers, factors.code(app["secret"])))
    witness.check(await api.post("/v1/auth/mfa/recovery-codes", headers=bearer(shown)))
    said = {"password": PASSWORD, "code": factors.code(app["secret"], ahead=1)}
    witness.check(await api.post("/v1/auth/mfa/disable", headers=patient.headers, json=said))
    again = bearer(witness.check(await log_in(api, patient.email)))
    witness.check(await api.post("/v1/auth/mfa/disable", headers=again, json=said))
    assert {status for _, status in witness.seen} == {200, 204, 401, 403, 409}
