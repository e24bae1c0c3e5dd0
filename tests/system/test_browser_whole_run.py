"""The steps of deploy/review.md in a real browser: a slide is counted, reviewed, signed and reported."""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Window, chromium, window
from command_line import called
from page_of import Page, page_of
from playwright.sync_api import Browser
from pypdf import PdfReader

from edgecell.messages import NOTICE

CELLS = 30


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def counted(seen: Window) -> str:
    """A run to its end by itself; its id."""
    seen.page.click("#start")
    seen.page.fill("#sample", "slide 17/é")
    seen.page.fill("#operator", "Ada Q.")
    seen.page.check("#start-dialog [name='rule'][value='cells']")
    seen.page.fill("#start-dialog [name='cells']", str(CELLS))
    seen.page.click("#start-dialog button.main")
    seen.page.wait_for_selector("#run-review:not([hidden])")
    seen.until("document.getElementById('progress').value === 1")
    seen.page.wait_for_selector("#start:not([hidden])")
    return str(seen.page.get_attribute("#run-review", "href")).rpartition("/")[2]


def reviewed(seen: Window) -> None:
    """The first neutrophil becomes a monocyte, the second is rejected, and Ada signs."""
    seen.page.click("#run-review")
    seen.page.click("#bins [data-view='label:neutrophil']")
    seen.page.wait_for_selector("#tile-1 img")
    seen.page.focus("#grid")
    seen.page.keyboard.press(str(seen.page.get_attribute("#actions [data-label='monocyte']", "aria-keyshortcuts")).lower())
    seen.until("document.querySelector('#bins [data-view=reviewed] .count').textContent === '1'")
    seen.page.keyboard.press("r")
    seen.until("document.querySelector('#bins [data-view=reviewed] .count').textContent === '2'")
    seen.page.click("#sign")
    with seen.page.expect_response(lambda answer: answer.url.endswith("/sign")) as answered:
        seen.page.click("#ask-go")
    assert answered.value.ok


def saved(seen: Window, kind: str) -> bytes:
    """A form of the report, as the browser keeps it."""
    seen.page.evaluate("document.getElementById('reports').open = true")
    with seen.page.expect_download() as download:
        seen.page.click(f"#report-list [data-report='{kind}']")
    seen.until("!document.getElementById('reports').open")
    return Path(download.value.path()).read_bytes()


def details(seen: Window, page: Page, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(seen.page.request.get(f"{page.origin}/api/runs/{run_id}").text())
    return found


def test_a_slide_is_counted_reviewed_signed_and_reported(browser: Browser, tmp_path: Path) -> None:
    with page_of(tmp_path) as page, window(browser) as seen:
        seen.page.goto(page.url)
        run_id = counted(seen)
        reviewed(seen)
        told = details(seen, page, run_id)
        forms = {kind: saved(seen, kind) for kind in ("pdf", "csv", "fhir.json", "json")}
        seen.is_clean(page.origin)
    assert told["machine"]["n"] >= CELLS
    assert told["reviewed"]["n"] == told["machine"]["n"] - 1
    assert told["review"]["cells"] == 2
    assert told["review"]["signed_off"]
    text = "\n".join(each.extract_text() for each in PdfReader(io.BytesIO(forms["pdf"])).pages)
    for words in (NOTICE, "slide 17/é", "Ada Q.", run_id):
        assert words in text
    assert re.search(rf"\b{told['reviewed']['n']}\b", text)
    rows = list(csv.reader(io.StringIO(forms["csv"].decode("utf-8-sig"))))
    assert any("slide 17/é" in row for row in rows)
    bundle = json.loads(forms["fhir.json"])
    statuses = {
        each["resource"].get("status") for each in bundle["entry"] if each["resource"]["resourceType"] == "DiagnosticReport"
    }
    assert statuses == {"preliminary"}
    whole = json.loads(forms["json"])
    assert whole["run_id"] == run_id
    for what in ("verify", "replay"):
        assert called("journal", what, tmp_path / "journal").code == 0
