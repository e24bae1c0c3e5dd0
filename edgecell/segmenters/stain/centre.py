"""The mask of the one cell in the middle of a single-cell image: what a crop shows of its cell, and nothing of others."""

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.segmenters.stain.density import Image, density, otsu, white_level
from edgecell.segmenters.stain.regions import closed, components, dilated, disc, distance, fill_holes, opened
from edgecell.segmenters.stain.split import split

WORK_UM = 0.2
"""um per pixel of the working image: half a micrometre of rim is still two pixels wide."""
PALE = 14
"""Density (1/64) above which everything is matter: the cut is sought below, between background and pale cytoplasm."""
SQUARE = np.ones((3, 3), np.uint8)


def centre_mask(image: Image, pixel_um: float) -> NDArray[np.uint8] | None:
    """The cell in the middle of an RGB image uint8 (H, W, 3) at pixel_um um per pixel, as uint8 0/1 (H, W).

    The whole cell with its cytoplasm; None where nothing stained lies in the middle. Works for nucleated cells and platelets.
    """
    height, width = image.shape[:2]
    size = max(8, round(width * pixel_um / WORK_UM)), max(8, round(height * pixel_um / WORK_UM))
    how = cv2.INTER_AREA if size[0] < width else cv2.INTER_LINEAR
    small = cv2.GaussianBlur(cv2.resize(image, size, interpolation=how), (3, 3), 0).astype(np.uint8, copy=False)
    od = density(small, white_level(small))
    matter = _matter(od)
    seed = _seed(od, matter)
    if seed is None:
        return None
    cell = _grow(seed, matter)
    full = cv2.resize(cell * 255, (width, height), interpolation=cv2.INTER_LINEAR)
    return (full > 127).astype(np.uint8)


def _matter(od: Image) -> Image:
    """All that is not background, uint8 0/1, holes filled."""
    depth = cv2.addWeighted(od[:, :, 0], 0.5, od[:, :, 1], 0.5, 0).astype(np.uint8, copy=False)
    mask = (depth > otsu(np.minimum(depth, PALE))).astype(np.uint8)
    return opened(fill_holes(closed(mask, SQUARE)), SQUARE)


def _seed(od: Image, matter: Image) -> Image | None:
    """The nucleus (or the azure body of a platelet) in the middle: what absorbs red, as eosin and haemoglobin do not."""
    azure = od[:, :, 0]
    inside = azure[matter > 0]
    if inside.size == 0:
        return None
    parts = components(opened(((azure > otsu(inside)) & (matter > 0)).astype(np.uint8), SQUARE))
    if len(parts.areas) < 2:
        return None
    middle = np.array([azure.shape[1] / 2, azure.shape[0] / 2])
    away_um = np.linalg.norm(parts.centres[1:] - middle, axis=1) * WORK_UM
    pull_um2 = parts.areas[1:] * WORK_UM**2 * np.exp(-((away_um / 4.0) ** 2))
    best = int(np.argmax(pull_um2))
    if pull_um2[best] < 0.3:
        return None
    return _lobes(parts.labels, best + 1, float(parts.areas[best + 1]) * WORK_UM**2)


def _lobes(labels: NDArray[np.int32], best: int, area_um2: float) -> Image:
    """The chosen part with those near it: the lobes of one nucleus lie within 2.5 um of each other, platelets are alone."""
    seed: Image = (labels == best).astype(np.uint8)
    reach = disc((2.5 if area_um2 > 6.0 else 1.0) / WORK_UM)
    for _ in range(4):
        near = np.unique(labels[dilated(seed, reach) > 0])
        grown = np.isin(labels, near[near > 0]).astype(np.uint8)
        if int(grown.sum()) == int(seed.sum()):
            break
        seed = grown
    return seed


def _grow(seed: Image, matter: Image) -> Image:
    """The part of `matter` that belongs to the seed, parted from its neighbours at the necks, thin tails cut off."""
    ground = matter | seed
    relief = distance(ground)
    hull = np.zeros_like(seed)
    cv2.fillConvexPoly(hull, cv2.convexHull(cv2.findNonZero(seed)), 1)
    relief[(hull & ground) > 0] = 2.0 * relief.max()
    cell = _mostly(split(relief, relative_depth=0.15, least_depth=1.0), seed)
    thin = min(1.2 / WORK_UM, 0.4 * (float(seed.sum()) / np.pi) ** 0.5)
    return fill_holes(_mostly(components(opened(cell, disc(thin)) | seed).labels, seed))


def _mostly(labels: NDArray[np.int32], seed: Image) -> Image:
    """The label that covers most of the seed, as uint8 0/1."""
    mask: Image = (labels == np.bincount(labels[seed > 0]).argmax()).astype(np.uint8)
    return mask
