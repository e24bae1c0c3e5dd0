"""Parts touching cells at their necks: a watershed on the height of a relief, as array operations.

Every pixel walks uphill to its summit, which gives the basins; then basins whose summit stands out too little above the pass to
a higher one join it, the highest passes first. That is the level-ordered watershed with its shallow markers removed, without a
queue of pixels. OpenCV's own watershed is not ordered by level and leaves ragged, misplaced borders.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int32]

STEPS = ((0, -1), (-1, 1), (-1, 0), (-1, -1), (0, 0), (0, 1), (1, -1), (1, 0), (1, 1))
"""Steps (y, x) to a pixel's neighbours; of those that lead equally high the last one is taken. On level ground everything walks
to the last pixel, so that a plateau is one summit and no walk is a circle."""
SQUARE = np.ones((3, 3), np.uint8)


def split(relief: NDArray[np.float32], *, relative_depth: float, least_depth: float) -> Labels:
    """Labels int32 (H, W), 0 where relief is 0, of a relief float32 (H, W) >= 0 (distance from the rim in px, say).

    A summit of height p stays apart from a higher one when the pass between them is lower than p by at least
    relative_depth * p and least_depth.
    """
    padded = cv2.copyMakeBorder(relief, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0).astype(np.float32, copy=False)
    basins, peaks = _basins(padded)
    roots = _join(*_passes(padded, basins, len(peaks)), peaks, relative_depth, least_depth)
    return roots.take(basins[1:-1, 1:-1])


def _basins(padded: NDArray[np.float32]) -> tuple[Labels, NDArray[np.float32]]:
    """Basin number of every pixel (0 off the ground) and the height of each basin's summit (entry 0 unused).

    padded: a relief with one pixel of 0 around it, so that every step from the ground stays inside.
    """
    flat = padded.ravel()
    ground = np.flatnonzero(flat > 0)
    offsets = np.array([y * padded.shape[1] + x for y, x in STEPS], np.int64)
    place = np.zeros(flat.shape, np.int32)
    place[ground] = np.arange(ground.size, dtype=np.int32)
    uphill = place.take(ground + offsets.take(_steepest(padded).take(ground))).astype(np.int64)
    while True:
        further = uphill.take(uphill)
        if np.array_equal(further, uphill):
            break
        uphill = further
    summits = np.flatnonzero(uphill == np.arange(ground.size))
    number = np.zeros(ground.size, np.int32)
    number[summits] = np.arange(1, summits.size + 1, dtype=np.int32)
    basins = np.zeros(padded.shape, np.int32)
    basins.ravel()[ground] = number.take(uphill)
    return basins, np.concatenate([np.zeros(1, np.float32), flat[ground[summits]]])


def _steepest(padded: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Index into STEPS, uint8 (H * W,), of the step to the highest of a pixel's neighbours and itself; nothing for the rim."""
    flat, stride = padded.ravel(), padded.shape[1]
    inner = slice(stride + 1, flat.size - stride - 1)
    highest = cv2.dilate(padded, SQUARE).ravel()[inner]
    chosen = np.zeros(flat.shape, np.uint8)
    for index, (y, x) in enumerate(STEPS):
        step = y * stride + x
        there = flat[inner.start + step : inner.stop + step] == highest
        np.maximum(chosen[inner], there.view(np.uint8) * np.uint8(index), out=chosen[inner])
    return chosen


def _passes(padded: NDArray[np.float32], basins: Labels, count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Pairs (N, 2) of neighbouring basins and the height (N,) of the highest pass between them."""
    flat, numbers, stride = padded.ravel(), basins.ravel(), padded.shape[1]
    values = basins.astype(np.float32)
    border = np.flatnonzero((cv2.dilate(values, SQUARE) > values).ravel() & (numbers > 0))
    low, level = numbers[border], flat[border]
    keys, heights = [], []
    for y, x in STEPS:
        beside = border + (y * stride + x)
        high = numbers[beside]
        met = np.flatnonzero(high > low)
        keys.append(low[met].astype(np.int64) * count + high[met])
        heights.append(np.minimum(level[met], flat[beside[met]]))
    key, height = np.concatenate(keys), np.concatenate(heights)
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    if first.size == 0:
        return np.zeros((0, 2), np.int64), np.zeros(0, np.float32)
    pairs = key[first]
    return np.stack([pairs // count, pairs % count], axis=1), np.maximum.reduceat(height[order], first)


def _join(
    pairs: NDArray[np.int64],
    heights: NDArray[np.float32],
    peaks: NDArray[np.float32],
    relative_depth: float,
    least_depth: float,
) -> Labels:
    """The final number (1, 2, ... without gaps) of every basin; entry 0 is 0."""
    parent = list(range(len(peaks)))
    peak = peaks.tolist()

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    order = np.argsort(-heights, kind="stable")
    for (a, b), height in zip(pairs[order].tolist(), heights[order].tolist(), strict=True):
        low, high = root(a), root(b)
        if low == high:
            continue
        if peak[low] > peak[high]:
            low, high = high, low
        if peak[low] - height < max(relative_depth * peak[low], least_depth):
            parent[low] = high
    roots = np.array([root(i) for i in range(len(parent))])
    return np.unique(roots, return_inverse=True)[1].astype(np.int32)
