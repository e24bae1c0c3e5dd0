"""Regions measured on their runs agree with OpenCV's statistics and hulls of all pixels."""

import cv2
import numpy as np
import pytest

from edgecell.segmenters.stain.regions import labelled, regions


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("connectivity", [4, 8])
def test_runs_measure_what_pixels_do(seed: int, connectivity: int) -> None:
    noise = np.random.default_rng(seed).random((60, 90)).astype(np.float32)
    mask = (cv2.GaussianBlur(noise, (0, 0), 1.5) > 0.5).astype(np.uint8)
    _, labels, stats, centres = cv2.connectedComponentsWithStats(mask, connectivity=connectivity)
    found = regions(labelled(mask, connectivity))
    assert np.array_equal(found.numbers, np.arange(1, labels.max() + 1))
    assert np.array_equal(found.areas, stats[1:, cv2.CC_STAT_AREA])
    assert np.array_equal(found.boxes[:, :2], stats[1:, :2])
    assert np.array_equal(found.boxes[:, 2:] - found.boxes[:, :2], stats[1:, 2:4])
    assert np.allclose(found.centres, centres[1:])
    for index, number in enumerate(found.numbers.tolist()):
        pixels = cv2.findNonZero((labels == number).astype(np.uint8))
        whole, quick = cv2.convexHull(pixels), cv2.convexHull(found.outline(index))
        assert cv2.contourArea(whole) == cv2.contourArea(quick)


def test_labels_may_have_gaps() -> None:
    labels = np.zeros((6, 8), np.int32)
    labels[1:3, 2:5], labels[4, 7] = 70_000, 3
    found = regions(labels)
    assert found.numbers.tolist() == [3, 70_000]
    assert found.areas.tolist() == [1, 6]
    assert found.boxes.tolist() == [[7, 4, 8, 5], [2, 1, 5, 3]]


def test_an_empty_image_has_no_regions() -> None:
    found = regions(np.zeros((5, 7), np.int32))
    assert len(found.numbers) == len(found.areas) == len(found.boxes) == len(found.centres) == 0
