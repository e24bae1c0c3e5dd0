"""The page of an evaluation: whole in itself, readable without seeing, and never in the project's tree."""

from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import make_tiny_bundle
from toy_cells import pbc_files, write_folder

from calibration import evaluation, html_report, labelled, robustness
from calibration.evaluation import Evaluation
from calibration.html_report import CHECKOUT, THUMBNAILS
from calibration.labelled import Question
from calibration.metrics import ENOUGH
from calibration.recipe import Data
from calibration.robustness import CHANGES, Row
from edgecell.errors import SettingsError
from edgecell.messages import NOTICE

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """The elements of a page, its addresses and its text; fails on one that is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    folder = tmp_path_factory.mktemp("report")
    bundle = make_tiny_bundle(folder / "tiny")
    write_folder(pbc_files(ENOUGH, ("neutrophil", "lymphocyte")), folder / "pbc")
    write_folder(pbc_files(3, ("platelet",)), folder / "pbc")
    question = Question(root=folder, data=Data(dataset="pbc", split="none.tsv"), part="all", classes=bundle.class_names)
    return evaluation.evaluate(bundle, labelled.read(question, bundle.manifest.preprocess))


@pytest.fixture(scope="module")
def rows(found: Evaluation) -> list[Row]:
    return list(robustness.table(found.bundle, found.labelled.question, CHANGES[:2]))


@pytest.fixture(scope="module")
def text(found: Evaluation, rows: list[Row]) -> str:
    return html_report.page(found, rows, command="calibration <evaluate> & more", made_utc="2026-01-31T12:00:00.000Z")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_it_needs_no_network_and_no_script(page: Page) -> None:
    assert not page.all("script")
    assert not page.all("link")
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            if name in {"src", "href", "xlink:href", "poster", "data", "srcset", "action"}:
                assert value is not None
                assert value.startswith(("data:image/png;base64,", "#")), (tag, name, value[:60])
    assert not any("@import" in words or "url(http" in words for words in page.words)


def test_every_picture_is_told_in_words(page: Page) -> None:
    assert page.all("img")
    assert all(each["alt"] and "labelled" in each["alt"] for each in page.all("img"))
    named = [each for _, each in page.elements if each.get("role") == "img"]
    assert len(named) == len(page.all("svg")) == 3
    assert all(each["aria-label"] for each in named)


def test_tables_have_captions_and_headers_with_their_scope(page: Page) -> None:
    assert len(page.all("table")) == len(page.all("caption")) == 5
    assert {each.get("scope") for each in page.all("th")} == {"row", "col"}
    levels = [int(tag[1]) for tag, _ in page.elements if tag in {"h1", "h2", "h3"}]
    assert levels[0] == 1
    assert all(below - above <= 1 for above, below in pairwise(levels)), "no level is skipped"
    assert page.all("html")[0]["lang"] == "en"


def test_no_two_elements_share_an_id(page: Page) -> None:
    ids = Counter(each["id"] for _, each in page.elements if "id" in each)
    assert [name for name, count in ids.items() if count > 1] == []
    inside = {each["xlink:href"] for _, each in page.elements if "xlink:href" in each}
    assert {f"#{name}" for name in ids} >= inside


def test_it_says_what_was_scored_and_how(page: Page, text: str, found: Evaluation) -> None:
    words = " ".join(" ".join(page.words).split())
    assert words.count(NOTICE) == 2
    assert found.bundle.sha256 in words
    assert found.labelled.names_sha256 in words
    assert "3 cells of classes that the bundle has not: platelet 3" in words
    assert "calibration <evaluate> & more" in words
    assert "calibration &lt;evaluate&gt; &amp; more" in text
    assert "2026-01-31T12:00:00.000Z" in words
    assert found.paired is not None
    assert str(found.paired) in words
    assert "brightness, factor 0.6" in words
    assert "insufficient" in words


def test_the_worst_cells_come_first(found: Evaluation) -> None:
    shown = found.scored[0]
    wrong = html_report.thumbnails(found, shown, html_report.most_confident_wrong(shown))
    unsure = html_report.thumbnails(found, shown, html_report.least_sure(shown))
    assert 0 < len(wrong) <= THUMBNAILS
    assert all(each.truth != each.called for each in wrong)
    assert all(each.truth in each.name for each in wrong), "PBC's folder is the label"
    assert [each.confidence for each in wrong] == sorted((each.confidence for each in wrong), reverse=True)
    assert unsure
    assert not any(each.decided for each in unsure)
    assert [each.confidence for each in unsure] == sorted(each.confidence for each in unsure)
    highest = shown.calls.confidence[~shown.calls.right].max()
    assert wrong[0].confidence == pytest.approx(highest)


def test_the_same_evaluation_makes_the_same_page(found: Evaluation, rows: list[Row], text: str) -> None:
    again = html_report.page(found, rows, command="calibration <evaluate> & more", made_utc="2026-01-31T12:00:00.000Z")
    assert again == text


def test_it_is_written_outside_the_project_only(found: Evaluation, tmp_path: Path) -> None:
    path = html_report.write(found, [], tmp_path / "new" / "reports", command="c", made_utc="now")
    assert path == tmp_path / "new" / "reports" / "tiny-1.0.0-pbc-all.html"
    assert "Robustness" not in path.read_text(encoding="utf-8")
    (tmp_path / "way_in").symlink_to(CHECKOUT)
    for inside in (CHECKOUT, CHECKOUT / "out" / "report", tmp_path / "way_in" / "out"):
        with pytest.raises(SettingsError, match=r"inside the project .*give a folder outside it"):
            html_report.write(found, [], inside, command="c", made_utc="now")
    assert not (CHECKOUT / "out" / "report").exists()


def test_one_encoding_alone_has_no_paired_test(found: Evaluation) -> None:
    alone = evaluation.evaluate(found.bundle, found.labelled, ("float",))
    assert alone.paired is None
    assert "INT8 beside FP32" not in html_report.page(alone, [], command="c", made_utc="now")
    assert np.array_equal(alone.scored[0].calls.called, found.scored[1].calls.called)
