"""Parts touching cells at their necks: a watershed in strict level order, as array operations on whole levels.

Flooding goes down the levels of a relief (distance from the rim, say). A summit that stands out by too little where it meets a
higher one belongs to it; the others keep the ground that they reach first. OpenCV's own watershed is not ordered by level and
leaves ragged, misplaced borders.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int32]
_CROSS = np.ones((3, 3), np.uint8)


def split(relief: NDArray[np.float32], *, step: float, relative_depth: float, least_depth: float) -> Labels:
    """Labels int32 (H, W), 0 where relief is 0, of a relief float32 (H, W) >= 0 in pixels.

    step: height of a level in pixels. A summit of height p stays apart from a higher one when the pass between them is lower
    than p by at least relative_depth * p and least_depth pixels.
    """
    labels = np.zeros(relief.shape, np.float32)
    parent: list[int] = [0]
    peak: list[float] = [0.0]
    settled: list[bool] = [True]
    top = float(relief.max(initial=0.0))
    for level in [*np.arange(top, 0.0, -step).tolist(), 1e-6]:
        ground = (relief >= level).astype(np.uint8)
        _flood(labels, ground)
        count, islands = cv2.connectedComponents(ground, connectivity=8)
        _merge(labels, islands.astype(np.int32, copy=False), count, level, peak, settled, parent, relative_depth, least_depth)
    roots = np.array([_root(parent, i) for i in range(len(parent))], np.int32)
    _, dense = np.unique(roots, return_inverse=True)
    return dense.astype(np.int32)[labels.astype(np.int32)]


def _flood(labels: NDArray[np.float32], ground: NDArray[np.uint8]) -> None:
    """Grow every label over the ground that it touches, in place."""
    for _ in range(64):
        grown = cv2.dilate(labels, _CROSS)
        take = (labels == 0) & (grown > 0) & (ground > 0)
        if not take.any():
            return
        labels[take] = grown[take]


def _root(parent: list[int], index: int) -> int:
    while parent[index] != index:
        index = parent[index]
    return index


def _merge(
    labels: NDArray[np.float32],
    islands: NDArray[np.int32],
    count: int,
    level: float,
    peak: list[float],
    settled: list[bool],
    parent: list[int],
    relative_depth: float,
    least_depth: float,
) -> None:
    """Give new islands a label, and let shallow summits join the highest one of their island."""
    held = labels > 0
    pairs = np.unique(islands[held].astype(np.int64) * (len(parent)) + labels[held].astype(np.int64))
    found: dict[int, set[int]] = {}
    for pair in pairs.tolist():
        island, label = divmod(pair, len(parent))
        found.setdefault(island, set()).add(_root(parent, label))
    fresh = np.zeros(count, np.float32)
    for island in range(1, count):
        roots = found.get(island)
        if roots is None:
            fresh[island] = len(parent)
            parent.append(len(parent))
            peak.append(level)
            settled.append(False)
        elif len(roots) > 1:
            highest = max(roots, key=lambda r: peak[r])
            for root in roots:
                if root != highest and not settled[root]:
                    settled[root] = peak[root] - level >= max(relative_depth * peak[root], least_depth)
                    if not settled[root]:
                        parent[root] = highest
            settled[highest] = settled[highest] or any(settled[r] for r in roots)
    labels += fresh[islands] * ~held
