"""Chromium without a window, driven by Playwright."""

import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from playwright.async_api import ConsoleMessage, Page, Request, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


def _program() -> str:
    """Raises RuntimeError: a page that no browser has shown is not tested."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        raise RuntimeError("no Chromium: run tools/browser, or name one by CHROMIUM")
    return found


class Watched:
    """What a page loaded from elsewhere, and what it complained of."""

    def __init__(self, page: Page, home: str) -> None:
        self._home = home
        self.elsewhere: list[str] = []
        self.complaints: list[str] = []
        page.on("request", self._requested)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _requested(self, request: Request) -> None:
        if not request.url.startswith((self._home, "data:")):
            self.elsewhere.append(request.url)

    def _said(self, message: ConsoleMessage) -> None:
        # A refusal that was expected is logged by the browser as well.
        if message.type in {"error", "warning"} and "status of 4" not in message.text:
            self.complaints.append(message.text)


@asynccontextmanager
async def chromium_page(home: str) -> AsyncGenerator[tuple[Page, Watched], None]:
    """A page of a browser without cookies, whose addresses begin at `home`."""
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # which root has not
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=_program(), args=["--disable-gpu", *sandbox])
        try:
            page = await (await browser.new_context(base_url=home)).new_page()
            page.set_default_timeout(20_000)
            yield page, Watched(page, home)
        finally:
            await browser.close()
