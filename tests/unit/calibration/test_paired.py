"""Two models on the same cells."""

import numpy as np
import pytest

from calibration.paired import Paired, paired


def test_discordant_cells_are_counted_by_which_model_is_right() -> None:
    truth = np.array([0, 0, 1, 1, 2, 2])
    first = np.array([0, 1, 1, 1, 2, 0])
    second = np.array([0, 0, 1, 0, 1, 1])
    assert paired(first, second, truth) == Paired(n=6, gained=2, lost=1)


# SciPy 1.17: binomtest(gained, gained + lost).pvalue
@pytest.mark.parametrize(("gained", "lost", "p"), [(0, 0, 1.0), (5, 5, 1.0), (1, 9, 0.021484375), (0, 6, 0.03125)])
def test_mcnemar_is_exact(gained: int, lost: int, p: float) -> None:
    assert Paired(n=1000, gained=gained, lost=lost).p == pytest.approx(p)
    assert Paired(n=1000, gained=lost, lost=gained).p == pytest.approx(p)


def test_many_discordant_cells_do_not_overflow() -> None:
    assert Paired(n=10**6, gained=9000, lost=9000).p == 1.0
    assert Paired(n=10**6, gained=1000, lost=3000).p < 1e-100


def test_the_difference_has_its_interval() -> None:
    """Agresti and Min 2005, by hand: 15 against 5 of 100, each kind and half a cell more."""
    found = Paired(n=100, gained=15, lost=5).difference
    middle, half = 10 / 102, 1.959964 * np.sqrt(21 - 100 / 102) / 102
    assert found.value == pytest.approx(0.10)
    assert found.interval == pytest.approx((middle - half, middle + half), abs=1e-6)


def test_no_discordant_cell_is_no_proof_of_no_difference() -> None:
    low, high = Paired(n=500, gained=0, lost=0).difference.interval
    assert low < -0.003 < 0.003 < high


def test_it_is_printed_in_points_with_both_counts() -> None:
    text = str(Paired(n=200, gained=1, lost=3))
    assert text.startswith("-1.00 points (95 % ")
    assert "of 200 cells only the first is right on 1, only the second on 3; exact McNemar p = 0.625" in text
