"""Touching cells are parted at their necks, and only there."""

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.segmenters.stain.split import split


def relief(*discs: tuple[int, int, int]) -> NDArray[np.float32]:
    mask = np.zeros((120, 200), np.uint8)
    for x, y, radius in discs:
        cv2.circle(mask, (x, y), radius, 1, -1)
    return cv2.distanceTransform(mask, cv2.DIST_L2, 5).astype(np.float32)


def test_two_touching_discs_are_parted_between_their_centres() -> None:
    labels = split(relief((60, 60, 30), (110, 60, 30)), relative_depth=0.1, least_depth=1.0)
    assert set(np.unique(labels).tolist()) == {0, 1, 2}
    assert labels[60, 60] != labels[60, 110]
    border = int(np.flatnonzero(np.diff(labels[60, 40:130]))[0]) + 40
    assert abs(border - 85) <= 2


def test_one_disc_stays_one() -> None:
    assert split(relief((90, 60, 40)), relative_depth=0.05, least_depth=0.5).max() == 1


def test_a_shallow_neck_does_not_part() -> None:
    labels = split(relief((80, 60, 30), (90, 60, 30)), relative_depth=0.1, least_depth=1.0)
    assert labels.max() == 1


def test_separate_discs_keep_their_pixels() -> None:
    heights = relief((40, 60, 20), (140, 60, 20))
    labels = split(heights, relative_depth=0.1, least_depth=1.0)
    assert labels.max() == 2
    assert np.array_equal(labels > 0, heights > 0)


def test_no_ground_no_labels() -> None:
    assert split(np.zeros((5, 7), np.float32), relative_depth=0.1, least_depth=1.0).max() == 0
