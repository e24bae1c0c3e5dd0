"""Near-copies among many cells: the same picture turned, mirrored, recoloured, rescaled or compressed once more.

Two pictures are near-copies when their coarse green channels correlate by ALIKE or more in one of the eight orientations.
Different cells of PBC and BloodMNIST reach 0.975, of MLL marrow 0.986 (dark blurred ones); copies 0.995 and more. Shifted or
cropped copies are missed.

Comparing all with all in eight orientations is too much for 171,375 cells. What is the same in every orientation goes first:
the mean over each orbit of the eight on the grid. It is an orthogonal projection, so near-copies are at least as near in it,
and sorted by its main direction most cells need not be compared at all. Nothing is lost by that. Needed are 1 kB a cell.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 24
ALIKE = 0.99
_BLOCK = 1024

Coarse = NDArray[np.uint8]
"""(SIDE, SIDE), or (N, SIDE, SIDE)."""


def coarse(image: NDArray[np.uint8]) -> Coarse:
    """The green channel, squashed to SIDE px a side: shape without colour, size or detail."""
    green = np.ascontiguousarray(image[:, :, 1])
    how = cv2.INTER_AREA if min(green.shape) >= SIDE else cv2.INTER_LINEAR
    return cv2.resize(green, (SIDE, SIDE), interpolation=how).astype(np.uint8, copy=False)


def groups(pictures: Coarse, alike: float = ALIKE) -> NDArray[np.int64]:
    """Group number (N,) of each picture (N, SIDE, SIDE): near-copies, and their near-copies, share one."""
    home = np.arange(len(pictures))
    for one, other in pairs(pictures, alike):
        a, b = _root(home, one), _root(home, other)
        home[max(a, b)] = min(a, b)
    return np.array([_root(home, each) for each in range(len(home))], np.int64)


def pairs(pictures: Coarse, alike: float = ALIKE) -> Iterator[tuple[int, int]]:
    """Every pair of near-copies. A picture without any contrast is nobody's."""
    farthest = float(np.sqrt(2 - 2 * alike)) + 1e-3
    features = _features(pictures)
    order = np.argsort(features[:, 0], kind="stable")
    features = features[order]
    for begin in range(0, len(order), _BLOCK):
        block = features[begin : begin + _BLOCK]
        end = int(np.searchsorted(features[:, 0], block[-1, 0] + farthest, side="right"))
        others = features[begin:end]
        square = (block**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)[None] - 2 * block @ others.T
        rows, columns = np.nonzero(np.triu(square < farthest**2, 1))
        ones, seconds = order[begin + rows], order[begin + columns]
        alikes = _likeness(pictures, ones, seconds) >= alike
        yield from zip(ones[alikes].tolist(), seconds[alikes].tolist(), strict=True)


def _root(home: NDArray[np.int64], place: int) -> int:
    while home[place] != place:
        home[place] = home[home[place]]
        place = int(home[place])
    return place


def _unit(pictures: Coarse) -> NDArray[np.float32]:
    """Zero mean, unit norm; zero where there is no contrast."""
    values = pictures.astype(np.float32)
    values -= values.mean(axis=(-2, -1), keepdims=True)
    norm = np.sqrt((values**2).sum(axis=(-2, -1), keepdims=True))
    return np.where(norm > SIDE, values / np.maximum(norm, 1e-6), 0).astype(np.float32)


def _features(pictures: Coarse) -> NDArray[np.float32]:
    """(N, orbits) float32, the main direction first. Distances are those of the pictures or less."""
    orbits = _orbits()
    features = np.empty((len(pictures), orbits.shape[1]), np.float32)
    for begin in range(0, len(pictures), _BLOCK):
        unit = _unit(pictures[begin : begin + _BLOCK])
        features[begin : begin + _BLOCK] = unit.reshape(len(unit), -1) @ orbits
    _, turn = np.linalg.eigh(features.T @ features)
    return np.asarray(features @ np.ascontiguousarray(turn[:, ::-1]), np.float32)


def _orbits() -> NDArray[np.float32]:
    """(SIDE**2, orbits): an orthonormal basis of the pictures that look the same in all eight orientations."""
    grid = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    turned = np.stack([np.rot90(each, k) for each in (grid, grid[:, ::-1]) for k in range(4)])
    _, orbit, size = np.unique(turned.min(axis=0).ravel(), return_inverse=True, return_counts=True)
    basis = np.zeros((SIDE * SIDE, len(size)), np.float32)
    basis[grid.ravel(), orbit.ravel()] = 1 / np.sqrt(size[orbit.ravel()])
    return basis


def _likeness(pictures: Coarse, ones: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.float32]:
    """Correlation of each pair in the best of the eight orientations."""
    best = np.full(len(ones), -1, np.float32)
    for begin in range(0, len(ones), _BLOCK):
        part = slice(begin, begin + _BLOCK)
        first, second = _unit(pictures[ones[part]]), _unit(pictures[others[part]])
        for each in (second, second[:, :, ::-1]):
            for k in range(4):
                best[part] = np.maximum(best[part], (first * np.rot90(each, k, axes=(1, 2))).sum(axis=(1, 2)))
    return best
