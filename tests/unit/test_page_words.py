"""Every word of the page stands in each of its catalogues: keys that are used, and texts that are none."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import pytest

from edgecell import bundle, wire
from edgecell.area import NOTHING_NEW
from edgecell.gate import BLURRED, DARK, EMPTY, OVEREXPOSED
from edgecell.messages import NOTICE, NUCLEATED, PLATELET, RED_BLOOD_CELL, Exclusion

STATIC = Path(wire.__file__).parent / "web/static"
SCRIPTS = sorted(STATIC.glob("js/*.js"))
CATALOGUES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(STATIC.glob("catalogue/*.json"))}
PLACE = re.compile(r"\{(\w+)\}")
NAMES = {"edgecell"}
"""Text that is the same in every language."""
TOKEN = re.compile(
    r"""(?P<comment>/\*.*?\*/|//[^\n]*) | (?P<text>"(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' | `(?:\\.|[^`\\])*`)""",
    re.DOTALL | re.VERBOSE,
)
SHIPPED = [bundle.open_bundle(name).manifest for name in bundle.shipped()]
FAMILIES = {
    "label": {each.name for manifest in SHIPPED for each in manifest.classes},
    "specimen": set(get_args(bundle.Specimen)),
    "kind": {NUCLEATED, RED_BLOOD_CELL, PLATELET},
    "gate": {BLURRED, DARK, EMPTY, OVEREXPOSED, NOTHING_NEW},
    "excluded": set(get_args(Exclusion)),
    "state": set(get_args(wire.State)),
    "run.state": {"idle", "starting", "running", "stopping", "stopped", "failed"},
    "ended": {"stopped", "failed", "open"},
    "fate": set(wire.Frames.__struct_fields__),
    "light": {"good", "poor", "unknown"},
    "report": {"pdf", "csv", "fhir.json", "json"},
}
"""What the device can say that the page has a word for: catalogue keys FAMILY.NAME."""


class Page(HTMLParser):
    """The page's HTML: keys that it names, text and attributes that a reader would meet."""

    READ = ("title", "alt", "placeholder", "aria-label", "aria-description", "label")

    def __init__(self) -> None:
        super().__init__()
        self.keys: set[str] = set()
        self.found: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name.startswith("data-t"):
                self.keys.add(value or "")
            if name in self.READ:
                self.found.append(value or "")
            if name == "style" or name.startswith("on"):
                self.inline.append(f"{tag} {name}")

    def handle_data(self, data: str) -> None:
        self.found.append(data.strip())


@pytest.fixture(scope="module")
def page() -> Page:
    read = Page()
    read.feed((STATIC / "index.html").read_text(encoding="utf-8"))
    return read


def tokens(kind: str) -> list[tuple[str, str]]:
    """Comments or string literals of all scripts, with the script's name."""
    return [
        (path.name, each[kind]) for path in SCRIPTS for each in TOKEN.finditer(path.read_text(encoding="utf-8")) if each[kind]
    ]


def strings() -> list[tuple[str, str]]:
    return [(name, text[1:-1]) for name, text in tokens("text")]


def expanded(key: str) -> set[str]:
    """A key as it stands in the catalogue: itself, or its forms in one and in many."""
    return {key} if key in CATALOGUES["en"] else {f"{key}.one", f"{key}.other"}


def used(page: Page) -> set[str]:
    """Every key that the page can ask for."""
    said = {text for _, text in strings()}
    keys = {each for each in said if re.fullmatch(r"[a-z]+(?:\.[a-z_]+)+", each) and expanded(each) <= CATALOGUES["en"].keys()}
    families = {f"{family}.{name}" for family, names in FAMILIES.items() for name in names}
    titles = {f"{name}.title" for name in ("login", "live", "runs", "review")}
    views = {f"view.{name}" for name in ("all", "unsure", "excluded", "reviewed")}
    acts = {f"{family}.{name}" for family in ("action", "said") for name in ("reject", "undo", "confirm")} | {"said.relabel"}
    helped = {"arrows", "shift", "space", "enter", "escape", "classes", "unsure", "r", "c", "u", "s"}
    assert helped <= said
    keyed = {f"{family}.{name}" for family in ("key", "help") for name in helped}
    return set().union(*map(expanded, page.keys | keys | families | titles | views | acts | keyed))


def test_catalogues_have_exactly_the_keys_that_are_used(page: Page) -> None:
    assert used(page) == CATALOGUES["en"].keys()


@pytest.mark.parametrize("language", CATALOGUES)
def test_catalogue_says_everything_that_the_english_one_says(language: str) -> None:
    words = CATALOGUES[language]
    assert words.keys() == CATALOGUES["en"].keys()
    for key, text in CATALOGUES["en"].items():
        assert words[key].strip(), key
        assert set(PLACE.findall(words[key])) == set(PLACE.findall(text)), key


def test_languages_are_those_that_the_page_offers() -> None:
    offered = re.search(r"LANGUAGES = \{(.*?)\}", (STATIC / "js/catalogue.js").read_text(encoding="utf-8"))
    assert offered
    assert set(re.findall(r"(\w+):", offered[1])) == CATALOGUES.keys() >= {"en", "fr"}


def test_french_was_translated() -> None:
    """What stands there in English was forgotten, but for what is the same in both."""
    alike = {"label.lymphocyte", "page.title"}
    same = {key for key, text in CATALOGUES["fr"].items() if text == CATALOGUES["en"][key] and len(PLACE.sub("", text)) > 9}
    assert same == alike


def test_page_s_keys_are_known(page: Page) -> None:
    assert set().union(*map(expanded, page.keys)) <= CATALOGUES["en"].keys()


def test_html_holds_no_words_of_its_own(page: Page) -> None:
    assert {text for text in page.found if re.search(r"\w", text)} == NAMES


def test_html_holds_no_script_and_no_style(page: Page) -> None:
    """The content security policy would refuse them."""
    assert page.inline == []


def test_scripts_hold_no_words_of_their_own() -> None:
    """A text that is shown has a capital letter, or a blank between words; what is no text has neither, but names of things
    that a browser knows."""
    known = {"Content-Type", "DELETE", "POST", "GET", "English", "Français", "Enter", "Escape", "PageUp", "number interval"}
    known |= {"name person", "share both", "application/json", ".top nav a"}
    shown = [
        (name, text)
        for name, text in strings()
        if re.search(r"[A-Z][a-z]|[a-zà-ÿ]{2,} [a-zà-ÿ]{2,}", PLACE.sub("", re.sub(r"\$\{.*?\}", "", text)))
        and text not in known
    ]
    assert [each for each in shown if not re.fullmatch(r"600 .*sans-serif|[a-zA-Z]+(?:Up|Down|Left|Right)", each[1])] == []


def test_comments_are_there_for_every_script() -> None:
    assert {path.name for path in SCRIPTS} == {
        path.name for path in SCRIPTS if path.read_text(encoding="utf-8").startswith("/** ")
    }


def test_nothing_is_fetched_from_elsewhere() -> None:
    """No address of another machine stands in what the page is made of, but the name of SVG's language."""
    for path in (each for each in STATIC.rglob("*") if each.is_file()):
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(?:https?:)?//\w+\.\w", text), path.name


def test_notice_is_the_device_s() -> None:
    assert CATALOGUES["en"]["page.notice"] == NOTICE


def test_page_is_small(capsys: pytest.CaptureFixture[str]) -> None:
    """All of it, as a browser fetches it once; one catalogue of the two."""
    files: dict[str, Any] = {path.name: path.stat().st_size for path in STATIC.rglob("*") if path.is_file()}
    total = sum(files.values()) - files["fr.json"]
    assert total < 120_000
    with capsys.disabled():
        print(f"\nthe page: {total / 1000:.0f} kB in {len(files) - 1} files")
