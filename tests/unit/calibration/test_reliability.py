"""Confidence beside what is right."""

import numpy as np
import pytest

from calibration.reliability import reliability


def test_the_error_is_the_mean_distance_over_the_cells() -> None:
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.5, 0.5])
    right = np.array([True, True, True, False, False, False])
    found = reliability(confidence, right)
    assert [(each.right.count, each.right.n) for each in found.bins] == [(0, 2), (3, 4)]
    assert found.error == pytest.approx((4 * 0.15 + 2 * 0.5) / 6)


def test_a_confidence_that_is_right_as_often_as_it_says_has_no_error() -> None:
    rng = np.random.default_rng(5)
    confidence = rng.uniform(0.3, 1, 40_000)
    assert reliability(confidence, rng.random(40_000) < confidence).error < 0.01
    assert reliability(confidence, rng.random(40_000) < confidence - 0.2).error == pytest.approx(0.2, abs=0.02)


def test_borders_belong_to_the_upper_bin_and_certainty_to_the_last() -> None:
    found = reliability(np.array([1.0, 3 / 15, 0.0]), np.array([True, True, True]))
    assert [each.low for each in found.bins] == pytest.approx([0, 3 / 15, 14 / 15])
    assert [each.high for each in found.bins] == pytest.approx([1 / 15, 4 / 15, 1])
