"""Regions of a binary or labelled image, as the segmenter's steps need them; typed fronts of OpenCV's calls.

A region is measured on its runs, the unbroken stretches of one label along one row: a twentieth as many as its pixels, and
their ends have the region's convex hull.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]
Labels = NDArray[np.int32]


class Regions(NamedTuple):
    """The regions of a label image, those that occur, ascending by label; entry i of every array is region i.

    numbers (N,) int32: their labels. areas (N,) int64 px. boxes int32 (N, 4): x0, y0, x1, y1 half-open. centres (N, 2): x, y of
    the mean pixel. ends int32 (M, 2): x, y of the first and last pixel of every run; first (N + 1,): where a region's begin.
    """

    numbers: NDArray[np.int32]
    areas: NDArray[np.int64]
    boxes: NDArray[np.int32]
    centres: NDArray[np.float64]
    ends: NDArray[np.int32]
    first: NDArray[np.int64]

    def outline(self, index: int) -> NDArray[np.int32]:
        """The ends of region `index`: pixels (M, 2) x, y whose convex hull is the region's."""
        return self.ends[self.first[index] : self.first[index + 1]]


def regions(labels: Labels) -> Regions:
    """The regions of labels int32 (H, W), 1, 2, ...; 0 is none."""
    rows, left, right, values = _runs(labels)
    first = np.flatnonzero(np.diff(values, prepend=0))
    if first.size == 0:
        none = np.zeros(0, np.int32)
        pairs = none.reshape(0, 2)
        return Regions(none, none.astype(np.int64), none.reshape(0, 4), pairs.astype(np.float64), pairs, np.zeros(1, np.int64))
    length = (right - left).astype(np.int64)
    areas = np.add.reduceat(length, first)
    middle = [np.add.reduceat(v, first) / areas for v in (length * (left + right - 1) / 2, length * rows)]
    low = [np.minimum.reduceat(v, first) for v in (left, rows)]
    high = [np.maximum.reduceat(v, first) for v in (right, rows + 1)]
    ends = np.stack([left, rows, right - 1, rows], axis=1).reshape(-1, 2)
    boxes = np.stack([*low, *high], axis=1)
    return Regions(values[first], areas, boxes, np.stack(middle, axis=1), ends, 2 * np.append(first, values.size))


def _runs(labels: Labels) -> tuple[Labels, Labels, Labels, Labels]:
    """Row, first column, column past the last, and label of every run (M,), sorted by label and row."""
    start = np.empty(labels.shape, np.bool_)
    start[:, 0] = True
    np.not_equal(labels[:, 1:], labels[:, :-1], out=start[:, 1:])
    begin = np.flatnonzero(start)
    length = np.diff(begin, append=labels.size)
    values = labels.ravel()[begin]
    inside = np.flatnonzero(values)
    begin, length, values = begin[inside], length[inside], values[inside]
    # numpy sorts 16-bit keys by radix, several times as fast; a frame with more regions is noise but must not be misread
    keys = values.astype(np.uint16) if values.max(initial=0) < 1 << 16 else values
    order = np.argsort(keys, kind="stable")
    rows, left = np.divmod(begin[order].astype(np.int32), np.int32(labels.shape[1]))
    return rows, left, left + length[order].astype(np.int32), values[order]


def labelled(mask: Mask, connectivity: int = 8) -> Labels:
    """Labels int32 (H, W), 1, 2, ... without gaps, of the connected regions of a mask; 0 off the mask."""
    return cv2.connectedComponents(mask, connectivity=connectivity)[1].astype(np.int32, copy=False)


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


def distance(mask: Mask, beyond_px: int | None = None) -> NDArray[np.float32]:
    """Distance to the rim in px, float32. What the image's border cuts goes on for beyond_px, or for ever."""
    pad = 1 if beyond_px is None else beyond_px
    padded = cv2.copyMakeBorder(mask, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    if beyond_px is not None:
        pad += 1
        padded = cv2.copyMakeBorder(padded, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return cv2.distanceTransform(padded, cv2.DIST_L2, 5)[pad:-pad, pad:-pad].astype(np.float32, copy=True)
