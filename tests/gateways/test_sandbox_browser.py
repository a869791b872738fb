"""The payment page of the sandbox in Chromium, used as a person uses it."""

import re
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, expect

from tests.gateways.http_listener import Answer
from tests.gateways.sandboxes import Running
from tests.polling import until
from tests.web.chromium import Watched, chromium_page

BACK = b"<!doctype html><title>Amrutam</title><h1>Back at the clinic</h1>"


@pytest.fixture
async def browser(sandbox: Running) -> AsyncGenerator[tuple[Page, Watched]]:
    """A page, from which people go back to the listener."""
    sandbox.listener.answer = Answer(200, BACK)
    async with chromium_page(sandbox.part.url) as (page, watched):
        yield page, watched


async def _told(sandbox: Running, order: dict[str, Any], *kinds: str) -> None:
    async def all_of_them() -> bool:
        return sandbox.listener.kinds(order["reference"]) == ["order.created", *kinds]

    await until(all_of_them)


async def test_a_person_pays_by_keyboard_and_is_sent_back(sandbox: Running, browser: tuple[Page, Watched]) -> None:
    page, watched = browser
    order = await sandbox.order(amount=12345678)
    await page.goto(order["url"])
    await expect(page.get_by_role("heading", level=1)).to_have_text(order["description"])
    await expect(page.get_by_text("₹1,23,456.78")).to_be_visible()
    await expect(page.get_by_text("No money moves here")).to_be_visible()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Pay")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading")).to_have_text("Back at the clinic")
    assert page.url == order["return_url"]
    [returned] = [each for each in sandbox.listener.heard if each.method == "GET" and each.path.startswith("/back")]
    assert "referer" not in returned.headers
    assert (set(watched.elsewhere), watched.complaints) == ({order["return_url"]}, [])
    await _told(sandbox, order, "charge.authorised", "charge.captured")

    await page.goto(order["url"])
    await expect(page.get_by_role("heading")).to_have_text("Paid already")
    await expect(page.get_by_role("button")).to_have_count(0)
    await page.get_by_role("link", name="Go back").click()
    await expect(page.get_by_role("heading")).to_have_text("Back at the clinic")


async def test_a_person_chooses_how_difficult_the_gateway_is(sandbox: Running, browser: tuple[Page, Watched]) -> None:
    page, watched = browser
    order = await sandbox.order()
    await page.goto(order["url"])
    await page.get_by_label("Out of order").check()
    await page.get_by_role("button", name="Pay").click()
    await expect(page.get_by_role("heading")).to_have_text("Back at the clinic")
    await _told(sandbox, order, "charge.captured", "charge.authorised")

    late = await sandbox.order()
    await page.goto(late["url"])
    taken = page.get_by_role("group", name="When the money is taken")
    await taken.get_by_label("Late, after").check()
    seconds = taken.get_by_label("seconds")
    assert 500 < float(await seconds.input_value()) < 620  # beyond the order's own time
    await seconds.fill("1")
    await page.get_by_role("button", name="Pay").click()
    await expect(page.get_by_role("heading")).to_have_text("Back at the clinic")
    await _told(sandbox, late, "charge.authorised", "charge.captured")
    assert watched.complaints == []


async def test_who_came_from_elsewhere_is_told_here_what_became_of_it(
    sandbox: Running, browser: tuple[Page, Watched]
) -> None:
    page, watched = browser
    look_alike = f"{sandbox.listener.url}.example.com/back"
    order = await sandbox.order(return_url=look_alike, description="<b>Ten</b> & more")
    await page.goto(order["url"])
    await expect(page.get_by_role("heading", level=1)).to_have_text("<b>Ten</b> & more")
    await page.get_by_role("button", name="Decline").click()
    await expect(page.get_by_role("heading")).to_have_text("Payment declined")
    await page.get_by_role("link", name="Try again").click()
    await page.get_by_label("Late, after").first.check()
    await page.get_by_role("group", name="How the webhook is told").get_by_label("seconds").fill("0.2")
    await page.get_by_role("button", name="Pay").click()
    await expect(page.get_by_role("heading")).to_have_text("Payment made")
    await expect(page.get_by_role("link")).to_have_count(0)
    await _told(sandbox, order, "charge.declined", "charge.authorised", "charge.captured")
    assert (watched.elsewhere, watched.complaints) == ([], [])


async def test_a_second_tab_finds_that_the_order_was_paid_or_closed(
    sandbox: Running, browser: tuple[Page, Watched]
) -> None:
    page, _ = browser
    order = await sandbox.order()
    await page.goto(order["url"])
    await sandbox.http.post(f"/v1/orders/{order['id']}/close")
    await page.get_by_role("button", name="Pay").click()
    await expect(page.get_by_role("heading")).to_have_text("Closed")
    assert await sandbox.charges(order) == []
    await page.goto("/pay/ord_unknown")
    await expect(page.get_by_role("heading")).to_have_text("No such payment")


@pytest.mark.parametrize("token", [None, "", "0" * 64, "\u0905"])
async def test_a_form_that_is_not_the_pages_own_pays_nothing(sandbox: Running, token: str | None) -> None:
    order = await sandbox.order()
    form = {"outcome": "pay", **({"token": token} if token is not None else {})}
    async with httpx.AsyncClient(base_url=sandbox.part.url, trust_env=False) as stranger:
        answer = await stranger.post(f"/pay/{order['id']}", data=form)
    assert answer.status_code == 403
    assert await sandbox.charges(order) == []


@pytest.mark.parametrize("seconds", ["", "-1", "nan", "1e9", "soon"])
async def test_seconds_that_are_none_pay_nothing_and_are_told(sandbox: Running, seconds: str) -> None:
    order = await sandbox.order()
    async with httpx.AsyncClient(base_url=sandbox.part.url, trust_env=False) as person:
        page = await person.get(f"/pay/{order['id']}")
        [token] = re.findall(r'name="token" value="(.+?)"', page.text)
        form = {"token": token, "outcome": "pay", "webhooks": "late", "delay_seconds": seconds}
        answer = await person.post(f"/pay/{order['id']}", data=form)
    assert answer.status_code == 422
    assert "Seconds are a number" in answer.text
    assert await sandbox.charges(order) == []


async def test_the_page_may_load_nothing_and_is_shown_in_no_frame(sandbox: Running) -> None:
    answer = await sandbox.http.get((await sandbox.order())["url"])
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'nonce-")
    assert policy.endswith(f"form-action 'self' {sandbox.listener.url}; base-uri 'none'; frame-ancestors 'none'")
    assert (answer.headers["referrer-policy"], answer.headers["cache-control"]) == ("no-referrer", "no-store")
    assert "<script" not in answer.text
