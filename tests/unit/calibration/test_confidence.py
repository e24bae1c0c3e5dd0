"""A temperature that makes confidences true, and the smallest threshold that keeps the promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from calibration.confidence import temperature, threshold
from edgecell.classify import softmax


def drawn(true_temperature: float, cells: int = 8000, classes: int = 5) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits, and labels drawn with the probabilities that the logits mean at that temperature."""
    rng = np.random.default_rng(11)
    logits = rng.normal(0, 4, (cells, classes)).astype(np.float32)
    edges = softmax(logits, true_temperature).cumsum(axis=1)
    return logits, (rng.random((cells, 1)) > edges[:, :-1]).sum(axis=1)


@pytest.mark.parametrize("true_temperature", [0.4, 1.0, 3.0])
def test_temperature_recovers_a_known_one(true_temperature: float) -> None:
    assert temperature(*drawn(true_temperature)) == pytest.approx(true_temperature, rel=0.06)


def test_at_its_temperature_a_confidence_is_the_share_that_is_right() -> None:
    logits, truth = drawn(2.5)
    probabilities = softmax(logits, temperature(logits, truth))
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    for low, high in ((0.4, 0.6), (0.6, 0.8), (0.8, 0.95)):
        some = (confidence >= low) & (confidence < high)
        assert right[some].mean() == pytest.approx(confidence[some].mean(), abs=0.04)


def test_a_cell_called_wrong_with_certainty_does_not_end_the_search() -> None:
    logits = np.array([[2000.0, 0.0], [3.0, 0.0], [0.0, 3.0]], np.float32)
    assert 0.05 <= temperature(logits, np.array([1, 0, 1])) <= 20.0


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_softmax_sums_to_one_without_overflow(scale: float) -> None:
    logits = np.array([[1.0, 2.0, 3.0], [-5.0, 0.0, 5.0]], np.float32) * np.float32(scale)
    probabilities = softmax(logits, 0.7)
    assert probabilities.sum(axis=1) == pytest.approx([1, 1])
    assert (np.diff(probabilities, axis=1) >= 0).all()
    ratio = np.log(softmax(np.array([[0.0, 1.0]], np.float32), 0.5))
    assert ratio[0, 1] - ratio[0, 0] == pytest.approx(2.0), "one logit at temperature 0.5 is a factor of e squared"


def lowest_by_trial(confidences: NDArray[np.float64], right: NDArray[np.bool_], largest: float) -> float:
    """Every confidence that occurs, tried."""
    return min((c for c in confidences if (~right[confidences >= c]).mean() <= largest), default=1.0)


@settings(max_examples=300, deadline=None)
@given(
    cells=st.lists(st.tuples(st.integers(3, 12), st.booleans()), min_size=1, max_size=40),
    largest=st.sampled_from([0.0, 0.005, 0.1, 0.25, 0.5]),
)
def test_threshold_is_the_smallest_that_holds(cells: list[tuple[int, bool]], largest: float) -> None:
    """Few different confidences, so that ties are many: a tie is decided together or not at all."""
    confidences = np.array([number / 12 for number, _ in cells])
    right = np.array([is_right for _, is_right in cells])
    assert threshold(confidences, right, largest) == lowest_by_trial(confidences, right, largest)


def test_threshold_decides_ties_together() -> None:
    confidences = np.array([0.9, 0.8, 0.8, 0.8, 0.7])
    assert threshold(confidences, np.array([True, True, False, True, True]), 0.0) == 0.9
    assert threshold(confidences, np.array([True, True, False, True, True]), 0.25) == 0.7
    assert threshold(confidences, np.array([True, True, True, True, False]), 0.0) == 0.8


def test_threshold_where_all_are_right_and_where_none_is() -> None:
    confidences = np.array([0.5, 0.99, 0.7])
    assert threshold(confidences, np.ones(3, bool), 0.005) == 0.5
    assert threshold(confidences, np.zeros(3, bool), 0.005) == 1.0
    assert threshold(np.zeros(0), np.zeros(0, bool), 0.005) == 1.0
