"""The live view in a real browser: a run begun on the page, what it counts, and who is let in."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Window, chromium, window
from page_of import Page, page_of
from playwright.sync_api import Browser
from serving import small_settings

from edgecell.messages import NOTICE

TOKEN = "sixteen letters at least"  # noqa: S105 opens nothing but the page of a test
FRAMES = "Number(document.querySelector('#fates dd')?.textContent.replace(/\\D/g, '') ?? 0)"
"""Frames captured, as the page says."""
MEAN_GREY = """() => {
  const pixels = document.getElementById("preview").getContext("2d").getImageData(0, 0, 200, 200).data;
  return pixels.reduce((sum, each) => sum + each) / pixels.length;
}"""
"""Of a corner of the live picture, its opacity (255) included: 64 is black, 255 white."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def begin(seen: Window, sample: str, operator: str) -> None:
    """A run of the phantom slide, without a stop rule, through the dialog."""
    seen.page.click("#start")
    seen.page.click("#start-dialog button.main")
    assert seen.page.locator("#start-dialog").is_visible()  # sample and operator come first
    seen.page.fill("#sample", sample)
    seen.page.fill("#operator", operator)
    seen.page.check("#start-dialog [name='rule'][value='none']")
    seen.page.click("#start-dialog button.main")
    seen.page.wait_for_selector("#start-dialog", state="hidden")


def stop(seen: Window) -> None:
    seen.page.click("#stop")
    seen.page.click("#ask-go")
    seen.page.wait_for_selector("#start:not([hidden])")


def test_live_counts_change_while_a_run_goes_on(browser: Browser, tmp_path: Path) -> None:
    with page_of(tmp_path) as page, window(browser) as seen:
        seen.page.goto(page.url)
        begin(seen, "slide-17", "Ada Q.")
        seen.until(f"{FRAMES} > 0")
        first = int(seen.page.evaluate(FRAMES))
        seen.until(f"{FRAMES} > {first + 5}")
        seen.page.wait_for_selector("#preview:not([hidden])")
        picture = seen.page.evaluate(MEAN_GREY)
        assert 70 < picture < 254  # neither black nor blank
        assert "red_blood_cell" not in seen.page.inner_text("#preview-frame")
        seen.page.wait_for_selector("#differential tbody tr")
        assert "slide-17" in seen.page.inner_text("#run-title")
        assert "Ada Q." in seen.page.inner_text("#run-facts")
        assert NOTICE in seen.page.inner_text(".notice")
        for light in ("focus", "exposure"):
            seen.page.wait_for_selector(f"#light-{light}.good")
        stop(seen)
        seen.page.click("#run-review")
        seen.page.wait_for_selector("#tile-0 img")
        seen.page.click(".top a[href='#/runs']")  # what was drawn of the gallery stays behind without a word
        seen.page.wait_for_selector("#runs-table tbody tr")
        assert "slide-17" in seen.page.inner_text("#runs-table tbody")
        seen.is_clean(page.origin)


def test_a_run_survives_a_killed_server_and_is_found_again(browser: Browser, tmp_path: Path) -> None:
    with page_of(tmp_path, small_settings(tmp_path)) as page, window(browser) as seen:
        seen.page.goto(page.url)
        begin(seen, "slide-18", "Ada Q.")
        seen.until(f"{FRAMES} > 0")
        before = int(seen.page.evaluate(FRAMES))
        page.kill()
        page.start()
        seen.page.reload()
        seen.until(f"{FRAMES} > {before}")
        assert "slide-18" in seen.page.inner_text("#run-title")
        stop(seen)


def closed(folder: Path) -> Path:
    path = folder / "token"
    with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
        file.write(TOKEN)
    return path


def api(seen: Window, page: Page) -> list[str]:
    """What was asked of the API but who one is and to be let in."""
    known = {f"{page.origin}/api/me", f"{page.origin}/api/login"}
    return [each for each in seen.asked if each.startswith(f"{page.origin}/api/") and each not in known]


def test_a_wrong_token_gets_nothing_and_the_right_one_gets_in(browser: Browser, tmp_path: Path) -> None:
    with page_of(tmp_path, "--token-file", closed(tmp_path)) as page, window(browser) as seen:
        seen.page.goto(page.url)
        seen.page.wait_for_selector("#login:not([hidden])")
        seen.page.fill("#token", "wrong")
        seen.page.click("#login button")
        seen.page.wait_for_selector("#login .error:not(:empty)")
        assert seen.page.locator("main > section:visible").count() == 1
        assert seen.page.context.cookies() == []
        assert api(seen, page) == []
        for path in ("runs", "live", "runs/run-a", "preview/1.jpg", "runs/run-a/report.pdf"):
            assert seen.page.request.get(f"{page.origin}/api/{path}").status == 401, path
        for path in ("run", "runs/run-a/reviews", "runs/run-a/sign"):
            assert seen.page.request.post(f"{page.origin}/api/{path}", data={}).status == 401, path
        seen.page.fill("#token", TOKEN)
        seen.page.keyboard.press("Enter")
        seen.page.wait_for_selector("#live:not([hidden])")
        (cookie,) = seen.page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert seen.page.request.get(f"{page.origin}/api/runs").ok
        assert TOKEN not in seen.page.content()
        seen.is_clean(page.origin, but="401")


def test_the_address_that_is_printed_lets_in_once_and_is_forgotten(browser: Browser, tmp_path: Path) -> None:
    with page_of(tmp_path, "--token") as page, window(browser) as seen:
        assert "#token=" in page.url
        seen.page.goto(page.url)
        seen.page.wait_for_selector("#live:not([hidden])")
        assert "token" not in seen.page.url
        seen.is_clean(page.origin)
