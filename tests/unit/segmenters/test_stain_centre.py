"""The mask of the one cell in the middle of a crop."""

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.segmenters.stain import centre_mask

BACKGROUND, RED_CELL, CYTOPLASM, NUCLEUS = (245, 228, 200), (215, 165, 160), (200, 185, 215), (80, 50, 130)


def crop(side: int = 224) -> NDArray[np.uint8]:
    image = np.full((side, side, 3), BACKGROUND, np.uint8)
    noise = np.random.default_rng(0).normal(0, 2, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def overlap(mask: NDArray[np.uint8] | None, truth: NDArray[np.uint8]) -> float:
    assert mask is not None
    assert mask.dtype == np.uint8
    assert mask.shape == truth.shape
    return float((mask & truth).sum() / (mask | truth).sum())


def test_holds_cytoplasm_and_leaves_a_touching_red_cell() -> None:
    image = crop()
    truth = np.zeros(image.shape[:2], np.uint8)
    cv2.circle(image, (112 + 91, 112), 38, RED_CELL, -1)
    cv2.circle(image, (112, 112), 56, CYTOPLASM, -1)
    cv2.circle(truth, (112, 112), 56, 1, -1)
    cv2.circle(image, (100, 112), 30, NUCLEUS, -1)
    assert overlap(centre_mask(image, 0.1), truth) > 0.9


def test_same_cell_at_another_scale() -> None:
    image = np.full((120, 120, 3), BACKGROUND, np.uint8)
    truth = np.zeros((120, 120), np.uint8)
    cv2.circle(image, (60, 60), 30, CYTOPLASM, -1)
    cv2.circle(truth, (60, 60), 30, 1, -1)
    cv2.circle(image, (55, 60), 15, NUCLEUS, -1)
    assert overlap(centre_mask(image, 0.2), truth) > 0.85


def test_lobes_of_one_nucleus_are_one_cell() -> None:
    image = crop()
    truth = np.zeros(image.shape[:2], np.uint8)
    cv2.circle(image, (112, 112), 58, CYTOPLASM, -1)
    cv2.circle(truth, (112, 112), 58, 1, -1)
    for x, y in ((92, 92), (135, 95), (112, 140)):
        cv2.circle(image, (x, y), 15, NUCLEUS, -1)
    assert overlap(centre_mask(image, 0.1), truth) > 0.9


def test_nothing_in_the_middle_is_none() -> None:
    assert centre_mask(np.full((224, 224, 3), 240, np.uint8), 0.1) is None
