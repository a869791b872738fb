"""The page at which staff sign in with a browser: its cookies and its token, seen from the wire."""

import re
from collections.abc import AsyncGenerator
from typing import NamedTuple

import httpx
import pytest

from amrutam.domain.common import Role
from amrutam.storage.pool import Database
from tests.beside import api_beside
from tests.conftest import System
from tests.people import People, Person
from tests.web.accounts import PASSWORD, with_password
from tests.web.factors import code

CSRF = "X-CSRF-Token"


class Browser(NamedTuple):
    """Keeps cookies, and sends the token of the page that it shows."""

    client: httpx.AsyncClient

    async def page(self) -> str:
        """What it shows now."""
        answer = await self.client.get("/staff")
        assert answer.status_code == 200
        return answer.text

    async def token(self) -> str:
        """Of the page that it shows now."""
        found = re.search(r'<meta name="csrf" content="([\w-]+)">', await self.page())
        assert found
        return found[1]

    async def post(self, path: str, token: str | None = None, **said: str) -> httpx.Response:
        """Send what the page sends; another token than the page's where it is given."""
        return await self.client.post(path, json=said, headers={CSRF: await self.token() if token is None else token})

    async def sign_in(self, person: Person, password: str = PASSWORD) -> httpx.Response:
        """The password, and the code if it is asked for."""
        answer = await self.post("/staff/sign-in", email=person.email, password=password)
        if answer.is_success and "mfa_token" in answer.json():
            given = {"mfa_token": answer.json()["mfa_token"], "factor": "totp", "code": code(person.secret)}
            return await self.post("/staff/code", **given)
        return answer


@pytest.fixture
async def browser(api: httpx.AsyncClient) -> AsyncGenerator[Browser, None]:
    """A new one."""
    async with httpx.AsyncClient(base_url=api.base_url, timeout=20, trust_env=False) as client:
        yield Browser(client)


@pytest.fixture
async def support(people: People, db: Database) -> Person:
    """With a password, and without a factor."""
    return await with_password(db, lambda: people.staff(Role.SUPPORT))


async def test_whoever_signs_in_is_shown_and_signs_out(browser: Browser, support: Person) -> None:
    assert "Asha Rao" not in await browser.page()
    answer = await browser.sign_in(support)
    assert (answer.status_code, answer.json()) == (200, {"status": "authenticated"})
    page = await browser.page()
    assert "Asha Rao" in page
    assert support.email in page
    answer = await browser.post("/staff/sign-out")
    assert answer.status_code == 204
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert "Asha Rao" not in await browser.page()


async def test_a_second_factor_is_asked_for_and_a_wrong_code_opens_nothing(
    browser: Browser, support: Person, people: People
) -> None:
    person = await people.with_factor(support)
    asked = await browser.post("/staff/sign-in", email=person.email, password=PASSWORD)
    assert asked.json()["status"] == "mfa_required"
    assert "set-cookie" not in asked.headers
    given = {"mfa_token": asked.json()["mfa_token"], "factor": "totp"}
    assert (await browser.post("/staff/code", **given, code="none")).status_code == 401
    assert (await browser.post("/staff/code", **given, code=code(person.secret))).status_code == 200
    assert "Asha Rao" in await browser.page()


async def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(browser: Browser, support: Person) -> None:
    cookie = (await browser.sign_in(support)).headers["set-cookie"]
    assert re.fullmatch(r"amrutam_staff=[\w-]{43}; Path=/; HttpOnly; SameSite=Strict", cookie)


async def test_over_https_the_cookie_is_secure_and_of_this_host_alone(system: System, support: Person) -> None:
    async with api_beside(system, PUBLIC_URL="https://clinic.amrutam.test") as client:
        page = await client.get("/staff")
        name, _, value = page.headers["set-cookie"].partition(";")[0].partition("=")
        token = re.findall(r'name="csrf" content="([\w-]+)"', page.text)[0]
        answer = await client.post(
            "/staff/sign-in",
            json={"email": support.email, "password": PASSWORD},
            headers={"Cookie": f"{name}={value}", CSRF: token},
        )
    assert name == "__Host-amrutam_staff_form"
    assert re.fullmatch(
        r"__Host-amrutam_staff=[\w-]{43}; Path=/; HttpOnly; SameSite=Strict; Secure", answer.headers["set-cookie"]
    )


async def test_nothing_is_changed_without_the_token_of_this_very_page(
    browser: Browser, support: Person, api: httpx.AsyncClient
) -> None:
    anothers = re.findall(r'name="csrf" content="([\w-]+)"', (await api.get("/staff")).text)[0]
    said = {"email": support.email, "password": PASSWORD}
    before = await browser.token()
    for token in ("", "none", anothers):
        answer = await browser.post("/staff/sign-in", token, **said)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        answer = await browser.post("/staff/code", token, mfa_token="x", factor="totp", code="123456")
        assert answer.status_code == 403
    assert (await browser.sign_in(support)).status_code == 200
    for token in ("", anothers, before):
        assert (await browser.post("/staff/sign-out", token)).status_code == 403
    assert "Asha Rao" in await browser.page()


async def test_a_form_of_another_site_is_not_understood(browser: Browser, support: Person) -> None:
    answer = await browser.client.post(
        "/staff/sign-in",
        data={"email": support.email, "password": PASSWORD},
        headers={CSRF: await browser.token()},
    )
    assert answer.status_code == 415


async def test_signing_in_gives_a_cookie_that_was_not_there_before(browser: Browser, support: Person) -> None:
    browser.client.cookies.set("amrutam_staff", "a" * 43)
    answer = await browser.sign_in(support)
    assert "a" * 43 not in answer.headers["set-cookie"]


@pytest.mark.parametrize("sent", ['"{}\\073 Domain=evil.test"', "{}=", "short", '"{}\\015\\012Set-Cookie: a=b"'])
async def test_a_cookie_that_is_not_of_our_making_is_not_given_back(api: httpx.AsyncClient, sent: str) -> None:
    made = sent.format("a" * 43)
    answer = await api.get("/staff", headers={"Cookie": f"amrutam_staff_form={made}; amrutam_staff={made}"})
    assert answer.status_code == 200
    [given] = answer.headers.get_list("set-cookie")
    found = re.fullmatch(r"amrutam_staff_form=([\w-]{43}); Path=/; HttpOnly; SameSite=Strict", given)
    assert found
    assert found[1] != "a" * 43


async def test_a_cookie_of_our_making_is_kept_for_other_tabs(api: httpx.AsyncClient) -> None:
    made = (await api.get("/staff")).headers["set-cookie"].partition(";")[0]
    assert (await api.get("/staff", headers={"Cookie": made})).headers["set-cookie"].partition(";")[0] == made


@pytest.mark.parametrize("path", ["/staff", "/staff/sign-out"])
async def test_a_cookie_that_cannot_be_ours_is_looked_for_nowhere(
    api: httpx.AsyncClient, db: Database, path: str
) -> None:
    method = "GET" if path == "/staff" else "POST"
    async with db.transaction() as connection:  # a look would wait for it in vain
        await connection.execute("LOCK TABLE staff_sessions IN ACCESS EXCLUSIVE MODE")
        answer = await api.request(method, path, headers={"Cookie": f"amrutam_staff={'a' * 42}"})
    assert answer.status_code == (200 if method == "GET" else 401)


async def test_patients_and_wrong_passwords_are_refused(browser: Browser, people: People, db: Database) -> None:
    patient = await with_password(db, people.patient)
    answer = await browser.sign_in(patient)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    answer = await browser.sign_in(patient, "not the password")
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "befalls",
    [
        "UPDATE sessions SET last_used_at = now() - interval '31 minutes' WHERE user_id = $1",
        "UPDATE sessions SET expires_at = now() WHERE user_id = $1",
        "UPDATE sessions SET ended_at = now() WHERE user_id = $1",
        "UPDATE users SET suspended_at = now() WHERE id = $1",
    ],
)
async def test_a_session_that_was_left_alone_has_run_out_or_was_ended_opens_nothing(
    browser: Browser, support: Person, db: Database, befalls: str
) -> None:
    await browser.sign_in(support)
    token = await browser.token()
    async with db.connection() as connection:
        await connection.execute(befalls, support.id)
    assert "Asha Rao" not in await browser.page()
    answer = await browser.post("/staff/sign-out", token)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_a_session_that_is_used_lasts(browser: Browser, support: Person, db: Database) -> None:
    await browser.sign_in(support)
    async with db.connection() as connection:
        for _ in range(2):
            await connection.execute(
                "UPDATE sessions SET last_used_at = last_used_at - interval '20 minutes' WHERE user_id = $1", support.id
            )
            assert "Asha Rao" in await browser.page()


async def test_a_browsers_session_is_listed_and_ended_like_any_other(
    browser: Browser, support: Person, api: httpx.AsyncClient
) -> None:
    await browser.sign_in(support)
    listed = (await api.get("/v1/auth/sessions", headers=support.headers)).json()["items"]
    assert len(listed) == 2
    assert (await api.delete(f"/v1/auth/sessions/{listed[0]['id']}", headers=support.headers)).status_code == 204
    assert "Asha Rao" not in await browser.page()


async def test_the_cookie_is_good_for_pages_alone(browser: Browser, support: Person, api: httpx.AsyncClient) -> None:
    cookie = (await browser.sign_in(support)).headers["set-cookie"].partition(";")[0].partition("=")[2]
    assert (await api.get("/v1/me", headers={"Authorization": f"Bearer {cookie}"})).status_code == 401
    assert (await browser.client.get("/v1/me")).status_code == 401
    assert (await api.post("/v1/auth/refresh", json={"refresh_token": cookie})).status_code == 401


async def test_a_name_is_shown_as_text(browser: Browser, support: Person, db: Database) -> None:
    async with db.connection() as connection:
        await connection.execute("UPDATE users SET full_name = '<b>Eve</b>' WHERE id = $1", support.id)
    await browser.sign_in(support)
    assert "&lt;b&gt;Eve&lt;/b&gt;" in await browser.page()


async def test_the_page_runs_its_own_script_alone_and_is_kept_by_nobody(browser: Browser) -> None:
    policies = [(await browser.client.get("/staff")).headers for _ in range(2)]
    for headers in policies:
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["cache-control"] == "no-store"
        assert headers["x-frame-options"] == "DENY"
    assert policies[0]["content-security-policy"] != policies[1]["content-security-policy"]
