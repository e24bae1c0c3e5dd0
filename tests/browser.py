"""A real browser, chromium, driven through playwright. What its pages said on their consoles, and whom they asked, is kept."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request, sync_playwright

PATIENCE_MS = 60_000.0
DESK, PHONE = (1024, 600), (360, 740)
"""Widths and heights of windows that the page must be fit for."""
NAMES = ("chromium", "chromium-browser", "google-chrome")


class Window:
    """A window with one page and cookies of its own. said: warnings and errors of its console, and of its scripts.

    asked: addresses of all requests.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.context.set_default_timeout(PATIENCE_MS)
        page.on("console", self._console)
        page.on("pageerror", self._error)
        page.on("request", self._request)

    def until(self, expression: str, argument: object = None) -> None:
        """Wait until that is true on the page. Playwright's own way to wait for it is forbidden by the page's policy."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while not self.page.evaluate(expression, argument):
            assert time.monotonic() < deadline, f"never true: {expression} ({argument})\n{self.page.inner_text('body')}"
            self.page.wait_for_timeout(50)

    def is_clean(self, origin: str, *, but: str = "") -> None:
        """Nothing went wrong in it, and nobody but `origin` was asked. but: what may stand in a message that is allowed."""
        assert [each for each in self.said if not (but and but in each)] == []
        asked = [parts for parts in map(urlsplit, self.asked) if parts.scheme not in ("data", "blob")]
        assert {f"{parts.scheme}://{parts.netloc}" for parts in asked} == {origin}

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.said.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    def _error(self, error: Error) -> None:
        self.said.append(f"script: {error}")

    def _request(self, request: Request) -> None:
        self.asked.append(request.url)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Skips the test where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"], timeout=PATIENCE_MS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def window(browser: Browser, size: tuple[int, int] = DESK) -> Iterator[Window]:
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, reduced_motion="reduce")
    try:
        yield Window(context.new_page())
    finally:
        context.close()
