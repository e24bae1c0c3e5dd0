"""The gallery in a real browser: cells relabelled by key and by pointer, kept over a reload and a killed server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Window, chromium, window
from command_line import called
from made_run import made
from page_of import Page, page_of
from playwright.sync_api import Browser

RUN = "#/runs/run-a"
BIN = "#bins [data-view='{}'] .count"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with page_of(tmp_path) as page:
        made(tmp_path / "journal", 300)
        yield page


def opened(seen: Window, page: Page, view: str) -> None:
    """The run's review, at one of its bins, with the first cells there."""
    seen.page.goto(f"{page.origin}/{RUN}")
    seen.page.click(f"#bins [data-view='{view}']")
    seen.page.wait_for_selector(f"#bins [data-view='{view}'][aria-current]")
    seen.page.wait_for_selector("#tile-0 img")


def count(seen: Window, view: str) -> int:
    return int(seen.page.inner_text(BIN.format(view)))


def until_count(seen: Window, view: str, wanted: int) -> None:
    seen.until("([where, wanted]) => document.querySelector(where)?.textContent === wanted", [BIN.format(view), str(wanted)])


def reviewed(seen: Window, page: Page) -> list[dict[str, Any]]:
    """What the server says was reviewed."""
    answer = seen.page.request.get(f"{page.origin}/api/runs/run-a/cells?view=reviewed&order=time&offset=0&limit=500")
    assert answer.ok
    cells: list[dict[str, Any]] = answer.json()["cells"]
    return cells


def sign_in_as(seen: Window, name: str) -> None:
    """Who it is that says something is asked the first time."""
    seen.page.fill("#ask-operator", name)
    seen.page.click("#ask-go")


def key_of(seen: Window, label: str) -> str:
    return (seen.page.get_attribute(f"#actions [data-label='{label}']", "aria-keyshortcuts") or "").lower()


def test_key_and_pointer_relabel_and_a_reload_and_a_killed_server_keep_it(browser: Browser, page: Page) -> None:
    with window(browser) as seen:
        opened(seen, page, "label:neutrophil")
        before, others = count(seen, "label:neutrophil"), count(seen, "label:lymphocyte")
        name = seen.page.get_attribute("#tile-0", "aria-label") or ""
        assert "Neutrophil" in name
        seen.page.focus("#grid")
        seen.page.keyboard.press(key_of(seen, "lymphocyte"))
        sign_in_as(seen, "Ada Q.")
        until_count(seen, "reviewed", 1)
        seen.page.drag_and_drop("#tile-1", "#bins [data-view='label:lymphocyte']")
        until_count(seen, "reviewed", 2)
        assert (count(seen, "label:neutrophil"), count(seen, "label:lymphocyte")) == (before - 2, others + 2)
        kept = reviewed(seen, page)
        assert len(kept) == 2
        for each in kept:
            assert (each["label"], each["review"]["action"], each["review"]["label"]) == ("neutrophil", "relabel", "lymphocyte")
            assert each["review"]["operator"] == "Ada Q."
        seen.page.reload()
        until_count(seen, "reviewed", 2)
        assert reviewed(seen, page) == kept
        seen.is_clean(page.origin)

        page.kill()
        page.start()
        seen.page.goto(f"{page.origin}/{RUN}")
        seen.page.reload()
        until_count(seen, "reviewed", 2)
        assert reviewed(seen, page) == kept
        seen.page.click("#bins [data-view='reviewed']")
        seen.page.wait_for_selector("#tile-1 img")
        shown = seen.page.get_attribute("#tile-1", "aria-label") or ""
        assert "Lymphocyte" in shown
        assert "Neutrophil" in shown  # the machine's label stays beside the person's
    assert called("journal", "verify", page.folder / "journal").code == 0


def test_the_pointer_relabels_rejects_and_takes_back(browser: Browser, page: Page) -> None:
    with window(browser) as seen:
        opened(seen, page, "label:neutrophil")
        before = count(seen, "label:neutrophil")
        seen.page.drag_and_drop("#tile-0", "#bins [data-view='label:lymphocyte']")
        sign_in_as(seen, "Ada Q.")
        until_count(seen, "reviewed", 1)
        seen.page.click("#tile-0")
        seen.page.click("#tile-3", modifiers=["Shift"])
        assert seen.page.locator("#grid [aria-selected='true']").count() == 4
        seen.page.click("#actions [data-action='reject']")
        until_count(seen, "reviewed", 5)
        assert count(seen, "label:neutrophil") == before - 5
        assert sorted(each["review"]["action"] for each in reviewed(seen, page)) == ["reject"] * 4 + ["relabel"]
        seen.page.focus("#grid")
        seen.page.keyboard.press("u")
        until_count(seen, "reviewed", 1)
        assert count(seen, "label:neutrophil") == before - 1
        seen.is_clean(page.origin)
    replayed = called("journal", "replay", page.folder / "journal")
    assert replayed.code == 0, replayed.err


def test_both_differentials_stand_side_by_side_and_the_review_is_signed(browser: Browser, page: Page) -> None:
    with window(browser) as seen:
        opened(seen, page, "unsure")
        seen.page.focus("#grid")
        seen.page.keyboard.press(key_of(seen, "neutrophil"))
        sign_in_as(seen, "Ada Q.")
        until_count(seen, "reviewed", 1)
        told = json.loads(seen.page.request.get(f"{page.origin}/api/runs/run-a").text())
        assert told["reviewed"]["n"] == told["machine"]["n"] + 1
        assert told["reconciles"]
        table = seen.page.inner_text("#both")
        for side in ("machine", "reviewed"):
            assert str(told[side]["n"]) in table
        seen.page.click("#sign")
        seen.page.fill("#ask-operator", "Dr. Bo")
        seen.page.click("#ask-go")
        seen.until("document.getElementById('review-facts').textContent.includes('Dr. Bo')")
        seen.is_clean(page.origin)


def test_without_pictures_the_page_says_that_a_review_needs_them(browser: Browser, tmp_path: Path) -> None:
    with page_of(tmp_path) as page, window(browser) as seen:
        made(tmp_path / "journal", 30, crops=False)
        seen.page.goto(f"{page.origin}/{RUN}")
        seen.page.wait_for_selector("#review-notes:not([hidden])")
        assert "This run kept no pictures of its cells, and a review needs them" in seen.page.inner_text("#review-notes")


def test_20_000_cells_scroll_and_only_those_in_sight_exist(browser: Browser, tmp_path: Path) -> None:
    made(tmp_path / "journal", 20_000)
    with page_of(tmp_path) as page, window(browser) as seen:
        seen.page.goto(f"{page.origin}/{RUN}")
        seen.page.click("#bins [data-view='all']")
        seen.page.wait_for_selector("#tile-0 img")
        assert seen.page.get_attribute("#tile-0", "aria-setsize") == "20000"
        most = 0
        for share in (0.2, 0.5, 0.99, 0.1, 1.0):
            seen.page.evaluate(
                "share => { const g = document.getElementById('grid'); g.scrollTop = share * g.scrollHeight; }", share
            )
            seen.until(
                """() => { const shown = document.getElementById('grid').getBoundingClientRect();
                const tiles = [...document.querySelectorAll('.tile')].filter((tile) => {
                  const box = tile.getBoundingClientRect(); return box.bottom > shown.top && box.top < shown.bottom; });
                return tiles.length > 3 && tiles.every((tile) => tile.textContent); }"""
            )
            most = max(most, seen.page.locator(".tile").count())
        assert most < 300
        seen.page.wait_for_selector("#tile-19999")
        seen.page.focus("#grid")
        seen.page.keyboard.press("Home")
        seen.page.wait_for_selector("#tile-0 img")
        assert seen.page.evaluate("[...document.querySelectorAll('.tile img')].some((each) => each.naturalWidth === 64)")
        seen.is_clean(page.origin)
