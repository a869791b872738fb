"""The pages of staff in Chromium, used by keyboard alone."""

from collections.abc import AsyncGenerator

import httpx
import pytest
from playwright.async_api import Page, expect

from amrutam.domain.common import Role
from amrutam.storage.pool import Database
from tests.beside import api_beside
from tests.conftest import System
from tests.people import People
from tests.web.accounts import PASSWORD, Outbox, with_password
from tests.web.chromium import chromium_page
from tests.web.factors import code, let_a_minute_pass, wrong_code
from tests.web.test_invitations import invited


@pytest.fixture(scope="module")
async def strict(system: System) -> AsyncGenerator[httpx.AsyncClient, None]:
    """An API that asks staff for a second factor, as production does."""
    async with api_beside(system, REQUIRE_MFA_ROLES="doctor,support,admin") as client:
        yield client


async def type_and_send(page: Page, *fields: str) -> None:
    """Type into the field that has the focus and those after it, then press Enter."""
    for number, text in enumerate(fields):
        if number:
            await page.keyboard.press("Tab")
        await page.keyboard.type(text)
    await page.keyboard.press("Enter")


async def test_staff_sign_in_with_password_and_code_and_out_again(
    api: httpx.AsyncClient, people: People, db: Database
) -> None:
    person = await people.with_factor(await with_password(db, lambda: people.staff(Role.SUPPORT)))
    async with chromium_page(str(api.base_url)) as (page, watched):
        await page.goto("/staff")
        await type_and_send(page, person.email, "not the password")
        await expect(page.get_by_role("status")).to_contain_text("wrong")
        await type_and_send(page, PASSWORD)
        await expect(page.get_by_role("heading")).to_have_text("One thing more")
        await type_and_send(page, wrong_code(person.secret))
        await expect(page.get_by_role("status")).to_contain_text("wrong")
        await page.keyboard.press("ControlOrMeta+a")
        await type_and_send(page, code(person.secret))
        await expect(page.get_by_role("heading")).to_have_text("You are signed in")
        await expect(page.locator("#who")).to_have_text("Asha Rao")

        cookies = {each["name"]: each for each in await page.context.cookies() if "name" in each}
        session = cookies["amrutam_staff"]
        assert (session.get("httpOnly"), session.get("sameSite")) == (True, "Strict")
        assert "amrutam_staff" not in await page.evaluate("document.cookie")

        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading")).to_have_text("Sign in")
        assert (watched.elsewhere, watched.complaints) == ([], [])


async def test_an_invited_person_makes_an_account_sets_up_a_factor_and_signs_in(
    strict: httpx.AsyncClient, api: httpx.AsyncClient, people: People, outbox: Outbox, db: Database
) -> None:
    admin = await people.with_factor(await people.staff(Role.ADMIN))
    email, token = await invited(api, admin, outbox, "doctor")
    async with chromium_page(str(strict.base_url)) as (page, watched):
        await page.goto(f"/invitation?token={token}")
        assert token not in page.url
        await page.get_by_label("Password").focus()
        await type_and_send(page, "password1")
        await expect(page.get_by_role("status")).to_contain_text("most common passwords")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading")).to_have_text("Your account is ready")
        await page.keyboard.press("Enter")  # on the link, which has the focus

        await expect(page.get_by_role("heading")).to_have_text("Sign in")
        await type_and_send(page, email, PASSWORD)
        await expect(page.get_by_role("heading")).to_have_text("Set up your second factor")
        picture = page.get_by_alt_text("QR code")
        assert await picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
        secret = await page.locator("#secret").inner_text()
        await type_and_send(page, code(secret))
        await expect(page.get_by_role("heading")).to_have_text("Keep your recovery codes")
        recovery = await page.locator("#codes li").all_inner_texts()
        assert len(set(recovery)) == 10
        await page.keyboard.press("Enter")

        await _again(page, email, recovery[0])
        await page.keyboard.press("Enter")  # signs out
        await expect(page.get_by_role("heading")).to_have_text("Sign in")
        async with db.connection() as connection:
            await let_a_minute_pass(db, await connection.fetchval("SELECT id FROM users WHERE email = $1", email))
        await _again(page, email, code(secret))
        assert (watched.elsewhere, watched.complaints) == ([], [])


async def _again(page: Page, email: str, given: str) -> None:
    """Sign in with a code, and stop at the button that signs out."""
    await expect(page.get_by_role("heading")).to_have_text("Sign in")
    await type_and_send(page, email, PASSWORD)
    await expect(page.get_by_role("heading")).to_have_text("One thing more")
    await type_and_send(page, given)
    await expect(page.get_by_role("heading")).to_have_text("You are signed in")
    await expect(page.locator("#who")).to_have_text("Dr Kavya Menon")
    await page.keyboard.press("Tab")
