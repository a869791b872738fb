"""The manners of the contract: bad bodies, tokens, headers, limits."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from amrutam.crypto import Keyring
from amrutam.settings import Settings
from amrutam.storage.pool import Database
from tests.conftest import System
from tests.people import Person
from tests.polling import until
from tests.web.slots import free_times, wish

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed_json"),
        (b"\xff\xfe", 400, "malformed_json"),
        (b"[]", 422, "validation_failed"),
        (b"{}", 422, "validation_failed"),
        (b"null", 422, "validation_failed"),
    ],
)
async def test_a_body_that_is_not_what_it_should_be_is_refused(
    api: httpx.AsyncClient, make_patient: MakePatient, body: bytes, status: int, code: str
) -> None:
    headers = {**(await make_patient()).writing(), "Content-Type": "application/json"}
    answer = await api.post("/v1/bookings", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"mode": "telepathy"}, "/mode", "enum"),
        ({"doctor_id": "nobody"}, "/doctor_id", "uuid_parsing"),
        ({"colour": "green"}, "/colour", "extra_forbidden"),
        ({"reason": "a" * 4001}, "/reason", "string_too_long"),
        ({"reason": "a\u0000b"}, "/reason", "value_error"),
        ({"reason": 7}, "/reason", "string_type"),
    ],
)
async def test_a_wrong_field_is_named(
    api: httpx.AsyncClient,
    make_patient: MakePatient,
    make_doctor: MakeDoctor,
    change: dict[str, Any],
    pointer: str,
    code: str,
) -> None:
    doctor = await make_doctor()
    body = wish(doctor, (await free_times(api, doctor))[0]) | change
    answer = await api.post("/v1/bookings", json=body, headers=(await make_patient()).writing())
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert [(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]] == [(pointer, code)]


async def test_another_content_type_is_refused(api: httpx.AsyncClient, make_patient: MakePatient) -> None:
    headers = {**(await make_patient()).writing(), "Content-Type": "text/xml"}
    answer = await api.post("/v1/bookings", content=b"<booking/>", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


async def test_a_huge_body_is_refused(api: httpx.AsyncClient, make_patient: MakePatient, settings: Settings) -> None:
    headers = {**(await make_patient()).writing(), "Content-Type": "application/json"}
    answer = await api.post("/v1/bookings", content=b" " * (settings.max_body_bytes + 1), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_unknown_pages_and_methods_are_problems_too(api: httpx.AsyncClient) -> None:
    missing = await api.get("/v1/nothing")
    wrong = await api.delete("/v1/bookings")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert set(wrong.headers["allow"].split(", ")) >= {"GET", "POST"}
    assert (await api.get("/v1/bookings/not-a-uuid")).status_code == 404


async def test_a_query_that_is_not_known_or_repeated_is_refused(
    api: httpx.AsyncClient, make_patient: MakePatient
) -> None:
    headers = (await make_patient()).headers
    for query, pointer in (("colour=green", "/colour"), ("limit=1&limit=2", "/limit"), ("limit=0", "/limit")):
        answer = await api.get(f"/v1/bookings?{query}", headers=headers)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


async def test_every_answer_carries_its_id_and_guards(api: httpx.AsyncClient, make_patient: MakePatient) -> None:
    headers = (await make_patient()).headers
    sent = {**headers, "X-Request-Id": "from-the-app-1"}
    answer = await api.get("/v1/bookings", headers=sent)
    assert answer.headers["x-request-id"] == "from-the-app-1"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    refused = await api.get(f"/v1/bookings/{UUID(int=0)}", headers={**headers, "X-Request-Id": 'bad id"'})
    assert refused.headers["x-request-id"] != 'bad id"'
    assert refused.json()["request_id"] == refused.headers["x-request-id"]
    assert refused.json()["instance"] == f"/v1/bookings/{UUID(int=0)}"


async def test_only_an_origin_that_settings_name_may_call_from_a_browser(api: httpx.AsyncClient) -> None:
    async def asked_from(origin: str) -> httpx.Headers:
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = await api.request("OPTIONS", "/v1/bookings", headers=asked)
        assert (answer.status_code, answer.headers["vary"]) == (204, "Origin")
        return answer.headers

    ours, other = await asked_from("https://app.amrutam.test"), await asked_from("https://elsewhere.test")
    assert ours["access-control-allow-origin"] == "https://app.amrutam.test"
    assert "idempotency-key" in ours["access-control-allow-headers"]
    assert "access-control-allow-origin" not in other


async def test_headers_that_are_too_large_are_refused(api: httpx.AsyncClient) -> None:
    answer = await api.get("/v1/specialties", headers={"X-Long": "a" * 20_000})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_a_body_that_never_ends_is_given_up(system: System, settings: Settings) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", system.api.port)
    writer.write(b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    await writer.drain()
    answer = await asyncio.wait_for(reader.read(), settings.request_timeout_seconds * 3)
    assert answer.startswith(b"HTTP/1.1 408")
    writer.close()
    await writer.wait_closed()


def _claims(patient: Person, **changes: Any) -> dict[str, Any]:
    """Of the patient's own token, with these in place of some."""
    return {**jwt.decode(patient.token, options={"verify_signature": False}), **changes}


async def test_only_our_own_tokens_open_the_door(
    api: httpx.AsyncClient, make_patient: MakePatient, keyring: Keyring
) -> None:
    patient = await make_patient()
    kid = keyring.signing.current
    ours, foreign = keyring.signing_key(kid), Ed25519PrivateKey.generate()
    head = {"kid": kid, "typ": "at+jwt"}
    past = int((datetime.now(UTC) - timedelta(minutes=1)).timestamp())

    def signed(key: Any = ours, head: dict[str, Any] = head, **changes: Any) -> str:
        return jwt.encode(_claims(patient, **changes), key, algorithm="EdDSA", headers=head)

    async def code(token: str) -> str:
        answer = await api.get("/v1/bookings", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        return answer.json()["code"]

    assert (await api.get("/v1/bookings", headers={"Authorization": f"Bearer {signed()}"})).status_code == 200
    assert await code(signed(exp=past)) == "token_expired"
    unsigned = jwt.encode(_claims(patient), "", algorithm="none", headers=head)
    wrong = [signed(foreign), signed(aud="another"), signed(iss="another"), unsigned, patient.token + "x", "x.y.z"]
    wrong += [signed(head={**head, "kid": "unknown"}), signed(head={**head, "typ": "JWT"}), signed(roles=["king"])]
    for token in wrong:
        assert await code(token) == "unauthenticated", token


async def test_the_metrics_port_tells_what_goes_on_and_the_public_one_does_not(
    api: httpx.AsyncClient, system: System
) -> None:
    await api.get("/v1/specialties")
    async with httpx.AsyncClient(trust_env=False) as client:
        base = f"http://127.0.0.1:{system.environment['METRICS_PORT']}"
        metrics = (await client.get(f"{base}/metrics")).text
        detail = await client.get(f"{base}/health/detail")
    assert 'amrutam_http_request_seconds_count{method="GET",route="/v1/specialties",status="2xx"}' in metrics
    assert "amrutam_db_acquire_seconds_count" in metrics
    assert detail.json() == {"status": "ok", "parts": {"postgresql": "ok", "temporal": "ok", "redis": "ok"}}
    assert (await api.get("/metrics")).status_code == 404
    assert (await api.get("/health/live")).json() == {"status": "ok"}


def _lines(log: Path, request_id: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("request_id") == request_id]


async def _logged(log: Path, request_id: str, event: str) -> dict[str, Any]:
    """The one line that tells of it, which is written after the answer."""

    async def look() -> list[dict[str, Any]]:
        return [line for line in _lines(log, request_id) if line["event"] == event]

    [line] = await until(look)
    return line


async def test_a_fault_of_ours_is_told_to_nobody_and_logged_without_what_was_sent(
    api: httpx.AsyncClient, system: System, make_patient: MakePatient, make_doctor: MakeDoctor, owner: Database
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    body = wish(doctor, (await free_times(api, doctor))[0], reason="canary-of-a-fault")
    async with owner.connection() as connection:
        await connection.execute("ALTER TABLE data_keys RENAME TO data_keys_away")
    try:
        answer = await api.post("/v1/bookings", json=body, headers={**patient.writing(), "X-Request-Id": "a-fault"})
    finally:
        async with owner.connection() as connection:
            await connection.execute("ALTER TABLE data_keys_away RENAME TO data_keys")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "data_keys" not in answer.text
    assert system.api.process is not None
    log = system.api.process.program.log
    failed = await _logged(log, "a-fault", "http.failed")
    assert failed["exception"][0]["type"] == "asyncpg.exceptions.UndefinedTableError"
    assert failed["exception"][0]["frames"][-1]
    assert "canary-of-a-fault" not in log.read_text()


async def test_a_log_line_names_the_route_and_nothing_of_the_person(
    api: httpx.AsyncClient, system: System, make_patient: MakePatient
) -> None:
    patient = await make_patient()
    await api.get("/v1/bookings?limit=7&as=patient", headers={**patient.headers, "X-Request-Id": "look-for-me"})
    assert system.api.process is not None
    line = await _logged(system.api.process.program.log, "look-for-me", "http.request")
    assert (line["route"], line["status"]) == ("/v1/bookings", 200)
    assert "limit" not in json.dumps(line)
    assert patient.email not in json.dumps(line)
