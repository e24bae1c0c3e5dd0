"""When a slide is foreign, and what that does to its labels."""

from pathlib import Path

import msgspec
import pytest
from tiny_bundle import tiny_manifest

from edgecell.bundle import Manifest
from edgecell.domain import LEAST, WINDOW, DomainState, domain_of, held_back, telling
from edgecell.messages import Classification, Domain


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    plain = tiny_manifest()
    return msgspec.structs.replace(plain, confidence=msgspec.structs.replace(plain.confidence, foreign_below=0.8))


def cells(confidence: float | None, count: int, label: str) -> list[Classification]:
    return [Classification(cell_index=at, label=label, confidence=confidence, decided=True) for at in range(count)]


def known_label(manifest: Manifest) -> str:
    return next(each.name for each in manifest.classes if each.group != "reject")


def test_few_cells_are_known_and_unmeasured(manifest: Manifest) -> None:
    assert domain_of([0.1] * (LEAST - 1), manifest) == Domain(state="known", mean_confidence=None, cells=LEAST - 1)


def test_the_mean_decides(manifest: Manifest) -> None:
    assert domain_of([0.79] * LEAST, manifest).state == "foreign"
    assert domain_of([0.81] * LEAST, manifest).state == "known"
    mixed = domain_of([0.5] * LEAST + [1.0] * LEAST, manifest)
    assert (mixed.state, mixed.cells) == ("foreign", 2 * LEAST)
    assert mixed.mean_confidence == pytest.approx(0.75)


def test_a_bundle_without_a_limit_never_calls_a_slide_foreign() -> None:
    assert domain_of([0.0] * LEAST, tiny_manifest()).state == "known"


def test_the_latest_cells_count(manifest: Manifest) -> None:
    label = known_label(manifest)
    state = DomainState().after(cells(0.2, WINDOW, label), manifest)
    assert state.domain(manifest).state == "foreign"
    later = state.after(cells(0.95, WINDOW, label), manifest)
    assert (later.domain(manifest).state, later.domain(manifest).cells) == ("known", WINDOW)


def test_one_by_one_or_all_at_once_is_the_same(manifest: Manifest) -> None:
    answers = cells(0.7, 50, known_label(manifest))
    step = DomainState()
    for answer in answers:
        step = step.after([answer], manifest)
    assert step == DomainState().after(answers, manifest)


def test_what_is_no_cell_or_not_scored_says_nothing(manifest: Manifest) -> None:
    reject = [each.name for each in manifest.classes if each.group == "reject"]
    assert telling(cells(None, 3, known_label(manifest)), manifest) == []
    for label in reject:
        assert telling(cells(0.9, 3, label), manifest) == []
    assert telling(cells(0.9, 3, known_label(manifest)), manifest) == [0.9] * 3


def test_a_foreign_slide_decides_nothing(manifest: Manifest) -> None:
    answers = cells(0.99, 3, known_label(manifest))
    assert held_back(answers, Domain(state="known")) == answers
    held = held_back(answers, Domain(state="foreign"))
    assert [each.decided for each in held] == [False] * 3
    assert [(each.label, each.confidence) for each in held] == [(each.label, each.confidence) for each in answers]
