"""F1 and means over classes, against what can be worked out by hand."""

import numpy as np
import pytest

from calibration.averages import averages, f1
from edgecell.intervals import clopper_pearson

MIXED = np.array([[50, 10, 0], [5, 45, 0], [0, 3, 46]])
NAMES = ("a", "b", "c")


def test_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    found = f1(hits=50, false=5, missed=10)
    precision, recall = 50 / 55, 50 / 60
    assert found.value == pytest.approx(2 * precision * recall / (precision + recall))
    assert found.interval[0] < found.value < found.interval[1]


def test_the_limits_of_f1_are_those_of_the_jaccard_index() -> None:
    low, high = clopper_pearson(50, 65, 0.95)
    assert f1(hits=50, false=5, missed=10).interval == pytest.approx((2 * low / (1 + low), 2 * high / (1 + high)))
    assert f1(hits=60, false=0, missed=0).interval[0] == pytest.approx(0.969, abs=1e-3), "no error seen is not no error"
    assert f1(hits=0, false=4, missed=60).value == 0


def test_the_interval_of_f1_holds_the_true_one_in_95_of_100() -> None:
    """Cells drawn from known rates of hit, false, missed and neither."""
    rates = np.array([0.25, 0.03, 0.05, 0.67])
    true = 2 * rates[0] / (2 * rates[0] + rates[1] + rates[2])
    draws = np.random.default_rng(3).multinomial(300, rates, 1000).tolist()
    held = sum(low <= true <= high for low, high in (f1(*draw[:3]).interval for draw in draws))
    assert 940 <= held <= 995


def test_macro_counts_classes_alike_and_weighted_by_their_cells() -> None:
    macro, weighted = (averages(MIXED, (0, 1, 2), NAMES, weighted=each) for each in (False, True))
    recalls = [50 / 60, 45 / 50, 46 / 49]
    assert macro.recall.value == pytest.approx(np.mean(recalls))
    assert weighted.recall.value == pytest.approx(141 / 159), "recall weighted by cells is the accuracy"
    assert macro.precision.value == pytest.approx((50 / 55 + 45 / 58 + 1) / 3)


def test_the_bootstrap_is_the_same_every_time_and_brackets_the_value() -> None:
    one, other = averages(MIXED, (0, 1), NAMES), averages(MIXED, (0, 1), NAMES)
    assert one == other
    assert one.classes == ("a", "b")
    low, high = one.f1.interval
    assert low < one.f1.value < high
    assert high - low == pytest.approx(0.13, abs=0.04)
