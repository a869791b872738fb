"""Registering, confirming the address and signing in, over HTTP."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest

from amrutam.settings import Settings
from amrutam.storage.pool import Database
from amrutam.tokens import AccessTokens
from tests.web.accounts import (
    PASSWORD,
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


async def test_a_person_registers_confirms_and_signs_in(api: httpx.AsyncClient, outbox: Outbox) -> None:
    email = new_address()
    details = {
        "date_of_birth": "1990-04-01",
        "sex": "female",
        "phone": "+91 98765 43210",
        "address": "12 MG Road\nBengaluru",
        "time_zone": "Asia/Kolkata",
        "locale": "hi-IN",
    }
    answer = await register(api, email.upper(), **details)
    assert (answer.status_code, answer.json()) == (202, {"status": "verification_sent"})
    assert said(await log_in(api, email))[1]["code"] == "email_unverified"

    [mail] = await outbox(email)
    assert (mail["to"], mail["channel"], mail["subject"]) == (email, "email", "Confirm your email address")
    answer = await verify(api, token_in(mail))
    assert (answer.status_code, answer.json()) == (200, {"status": "verified"})

    answer = await log_in(api, email, device_name="Asha's phone")
    tokens = answer.json()
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert (tokens["status"], tokens["token_type"], tokens["expires_in"]) == ("authenticated", "Bearer", 600)

    me = (await api.get("/v1/me", headers=bearer(tokens))).json()
    assert me | {"phone": "+919876543210"} == {
        "id": me["id"],
        "email": email,
        "full_name": "Asha Rao",
        "roles": ["patient"],
        "created_at": me["created_at"],
        "version": me["version"],
        **details,
        "phone": me["phone"],
    }


async def test_a_doctor_who_registers_has_a_profile_that_nobody_finds_yet(
    api: httpx.AsyncClient, outbox: Outbox, db: Database
) -> None:
    email = new_address()
    await register(api, email, role="doctor", full_name="Dr Meera Iyer", time_zone="Asia/Kolkata")
    await verify(api, token_in((await outbox(email))[0]))
    async with db.connection() as connection:
        row = await connection.fetchrow(
            "SELECT d.id, d.full_name, d.verified_at FROM doctors d JOIN users USING (id) WHERE email = $1", email
        )
    assert row is not None
    assert (row["full_name"], row["verified_at"]) == ("Dr Meera Iyer", None)
    assert (await api.get(f"/v1/doctors/{row['id']}")).status_code == 404


@pytest.mark.parametrize("role", ["admin", "support"])
async def test_nobody_registers_as_staff(api: httpx.AsyncClient, role: str) -> None:
    answer = await register(api, new_address(), role=role)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/role"]


async def test_every_field_that_does_not_fit_is_named_at_once(api: httpx.AsyncClient) -> None:
    answer = await register(api, "no address", password="short", phone="12", time_zone="Mars/Olympus", is_admin=True)
    assert answer.status_code == 422
    pointers = {fault["pointer"] for fault in answer.json()["errors"]}
    assert pointers == {"/email", "/password", "/phone", "/time_zone", "/is_admin"}
    assert "no address" not in answer.text


async def test_what_only_a_person_may_know_is_sealed_in_the_row(api: httpx.AsyncClient, db: Database) -> None:
    email = new_address()
    await register(api, email, phone="+919876543210", address="12 MG Road", date_of_birth="1990-04-01")
    async with db.connection() as connection:
        row = await connection.fetchrow("SELECT * FROM users WHERE email = $1", email)
    assert row is not None
    sealed = row["phone"] + row["address"] + row["date_of_birth"]
    for plain in (b"9876543210", b"MG Road", b"1990"):
        assert plain not in sealed
    assert row["password_hash"].startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_a_registration_is_audited_and_its_events_name_nobody(api: httpx.AsyncClient, db: Database) -> None:
    email = new_address()
    await register(api, email)
    async with db.connection() as connection:
        user_id = await connection.fetchval("SELECT id FROM users WHERE email = $1", email)
        told = await connection.fetch("SELECT type, data FROM events WHERE subject = $1", user_id)
        done = await connection.fetch("SELECT action, actor_role FROM audit WHERE subject = $1", user_id)
    assert {row["type"] for row in told} == {"account.registered", "account.verification_requested"}
    assert email not in str([row["data"] for row in told])
    assert [tuple(row) for row in done] == [("account.register", "patient")]


@pytest.mark.parametrize("token", ["unknown", "x" * 43, "ü", "a" * 512])
async def test_an_unknown_link_is_a_clear_error(api: httpx.AsyncClient, token: str) -> None:
    answer = await verify(api, token)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/token"]


async def test_a_link_is_good_once(api: httpx.AsyncClient, outbox: Outbox) -> None:
    email = new_address()
    await register(api, email)
    token = token_in((await outbox(email))[0])
    assert [(await verify(api, token)).status_code for _ in range(2)] == [200, 422]
    assert (await log_in(api, email)).status_code == 200


async def test_a_link_that_is_too_old_confirms_nothing_and_another_can_be_had(
    api: httpx.AsyncClient, outbox: Outbox, db: Database
) -> None:
    email = new_address()
    await register(api, email)
    token = token_in((await outbox(email))[0])
    async with db.connection() as connection:
        await connection.execute(
            """UPDATE email_tokens SET expires_at = now()
               WHERE user_id = (SELECT id FROM users WHERE email = $1)""",
            email,
        )
    assert (await verify(api, token)).status_code == 422
    assert (await log_in(api, email)).json()["code"] == "email_unverified"

    answer = await api.post("/v1/auth/verify-email/resend", json={"email": email})
    assert (answer.status_code, answer.json()) == (202, {"status": "verification_sent"})
    newest, _ = await outbox(email, 2)
    assert (await verify(api, token_in(newest))).status_code == 200
    assert (await log_in(api, email)).status_code == 200


async def test_asking_for_another_mail_tells_nothing_of_an_address(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    unverified, verified = new_address(), (await make_patient()).email
    await register(api, unverified)
    answers = [
        await api.post("/v1/auth/verify-email/resend", json={"email": email})
        for email in (unverified, verified, new_address())
    ]
    assert len({str(said(answer)) for answer in answers}) == 1
    async with db.connection() as connection:
        links = await connection.fetchval(
            "SELECT count(*) FROM email_tokens JOIN users ON users.id = user_id WHERE email = $1", verified
        )
    assert links == 0


async def test_a_link_lies_in_the_database_as_a_hash_only(api: httpx.AsyncClient, outbox: Outbox, db: Database) -> None:
    email = new_address()
    await register(api, email)
    token = token_in((await outbox(email))[0])
    async with db.connection() as connection:
        rows = await connection.fetch(
            """SELECT t::text || coalesce(e.data::text, '') AS everything
               FROM email_tokens t JOIN users u ON u.id = t.user_id LEFT JOIN events e ON e.subject = u.id
               WHERE u.email = $1""",
            email,
        )
    assert rows
    assert token not in str([row["everything"] for row in rows])


async def test_an_unknown_address_and_a_wrong_password_are_one_refusal(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    known = await with_password(db, make_patient)
    wrong = await log_in(api, known.email, "wrong password")
    unknown = await log_in(api, new_address(), "wrong password")
    assert said(wrong) == said(unknown)
    assert (wrong.status_code, wrong.json()["code"]) == (401, "invalid_credentials")


async def test_an_unconfirmed_account_is_told_only_to_whoever_knows_its_password(api: httpx.AsyncClient) -> None:
    email = new_address()
    await register(api, email)
    assert (await log_in(api, email)).status_code == 403
    assert (await log_in(api, email, "wrong password")).status_code == 401


async def test_an_access_token_can_be_checked_with_the_published_keys(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient, settings: Settings
) -> None:
    patient = await with_password(db, make_patient)
    tokens = (await log_in(api, patient.email)).json()
    token = tokens["access_token"]
    head = jwt.get_unverified_header(token)
    published = await api.get("/.well-known/jwks.json")
    key = jwt.PyJWKSet.from_dict(published.json())[head["kid"]]
    claims = jwt.decode(token, key, ["EdDSA"], audience=settings.public_url, issuer=settings.public_url)

    assert head["typ"] == "at+jwt"
    assert (claims["sub"], claims["sid"]) == (str(patient.id), tokens["session_id"])
    assert (claims["roles"], claims["amr"]) == (["patient"], ["pwd"])
    assert claims["exp"] - claims["iat"] == 600
    assert "d" not in published.json()["keys"][0]


async def test_an_expired_access_token_is_told_apart_from_a_wrong_one(
    api: httpx.AsyncClient, make_patient: MakePatient, keyring: Any, settings: Settings
) -> None:
    patient = await make_patient()
    tokens = AccessTokens(keyring, settings.public_url, timedelta(minutes=10))
    then = datetime.now(UTC) - timedelta(minutes=11)
    expired = tokens.issue(tokens.check(patient.token), now=then, auth_time=then, methods=["pwd"])
    codes = [
        (await api.get("/v1/me", headers={"Authorization": header})).json()["code"]
        for header in (f"Bearer {expired}", f"Bearer {patient.token}x", f"Basic {patient.token}", "Bearer", "")
    ]
    assert codes == ["token_expired", *["unauthenticated"] * 4]


async def test_a_wrong_password_of_any_shape_is_no_fault_of_the_server(
    api: httpx.AsyncClient, db: Database, make_patient: MakePatient
) -> None:
    email = (await with_password(db, make_patient)).email
    for password in ("\x00", "é" * 200, "🦆", PASSWORD.upper(), f" {PASSWORD}"):
        assert (await log_in(api, email, password)).status_code == 401
    for password in ("", "x" * 257, 7, None, ["x"]):
        answer = await api.post("/v1/auth/login", json={"email": email, "password": password})
        assert answer.json()["errors"][0]["pointer"] == "/password"


async def test_own_data_is_read_with_an_etag_and_kept_by_no_cache(
    api: httpx.AsyncClient, make_patient: MakePatient
) -> None:
    patient = await make_patient()
    answer = await api.get("/v1/me", headers=patient.headers)
    assert answer.headers["cache-control"] == "no-store"
    again = await api.get("/v1/me", headers={**patient.headers, "If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    assert (await api.get("/v1/me")).status_code == 401
