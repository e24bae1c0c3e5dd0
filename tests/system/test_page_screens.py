"""Every screen of the page in a real browser, over a stand-in of its server: words, contrast, size, names, keys, refusals."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from browser import DESK, PHONE, Window, chromium
from page_server import NAMES, RUN, STATIC, Station, begin, counts_of, heartbeat_of, made_cells, previewed, serving
from playwright.sync_api import Browser, Route

REVIEW = f"#/runs/{RUN}"
SCREENS = {"live": "#/live", "runs": "#/runs", "review": REVIEW}
TOKEN = "made-of-sixteen-letters"  # noqa: S105 opens nothing but the page of a test
READY = {"live": "#differential tbody tr", "runs": "#runs-table tbody tr", "review": ".tile img"}
DIALOGS = {"start": "#start-dialog", "stop": "#ask-dialog", "sign": "#ask-dialog", "help-open": "#help-dialog"}
OPEN, SHUT = "⟦", "⟧"
DATA = {"slide-17", "ada", "bench-3", "phantom"}
"""What the device calls its own, which no catalogue translates."""
DATE, WORD = re.compile(r"[A-Z][a-z]{2} \d+, \d{4}, [\d:]+\s[AP]M"), re.compile(r"[^\W\d_][\w-]*")
READ = """() => {
  const own = "span[lang=en], [translate=no], kbd, #language, #actions, script, style, #settings, [hidden]";
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.nodeType === Node.TEXT_NODE ? node.parentElement : node;
    if (element.closest(own)) continue;
    if (node.nodeType === Node.TEXT_NODE) texts.push(node.data);
    else for (const name of ["aria-label", "title", "alt", "placeholder"]) texts.push(node.getAttribute(name) ?? "");
  }
  return texts.filter((text) => text.trim());
}"""
"""Everything that can be read or heard now, but what the device says in its own words."""
POOR = """() => {
  const shade = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([red, green, blue]) => [red, green, blue].map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const found = shade(getComputedStyle(each).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!text.length || !element.checkVisibility() || element.closest(":disabled, .unseen, .skip")) continue;
    const [one, other] = [light(shade(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => a - b);
    if ((other + 0.05) / (one + 0.05) < 4.5) poor.push(`${element.tagName} ${element.className}: ${text[0].data}`);
  }
  return poor;
}"""
"""Texts whose colour is too close to what they stand on."""
NAMELESS = """() => [...document.querySelectorAll("a, button, input, select, summary, [role=listbox], [role=option], canvas")]
  .filter((each) => each.checkVisibility())
  .filter((each) => !(each.getAttribute("aria-label") || each.innerText?.trim() || each.labels?.[0]?.innerText.trim()))
  .map((each) => each.outerHTML)"""
"""What can be used and has no name for a screen reader."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def station() -> Station:
    station = Station(made_cells(2000))
    begin(station)
    return station


@contextmanager
def shown(browser: Browser, station: Station, size: tuple[int, int] = DESK, **context: Any) -> Iterator[Window]:
    """A window on the station's page. Nothing may have gone wrong in it when it closes."""
    with serving(station) as origin:
        made = browser.new_context(viewport={"width": size[0], "height": size[1]}, base_url=origin, **context)
        seen = Window(made.new_page())
        try:
            yield seen
            seen.is_clean(origin, but="status of 4")
        finally:
            made.close()


def go(seen: Window, screen: str) -> None:
    seen.page.goto(f"/{SCREENS[screen]}")
    seen.page.wait_for_selector(READY[screen])


def wrapped(route: Route) -> None:
    """The English catalogue with every text in brackets."""
    words = json.loads((STATIC / "catalogue/en.json").read_text(encoding="utf-8"))
    route.fulfill(json={key: f"{OPEN}{text}{SHUT}" for key, text in words.items()})


def bare(text: str) -> str:
    """What of a text is from no catalogue."""
    inner = re.compile(f"{OPEN}[^{OPEN}{SHUT}]*{SHUT}")
    while inner.search(text):
        text = inner.sub("", text)
    return text


def test_every_word_is_the_catalogue_s(browser: Browser, station: Station) -> None:
    station.cells[0]["review"] = {
        "action": "relabel",
        "label": "monocyte",
        "operator": "ada",
        "utc": "2026-01-31T12:30:00.000Z",
    }
    station.crops = False
    station.said["counts"] = counts_of(valid=False, invalid_reason="the lamp is off", domain="foreign")
    station.said["heartbeat"] = heartbeat_of(state="degraded", reason="the camera is away")
    with shown(browser, station) as seen:
        seen.page.route("**/catalogue/en.json", wrapped)
        for screen in SCREENS:
            go(seen, screen)
            for name, dialog in DIALOGS.items():
                if seen.page.locator(f"#{name}").is_visible():
                    seen.page.click(f"#{name}")
                    seen.page.wait_for_selector(dialog)
                    own = {word for text in seen.page.evaluate(READ) for word in WORD.findall(DATE.sub("", bare(text)))}
                    assert own <= DATA, (screen, name)
                    seen.page.keyboard.press("Escape")
        assert OPEN in seen.page.inner_text("#review-title")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_and_what_is_used_has_a_name(browser: Browser, station: Station, theme: Any) -> None:
    with shown(browser, station, color_scheme=theme, reduced_motion="reduce") as seen:
        for screen in SCREENS:
            go(seen, screen)
            if screen == "review":
                seen.page.click("#tile-1")
            assert seen.page.evaluate(POOR) == []
            assert seen.page.evaluate(NAMELESS) == []
            assert seen.page.locator("h1:visible, h1.unseen").count() >= 1


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["1024x600", "360x740"])
def test_screens_fit(browser: Browser, station: Station, size: tuple[int, int]) -> None:
    with shown(browser, station, size, locale="fr-FR", is_mobile=size == PHONE, has_touch=size == PHONE) as seen:
        for screen in SCREENS:
            go(seen, screen)
            wide = seen.page.evaluate(
                "() => Math.max(document.documentElement.scrollWidth, document.getElementById('main').scrollWidth)"
            )
            assert wide <= size[0], screen
            assert seen.page.locator(".notice").is_visible()
            box = seen.page.locator(".notice").bounding_box()
            assert box
            assert box["y"] < size[1] / 3
        if size == DESK:
            box = seen.page.locator("#actions").bounding_box()
            assert box
            assert box["y"] + box["height"] <= size[1]


def test_french_is_spoken_where_the_browser_asks_for_it(browser: Browser, station: Station) -> None:
    with shown(browser, station, locale="fr-CA") as seen:
        go(seen, "live")
        assert "68,5" in seen.page.inner_text("#differential")
        assert seen.page.evaluate("() => document.documentElement.lang") == "fr"
        seen.page.select_option("#language", "en")
        seen.page.wait_for_selector("text=Differential")
        seen.page.wait_for_selector("#differential >> text=68.5")
        seen.page.reload()
        seen.page.wait_for_selector("text=Differential")


def test_alarms_are_words_and_lights_follow_the_frame(browser: Browser, station: Station) -> None:
    with shown(browser, station) as seen:
        go(seen, "live")
        seen.page.wait_for_selector("#light-focus.good")
        seen.page.wait_for_selector("#device >> text=bench-3: running")
        station.say("counts", counts_of(valid=False, invalid_reason="the lamp is off", domain="foreign"))
        station.say("heartbeat", heartbeat_of(state="degraded", reason="the camera is away"))
        station.say("preview", previewed(13, accepted=False, reason="blurred", cells=[]))
        for text in ("Do not rely on these counts: the lamp is off", "the camera is away", "This slide looks unlike"):
            seen.page.wait_for_selector(f"#alarms >> text={text}")
        seen.page.wait_for_selector("#light-focus.poor")
        assert "blurred" in seen.page.inner_text("#light-focus")
        assert seen.page.locator("#light-exposure.good").count() == 1
        assert "89 of 200 cells" in seen.page.inner_text("#progress-words")
        rule = {"cells": None, "width": 5.0, "classes": ["monocyte"], "now": 7.5, "progress": 0.4, "reached": False}
        station.say("counts", {**counts_of(), "stop": rule})
        seen.page.wait_for_selector(
            "#progress-rule >> text=each interval of Monocyte is narrower than 5.0 points; the widest is 7.5"
        )


def test_a_run_begins_with_what_was_asked_for(browser: Browser, station: Station) -> None:
    station.said = {}
    station.refuse = {"error": "no such sample", "field": "sample_id", "fix": "look at the slide"}
    with shown(browser, station) as seen:
        seen.page.goto("/")
        seen.page.click("#start")
        seen.page.fill("#sample", "slide-18")
        seen.page.fill("#operator", "ada")
        seen.page.check("[name=rule][value=width]")
        seen.page.check("[name=classes][value=monocyte]")
        seen.page.uncheck("[name=crops]")
        seen.page.click("#start-dialog button.main")
        seen.page.wait_for_selector("#error-sample_id >> text=no such sample — look at the slide")
        assert seen.page.evaluate("() => document.activeElement.id") == "sample"
        station.refuse = None
        seen.page.click("#start-dialog button.main")
        seen.page.wait_for_selector("#start-dialog", state="hidden")
    asked = {"settings": "phantom", "sample_id": "slide-18", "operator": "ada", "crops": False, "preview": True}
    assert station.asked == [("POST", {**asked, "stop": {"width": 5, "classes": ["monocyte"]}})] * 2


@pytest.mark.parametrize(("button", "path"), [("start", "**/api/me"), ("stop", "**/api/run")])
def test_a_device_that_is_gone_is_told_to_who_starts_or_stops(
    browser: Browser, station: Station, button: str, path: str
) -> None:
    if button == "start":
        station.said = {}
    with serving(station) as origin:
        made = browser.new_context(base_url=origin)
        try:
            seen = Window(made.new_page())
            seen.page.goto("/")
            seen.page.wait_for_selector(f"#{button}:not([hidden])")
            seen.page.route(path, lambda route: route.abort())
            seen.page.click(f"#{button}")
            if button == "stop":
                seen.page.click("#ask-go")
            seen.page.wait_for_selector("#trouble >> text=The device does not answer.")
            assert not [each for each in seen.said if each.startswith("script:")]
        finally:
            made.close()


def test_keys_pressed_fast_name_one_cell_each(browser: Browser, station: Station) -> None:
    """Each goes to the cell that the technician saw, however long the device takes to answer."""
    with shown(browser, station) as seen:
        go(seen, "review")
        unsure = station.views()["unsure"]
        seen.page.evaluate("() => sessionStorage.setItem('edgecell.operator', 'ada')")
        seen.page.focus("#grid")
        doubtful = [cell for cell in station.cells if station.standing(cell) == "unsure"]
        doubtful.sort(key=lambda cell: cell["confidence"])
        for _ in range(10):
            seen.page.keyboard.press("2")
        seen.page.keyboard.press("r")
        seen.until("(wanted) => document.querySelector('[data-view=unsure] .count').textContent === wanted", f"{unsure - 11:,}")
        said = [(each["cells"], each["action"], each["label"]) for name, each in station.asked if name == "review"]
        places = [[[cell["frame"], cell["cell"]]] for cell in doubtful[:11]]
        label = seen.page.get_attribute("#actions [aria-keyshortcuts='2']", "data-label")
        assert label in NAMES
        assert said == [*((place, "relabel", label) for place in places[:10]), (places[10], "reject", "")]
        seen.page.keyboard.press("u")
        seen.until("(wanted) => document.querySelector('[data-view=unsure] .count').textContent === wanted", f"{unsure - 10:,}")


def test_a_token_opens_the_page_and_another_does_not(browser: Browser, station: Station) -> None:
    station.token = TOKEN
    with shown(browser, station) as seen:
        seen.page.goto("/")
        seen.page.fill("#token", "another token")
        seen.page.keyboard.press("Enter")
        seen.page.wait_for_selector("text=That is not the token.")
        assert seen.page.evaluate("() => document.activeElement.id") == "token"
        assert not any(seen.page.locator(f"#{screen}").is_visible() for screen in SCREENS)
        seen.page.fill("#token", TOKEN)
        seen.page.keyboard.press("Enter")
        seen.page.wait_for_selector(READY["live"])


def test_the_address_that_was_printed_opens_the_page_and_hides_its_token(browser: Browser, station: Station) -> None:
    station.token = TOKEN
    with shown(browser, station) as seen:
        seen.page.goto(f"/#token={TOKEN}")
        seen.page.wait_for_selector(READY["live"])
        assert seen.page.url.endswith("/#/live")


def test_who_reviews_can_change(browser: Browser, station: Station) -> None:
    """Two people may share a screen: what is said is under the name that stands there."""
    with shown(browser, station) as seen:
        go(seen, "review")
        for name in ("ada", "grace"):
            seen.page.click("#who")
            seen.page.fill("#ask-operator", name)
            seen.page.click("#ask-go")
            seen.page.wait_for_selector(f"#who >> text={name}")
            seen.page.click("#actions [data-action=confirm]")
            seen.page.wait_for_selector(f"#review-facts >> text=reviewed by ada{', grace' if name == 'grace' else ''}")
    assert [said["operator"] for name, said in station.asked if name == "review"] == ["ada", "grace"]


def test_only_tiles_in_sight_exist(browser: Browser, station: Station) -> None:
    station.cells = made_cells(20_000)
    with shown(browser, station) as seen:
        go(seen, "review")
        seen.page.click("[data-view=all]")
        seen.page.focus("#grid")
        seen.page.keyboard.press("End")
        seen.page.wait_for_selector("#tile-19999 img")
        assert seen.page.locator(".tile").count() < 100
        assert seen.page.get_attribute("#grid", "aria-activedescendant") == "tile-19999"
        assert seen.page.get_attribute("#tile-19999", "aria-posinset") == "20000"
        seen.page.keyboard.press("Home")
        seen.page.wait_for_selector("#tile-0 img")


def test_a_refused_review_is_told_and_taken_back(browser: Browser, station: Station) -> None:
    station.crops = False
    with shown(browser, station) as seen:
        go(seen, "review")
        assert "a review needs them" in seen.page.inner_text("#review-notes")
        before = seen.page.inner_text("[data-view=unsure] .count")
        station.refuse = {"error": "the disk is full", "field": "", "fix": "make room"}
        seen.page.evaluate("() => sessionStorage.setItem('edgecell.operator', 'ada')")
        seen.page.click("#actions [data-action=confirm]")
        seen.page.wait_for_selector("#said >> text=the disk is full — make room")
        seen.until("(wanted) => document.getElementById('tile-0')?.ariaSetSize === wanted", before)
        assert seen.page.inner_text("[data-view=unsure] .count") == before


def test_focus_goes_through_the_review_in_the_order_of_reading(browser: Browser, station: Station) -> None:
    with shown(browser, station) as seen:
        go(seen, "review")
        seen.page.evaluate("() => document.body.focus()")
        order = []
        for _ in range(45):
            seen.page.keyboard.press("Tab")
            order.append(
                seen.page.evaluate("() => document.activeElement.closest('[id]')?.id || document.activeElement.tagName")
            )
        first = list(
            dict.fromkeys(each for each in order if each in {"language", "sign", "reports", "bins", "grid", "actions"})
        )
        assert first == ["language", "sign", "reports", "bins", "grid", "actions"]


def test_reports_are_saved_under_the_run_s_name(browser: Browser, station: Station, tmp_path: Path) -> None:
    with shown(browser, station) as seen:
        go(seen, "review")
        seen.page.click("#reports summary")
        with seen.page.expect_download() as download:
            seen.page.click("[data-report='fhir.json']")
        assert download.value.suggested_filename == f"{RUN}.fhir.json"
        assert Path(download.value.path()).read_bytes() == b"report"
