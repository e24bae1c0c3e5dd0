"""Figures with their counts and intervals; too few cells support none."""

import math

import msgspec
import numpy as np
import pytest

from calibration.metrics import ENOUGH, Figures, Share, figures, percent

NAMES = ("neutrophil", "lymphocyte", "platelet")


# SciPy 1.17: beta.ppf(0.025, k, n - k + 1), beta.ppf(0.975, k + 1, n - k)
@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [(1, 10, 0.002528579, 0.4450161), (5, 10, 0.1870860, 0.8129140), (0, 100, 0.0, 1 - 0.025**0.01)],
)
def test_a_share_has_its_exact_interval(count: int, n: int, low: float, high: float) -> None:
    assert Share(count=count, n=n).interval == pytest.approx((low, high), abs=5e-8)


def test_a_share_of_nothing_claims_nothing() -> None:
    share = Share(count=0, n=0)
    assert math.isnan(share.value)
    assert share.interval == (0.0, 1.0)


def test_a_share_is_printed_with_its_count_and_interval() -> None:
    assert str(Share(count=5, n=10)) == "50.00 % (5/10, 95 % 18.71-81.29)"


@pytest.fixture
def found() -> Figures:
    """60 neutrophils, 50 right; 50 lymphocytes, 45 right; 49 platelets, all right. Of the wrong ones 2 are decided."""
    truth = np.repeat([0, 1, 2], [60, 50, 49])
    predicted = truth.copy()
    predicted[:10] = 1
    predicted[60:65] = 0
    decided = predicted == truth
    decided[:2] = True
    decided[100:110] = False
    return figures(predicted, decided, truth, NAMES)


def test_figures_count_what_they_say(found: Figures) -> None:
    assert (found.accuracy.count, found.accuracy.n) == (144, 159)
    assert (found.decided.count, found.decided.n) == (144 + 2 - 10, 159)
    assert (found.right_of_decided.count, found.right_of_decided.n) == (134, 136)
    assert (found.wrong.count, found.wrong.n) == (2, 159)


def test_precision_and_recall_by_class(found: Figures) -> None:
    neutrophil, lymphocyte, platelet = found.classes
    assert (neutrophil.name, neutrophil.n) == ("neutrophil", 60)
    assert neutrophil.precision == pytest.approx(50 / 55)
    assert neutrophil.recall == pytest.approx(50 / 60)
    assert lymphocyte.precision == pytest.approx(45 / 55)
    assert lymphocyte.recall == pytest.approx(45 / 50)
    assert (platelet.n, platelet.precision, platelet.recall) == (ENOUGH - 1, None, None)


def test_too_few_cells_are_printed_as_insufficient(found: Figures) -> None:
    rows = str(found).splitlines()
    assert rows[-1].split() == ["platelet", "49", "insufficient", "insufficient"]
    assert "insufficient" not in rows[-2]
    assert percent(0.5) == "50.0 %"


def test_a_class_that_is_never_called_has_no_precision() -> None:
    truth = np.repeat([0, 1], [60, 60])
    found = figures(np.zeros(120, np.int64), np.ones(120, bool), truth, NAMES[:2])
    assert found.classes[1].precision is None
    assert found.classes[1].recall == 0.0


def test_the_summary_is_plain_json(found: Figures) -> None:
    back = msgspec.json.decode(msgspec.json.encode(found.summary()))
    assert back["accuracy"]["count"] == 144
    assert back["accuracy"]["interval"] == pytest.approx(found.accuracy.interval)
    assert back["classes"][2] == {"name": "platelet", "n": 49, "precision": None, "recall": None}
