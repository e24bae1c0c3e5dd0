"""Regions of a binary image (uint8 0/1), as the segmenter's steps need them; typed fronts of OpenCV's calls."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]


class Components(NamedTuple):
    """labels int32 (H, W), 0 background. boxes int32 (N, 4) x, y, width, height; areas (N,) px; centres (N, 2) x, y; row 0 is
    the background."""

    labels: NDArray[np.int32]
    boxes: NDArray[np.int32]
    areas: NDArray[np.int32]
    centres: NDArray[np.float64]


def components(mask: Mask, connectivity: int = 8) -> Components:
    _, labels, stats, centres = cv2.connectedComponentsWithStats(mask, connectivity=connectivity)
    numbers = stats.astype(np.int32, copy=False)
    return Components(
        labels.astype(np.int32, copy=False), numbers[:, :4], numbers[:, 4], centres.astype(np.float64, copy=False)
    )


def disc(radius_px: float) -> Mask:
    """A filled circle as structuring element; a cross of 3x3 at least."""
    radius = max(1, round(radius_px))
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)).astype(np.uint8, copy=False)


def opened(mask: Mask, element: Mask) -> Mask:
    return cv2.morphologyEx(mask, cv2.MORPH_OPEN, element).astype(np.uint8, copy=False)


def closed(mask: Mask, element: Mask) -> Mask:
    return cv2.morphologyEx(mask, cv2.MORPH_CLOSE, element).astype(np.uint8, copy=False)


def dilated(mask: Mask, element: Mask) -> Mask:
    return cv2.dilate(mask, element).astype(np.uint8, copy=False)


def fill_holes(mask: Mask, largest_px: float | None = None) -> Mask:
    """`mask` with its holes filled: all, or those of at most largest_px pixels."""
    outside = cv2.copyMakeBorder(1 - mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1).astype(np.uint8, copy=False)
    parts = components(outside, connectivity=4)
    hole = np.ones(len(parts.areas), np.uint8)
    if largest_px is not None:
        hole[parts.areas > largest_px] = 0
    hole[[0, parts.labels[0, 0]]] = 0
    filled: Mask = mask | hole[parts.labels[1:-1, 1:-1]]
    return filled


def distance(mask: Mask, beyond: int) -> NDArray[np.float32]:
    """Distance to the rim in px, float32; `beyond` is the type of border (cv2.BORDER_*) that lies around the image."""
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, beyond, value=0)
    return cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1].astype(np.float32, copy=True)


def points(labels: NDArray[np.int32]) -> list[NDArray[np.int32]]:
    """The pixels (N, 2) x, y of labels 1, 2, ... up to the largest, in one pass; some may be empty."""
    flat = labels.ravel()
    places = np.flatnonzero(flat)
    values = flat[places]
    places = places[np.argsort(values, kind="stable")]
    ends = np.cumsum(np.bincount(values, minlength=1))
    rows, columns = np.divmod(places.astype(np.int32), np.int32(labels.shape[1]))
    pixels = np.stack([columns, rows], axis=1)
    return [pixels[low:high] for low, high in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
