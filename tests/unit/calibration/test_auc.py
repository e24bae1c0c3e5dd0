"""Area under the ROC curve, against counting every pair."""

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.auc import against_the_rest, auc


def by_pairs(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    above, below = scores[positive][:, None], scores[~positive][None]
    return float(((above > below) + 0.5 * (above == below)).mean())


@pytest.mark.parametrize("levels", [3, 50, 10**9])
def test_ranks_say_what_pairs_say(levels: int) -> None:
    """Few levels: most scores are tied."""
    rng = np.random.default_rng(levels)
    positive = rng.random(300) < 0.2
    scores = rng.integers(0, levels, 300) + 0.3 * levels * positive.astype(np.float64)
    assert auc(scores, positive) == pytest.approx(by_pairs(scores, positive), abs=1e-12)


def test_the_ends_and_the_middle() -> None:
    positive = np.array([True, True, False, False])
    assert auc(np.array([4.0, 3.0, 2.0, 1.0]), positive) == 1
    assert auc(np.array([1.0, 2.0, 3.0, 4.0]), positive) == 0
    assert auc(np.ones(4), positive) == 0.5


def test_only_classes_with_enough_cells_inside_and_outside_count() -> None:
    truth = np.repeat([0, 1, 2], [60, 60, 5])
    probabilities = np.random.default_rng(1).dirichlet((1, 1, 1), 125)
    found = against_the_rest(probabilities, truth, ("a", "b", "c"), 50)
    assert found is not None
    assert set(found.classes) == {"a", "b"}
    assert found.macro == pytest.approx(sum(by_pairs(probabilities[:, at], truth == at) for at in (0, 1)) / 2)
    assert against_the_rest(probabilities[:60], truth[:60], ("a", "b", "c"), 50) is None, "nothing to rank them above"
