"""Figures from a histogram are those of the pixels."""

import numpy as np
import pytest

from edgecell.segmenters.stain.density import density, histogram, percentile


@pytest.mark.parametrize("share", [0, 25, 50, 70, 95, 100])
@pytest.mark.parametrize("number", [1, 2, 7, 1000])
def test_percentile_of_a_histogram_is_that_of_its_values(share: float, number: int) -> None:
    values = np.random.default_rng(number).integers(0, 256, (1, number)).astype(np.uint8)
    assert percentile(histogram(values), share) == pytest.approx(float(np.percentile(values, share)), abs=1e-9)


def test_a_histogram_counts_what_the_mask_shows() -> None:
    values = np.array([[3, 3, 250, 0]], np.uint8)
    counts = histogram(values, np.array([[1, 0, 1, 0]], np.uint8))
    assert np.flatnonzero(counts).tolist() == [3, 250]
    assert counts.sum() == 2


def test_density_of_a_plane_is_that_of_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 11, 3)).astype(np.uint8)
    white = np.array([240.0, 230.0, 250.0], np.float32)
    together = density(image, white)
    for channel in range(3):
        assert np.array_equal(density(np.ascontiguousarray(image[:, :, channel]), white[channel]), together[:, :, channel])
