"""Parts touching cells at their necks: a watershed on the height of a relief, as array operations.

Every pixel walks uphill to its summit, which gives the basins; then basins whose summit stands out too little above the pass to
a higher one join it, the highest passes first. That is the level-ordered watershed with its shallow markers removed, without a
queue of pixels. OpenCV's own watershed is not ordered by level and leaves ragged, misplaced borders.
"""

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int32]


def split(relief: NDArray[np.float32], *, relative_depth: float, least_depth: float) -> Labels:
    """Labels int32 (H, W), 0 where relief is 0, of a relief float32 (H, W) >= 0 (distance from the rim in px, say).

    A summit of height p stays apart from a higher one when the pass between them is lower than p by at least
    relative_depth * p and least_depth.
    """
    height, width = relief.shape
    stride = width + 2
    padded = np.zeros((height + 2, stride), np.float32)
    padded[1:-1, 1:-1] = relief
    flat = padded.ravel()
    ground = np.flatnonzero(flat).astype(np.int32)
    if ground.size == 0:
        return np.zeros(relief.shape, np.int32)
    basins, peaks = _basins(flat, ground, stride)
    roots = _join(*_passes(flat, basins, ground, stride, len(peaks)), peaks, relative_depth, least_depth)
    return roots[basins].reshape(height + 2, stride)[1:-1, 1:-1]


def _basins(flat: NDArray[np.float32], ground: NDArray[np.int32], stride: int) -> tuple[Labels, NDArray[np.float32]]:
    """Basin number of every pixel (0 off the ground) and the height of each basin's summit (entry 0 unused)."""
    best = flat[ground]
    target = ground.copy()
    for step in (-stride - 1, -stride, -stride + 1, -1, 1, stride - 1, stride, stride + 1):
        neighbour = flat[ground + np.int32(step)]
        # on level ground everything walks to the last pixel, so that a plateau is one summit and no walk is a circle
        higher = neighbour > best if step < 0 else neighbour >= best
        np.copyto(best, neighbour, where=higher)
        np.copyto(target, ground + np.int32(step), where=higher)
    place = np.zeros(flat.shape, np.int32)
    place[ground] = np.arange(ground.size, dtype=np.int32)
    uphill = place[target]
    while True:
        further = uphill[uphill]
        if np.array_equal(further, uphill):
            break
        uphill = further
    summits = np.flatnonzero(uphill == np.arange(ground.size))
    number = np.zeros(ground.size, np.int32)
    number[summits] = np.arange(1, summits.size + 1, dtype=np.int32)
    basins = np.zeros(flat.shape, np.int32)
    basins[ground] = number[uphill]
    return basins, np.concatenate([np.zeros(1, np.float32), flat[ground[summits]]])


def _passes(
    flat: NDArray[np.float32], basins: Labels, ground: NDArray[np.int32], stride: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Pairs (N, 2) of neighbouring basins and the height (N,) of the highest pass between them."""
    keys, heights = [], []
    for step in (1, stride - 1, stride, stride + 1):
        here, there = basins[ground], basins[ground + step]
        border = np.flatnonzero((here != there) & (there > 0))
        a, b = here[border].astype(np.int64), there[border].astype(np.int64)
        keys.append(np.minimum(a, b) * count + np.maximum(a, b))
        heights.append(np.minimum(flat[ground[border]], flat[ground[border] + step]))
    key, height = np.concatenate(keys), np.concatenate(heights)
    if key.size == 0:
        return np.zeros((0, 2), np.int64), np.zeros(0, np.float32)
    order = np.argsort(key, kind="stable")
    pairs, first = np.unique(key[order], return_index=True)
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
