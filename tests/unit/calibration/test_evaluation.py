"""What the network decides, and what a device would give out of it."""

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_bundle import tiny_manifest

from calibration.evaluation import calls_of, on_device
from calibration.metrics import Share
from edgecell.domain import LEAST

CONFIDENCE = msgspec.structs.replace(tiny_manifest().confidence, temperature=1.0, unsure_below=0.7, foreign_below=0.8)
MANIFEST = msgspec.structs.replace(tiny_manifest(), confidence=CONFIDENCE)
NEUTROPHIL, LYMPHOCYTE, ARTEFACT = range(3)


def logits(called: list[int], confidence: list[float]) -> NDArray[np.float32]:
    """Two cells share what the first leaves."""
    rows = np.array([[(1 - each) / 2] * 3 for each in confidence])
    rows[np.arange(len(called)), called] = confidence
    return np.asarray(np.log(rows), np.float32)


def test_a_foreign_slide_gives_nothing_and_the_known_one_its_own() -> None:
    called = [NEUTROPHIL] * 2 * LEAST
    sure, vague = [0.95] * LEAST, [0.72] * LEAST
    truth = np.array([NEUTROPHIL] * (LEAST - 1) + [LYMPHOCYTE] + [NEUTROPHIL] * LEAST)
    slides = ["one"] * LEAST + ["other"] * LEAST
    calls, domains = calls_of(MANIFEST, truth, slides, logits(called, sure + vague))
    device = on_device(calls, domains)
    assert {name: domain.state for name, domain in domains.items()} == {"one": "known", "other": "foreign"}
    assert calls.decided.sum() == 2 * LEAST
    assert device.foreign == 1
    assert device.decided == Share(count=LEAST, n=2 * LEAST)
    assert device.right_of_decided == Share(count=LEAST - 1, n=LEAST)
    assert device.wrong == Share(count=1, n=2 * LEAST)
    assert domains["other"].mean_confidence == pytest.approx(0.72)


def test_what_looks_like_no_cell_is_neither_decided_nor_heard() -> None:
    called = [NEUTROPHIL] * LEAST + [ARTEFACT] * LEAST
    truth = np.array([NEUTROPHIL] * LEAST + [ARTEFACT] * LEAST)
    calls, domains = calls_of(MANIFEST, truth, ["one"] * 2 * LEAST, logits(called, [0.95] * LEAST + [0.5] * LEAST))
    assert calls.right.all()
    assert calls.decided.sum() == LEAST
    assert (domains["one"].cells, domains["one"].state) == (LEAST, "known")


def test_cells_of_open_label_tell_of_the_slide_but_are_not_scored() -> None:
    truth = np.array([NEUTROPHIL] * 5 + [-1] * LEAST)
    calls, domains = calls_of(MANIFEST, truth, ["one"] * (LEAST + 5), logits([NEUTROPHIL] * (LEAST + 5), [0.75] * (LEAST + 5)))
    assert len(calls.truth) == 5
    assert domains["one"].state == "foreign"
    assert calls.held.sum() == 0
