"""Coverage against error, on cells few enough to count."""

import numpy as np
import pytest

from calibration.coverage import coverage
from calibration.metrics import Share

CONFIDENCE = np.array([0.9, 0.5, 0.99, 0.7, 0.7, 0.6, 0.95, 0.8, 0.4, 0.3])
RIGHT = np.array([True, False, True, True, False, True, True, True, False, True])
ALL = np.ones(10, bool)


def test_a_threshold_answers_the_surest_cells() -> None:
    point = coverage(CONFIDENCE, RIGHT, ALL).at(0.7)
    assert (point.answered, point.wrong) == (Share(count=6, n=10), Share(count=1, n=6))
    assert coverage(CONFIDENCE, RIGHT, ALL).at(1.0).wrong.n == 0


def test_the_table_takes_tied_cells_together() -> None:
    """The fifth and the sixth surest cell have the same confidence: half of the cells cannot be answered alone."""
    first, *_, last = coverage(CONFIDENCE, RIGHT, ALL).table()
    assert (first.threshold, first.answered.count, first.wrong.count) == (0.7, 6, 1)
    assert (last.threshold, last.answered.count, last.wrong.count) == (0.3, 10, 3)


def test_the_curve_ends_at_the_error_of_all() -> None:
    answered, error = coverage(CONFIDENCE, RIGHT, ALL).curve()
    assert answered.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert error[-1] == pytest.approx(0.3)
    assert error[3] == 0


def test_what_is_called_no_cell_is_never_answered() -> None:
    found = coverage(CONFIDENCE, RIGHT, CONFIDENCE < 0.95)
    assert found.at(0.0).answered == Share(count=8, n=10)
    assert [point.answered.count for point in found.table()] == [5, 7, 8], "80 % is as far as it goes"
