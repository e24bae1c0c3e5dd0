"""The network's maps -> cells. All maps lie on a grid of STRIDE input pixels; grid cell (x, y) stands for its middle.

`kinds` (K, h, w): logit that a cell of that kind has its middle here. `box` (4, h, w): natural logarithm of the distances, in
grid cells, from here to the left, upper, right and lower side of the cell that lies here. `inside` (1, h, w): logit that any
cell does. Middles are told apart by `kinds` (Zhou et al. 2019, arXiv 1904.07850), and a pixel belongs to the cell whose box is
most like the one that the pixel itself sees.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

STRIDE = 4
KINDS, BOX, INSIDE = "kinds", "box", "inside"
MOST_CELLS = 2000
"""Of one frame; the surest are kept. A crowded frame of 200 x 120 um holds 400."""
LONGEST = 6.0
"""Largest logarithm of a distance that is believed: 400 grid cells."""

Map = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """Cells, surest first. kinds: (N,) index. scores: (N, K) 0-1. boxes: (N, 4) x0, y0, x1, y1 in grid cells."""

    kinds: NDArray[np.int64]
    scores: NDArray[np.float32]
    boxes: NDArray[np.float32]


def decode(maps: Mapping[str, Map], limits: Sequence[float], overlap: float) -> Found:
    """The cells in the maps of one frame.

    limits: least score of each kind. overlap: two boxes with a larger intersection over union are one cell, the surer one.
    """
    logits = maps[KINDS]
    peaks = logits >= _lifted(limits)[:, None, None]
    for kind, plane in enumerate(logits):
        peaks[kind] &= plane >= cv2.dilate(plane, np.ones((3, 3), np.uint8))
    kinds, ys, xs = np.nonzero(peaks)
    order = np.argsort(-logits[kinds, ys, xs], kind="stable")[:MOST_CELLS]
    kinds, ys, xs = kinds[order], ys[order], xs[order]
    boxes = boxes_at(maps[BOX][:, ys, xs], xs, ys, logits.shape[1:])
    kept = distinct(boxes, overlap)
    scores = 1 / (1 + np.exp(-logits[:, ys[kept], xs[kept]].T))
    return Found(kinds=kinds[kept], scores=scores.astype(np.float32), boxes=boxes[kept])


def _lifted(limits: Sequence[float]) -> Map:
    """Scores as logits: the maps need no exponential where nothing is found."""
    share = np.clip(np.asarray(limits, np.float64), 1e-6, 1 - 1e-6)
    return np.asarray(np.log(share / (1 - share)), np.float32)


def boxes_at(logs: Map, xs: NDArray[np.int64], ys: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Boxes (N, 4) in grid cells, inside a grid of shape (h, w), that the network sees (logs: (4, N)) from cells xs, ys."""
    reach: Map = np.exp(np.minimum(logs, np.float32(LONGEST)))
    x, y = xs + 0.5, ys + 0.5
    corners = np.stack([x - reach[0], y - reach[1], x + reach[2], y + reach[3]], axis=1)
    boxes: NDArray[np.float32] = np.clip(corners, 0, [shape[1], shape[0]] * 2).astype(np.float32)
    return boxes


def distinct(boxes: NDArray[np.float32], overlap: float) -> NDArray[np.int64]:
    """Indices of the boxes (N, 4), surest first, that no surer one overlaps by more than `overlap`."""
    if not len(boxes):
        return np.zeros(0, np.int64)
    left, right = _touching_pairs(boxes)
    alike = ious(boxes[left], boxes[right]) > overlap
    left, right = left[alike], right[alike]
    kept = np.ones(len(boxes), bool)
    for surer, other in sorted(zip(left.tolist(), right.tolist(), strict=True)):
        if kept[surer]:
            kept[other] = False
    return np.flatnonzero(kept)


def _touching_pairs(boxes: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (i < j) of boxes that share columns: of N boxes in a row far fewer than N * N / 2, which would be most of the time
    that a crowded frame takes."""
    order = np.argsort(boxes[:, 0], kind="stable")
    starts = boxes[order, 0]
    behind = np.searchsorted(starts, boxes[order, 2], side="left")  # from here on they start where this one has ended
    count = np.maximum(behind - np.arange(1, len(boxes) + 1), 0)
    first = np.repeat(np.arange(len(boxes)), count)
    second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(count) - count, count)
    one, other = order[first], order[second]
    return np.minimum(one, other), np.maximum(one, other)


def ious(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union (N,) of boxes (N, 4), pair by pair."""
    both = np.prod(np.clip(np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2]), 0, None), axis=1)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)]
    share: NDArray[np.float32] = both / np.maximum(areas[0] + areas[1] - both, np.float32(1e-9))
    return share


def owners(found: Found, maps: Mapping[str, Map]) -> NDArray[np.int32]:
    """Whose each grid cell is: int32 (h, w), 0 for nobody's, else 1 + the index of a cell found."""
    inside = maps[INSIDE][0] > 0
    height, width = inside.shape
    out = np.zeros(inside.shape, np.int32)
    if not len(found.boxes):
        return out
    low = np.floor(found.boxes[:, :2]).astype(np.int64)
    high = np.minimum(np.ceil(found.boxes[:, 2:]).astype(np.int64), (width, height))
    across, down = (np.maximum(high - low, 0)).T
    cells = np.repeat(np.arange(len(low)), across * down)
    within = np.arange(len(cells)) - np.repeat(np.cumsum(across * down) - across * down, across * down)
    ys, xs = low[cells, 1] + within // across[cells], low[cells, 0] + within % across[cells]
    taken = inside[ys, xs]
    cells, ys, xs = cells[taken], ys[taken], xs[taken]
    alike = ious(boxes_at(maps[BOX][:, ys, xs], xs, ys, (height, width)), found.boxes[cells])
    order = np.argsort(alike, kind="stable")  # the last one written is the one most alike
    out[ys[order], xs[order]] = cells[order] + 1
    return out
