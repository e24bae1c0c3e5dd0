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
    assert (neutrophil.name, neutrophil.n, neutrophil.called) == ("neutrophil", 60, 55)
    assert (neutrophil.precision, neutrophil.recall) == (Share(count=50, n=55), Share(count=50, n=60))
    assert (lymphocyte.precision, lymphocyte.recall) == (Share(count=45, n=55), Share(count=45, n=50))
    assert lymphocyte.f1 is not None
    assert lymphocyte.f1.value == pytest.approx(2 * 45 / (55 + 50))
    assert (platelet.n, platelet.called) == (ENOUGH - 1, 49)
    assert (platelet.precision, platelet.recall, platelet.f1) == (None, None, None)


def test_averages_are_over_the_classes_with_enough_cells(found: Figures) -> None:
    f1_of = [2 * 50 / (55 + 60), 2 * 45 / (55 + 50)]
    assert found.macro is not None
    assert found.weighted is not None
    assert found.macro.classes == found.weighted.classes == NAMES[:2]
    assert found.macro.f1.value == pytest.approx(sum(f1_of) / 2)
    assert found.weighted.f1.value == pytest.approx((60 * f1_of[0] + 50 * f1_of[1]) / 110)
    assert found.without_reject is None, "no class is a reject class"


def test_the_average_of_cells_leaves_out_what_is_no_cell() -> None:
    truth = np.repeat([0, 1], [60, 60])
    predicted = np.where(np.arange(120) < 6, 1, truth)
    found = figures(predicted, np.ones(120, bool), truth, ("neutrophil", "artefact"), reject=("artefact",))
    assert found.without_reject is not None
    assert found.without_reject.classes == ("neutrophil",)
    assert found.without_reject.f1.value == pytest.approx(2 * 54 / (54 + 60))


def test_neighbouring_stages_are_tolerated_beside_the_strict_figures() -> None:
    names = ("blast", "promyelocyte", "myelocyte")
    truth = np.repeat([0, 1, 2], 60)
    predicted = truth.copy()
    predicted[:10], predicted[10:15] = 1, 2
    groups = (("blast", "promyelocyte"), ("promyelocyte", "myelocyte"))
    strict, lenient = (figures(predicted, np.ones(180, bool), truth, names, tolerant=each) for each in ((), groups))
    assert strict.tolerant is None
    assert strict.classes[0].tolerant_recall is None
    assert lenient.accuracy == strict.accuracy == Share(count=165, n=180)
    assert lenient.tolerant == Share(count=175, n=180), "a blast that is called a myelocyte is two stages off"
    assert lenient.classes[0].tolerant_recall == Share(count=55, n=60)
    assert lenient.classes[1].tolerant_precision == Share(count=70, n=70)
    assert lenient.classes[0].recall == Share(count=45, n=60)


def test_the_confusion_matrix_has_the_truth_in_its_rows(found: Figures) -> None:
    assert found.confusion == ((50, 10, 0), (5, 45, 0), (0, 0, 49))


def test_too_few_cells_are_printed_as_insufficient(found: Figures) -> None:
    rows = str(found).splitlines()
    assert rows[-1].split() == ["platelet", "49", "insufficient", "insufficient", "insufficient"]
    assert "insufficient" not in rows[-2]
    assert percent(Share(count=5, n=10)) == "50.0 % (18.7-81.3)"


def test_a_class_that_is_never_called_has_no_precision() -> None:
    truth = np.repeat([0, 1], [60, 60])
    found = figures(np.zeros(120, np.int64), np.ones(120, bool), truth, NAMES[:2])
    assert percent(found.classes[1].precision) == "never called"
    assert found.classes[1].recall == Share(count=0, n=60)
    assert found.classes[1].f1 is not None
    assert found.classes[1].f1.value == 0
    assert found.macro is not None
    assert found.macro.precision.value == pytest.approx(0.25), "0.5 and 0"


def test_the_summary_is_plain_json(found: Figures) -> None:
    back = msgspec.json.decode(msgspec.json.encode(found.summary()))
    assert back["accuracy"]["count"] == 144
    assert back["accuracy"]["interval"] == pytest.approx(found.accuracy.interval)
    platelet = back["classes"][2]
    assert {name: platelet[name] for name in ("name", "n", "precision", "recall", "f1")} == {
        "name": "platelet",
        "n": 49,
        "precision": None,
        "recall": None,
        "f1": None,
    }
    assert back["macro"]["classes"] == ["neutrophil", "lymphocyte"]
    assert back["confusion"][0] == [50, 10, 0]
