"""The slide's own red cells as the measure of its stain.

What one microscope shows as a neutrophil's pink is another's eosinophil. But red cells lie beside every white cell, and they
are the same everywhere. So their optical density is measured on the slide, and all densities are scaled, channel by channel,
half of the way (geometrically) to where its red cells would be as dense as those of the slides that the bundle was trained on.
Half, since the measure is a rough one: of microscopes that a network had not seen, it decided fewer cells wrongly so than with
the whole way.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.preprocess import Preprocess, white_point

BESIDE_UM = 6.5
"""From the window's middle: further out lie the neighbours of the cell, which is a white cell or a platelet."""
PALEST, DENSEST = 0.07, 0.7
"""Densities in green light between which red cells lie: fainter is background, denser a nucleus or a pile of cells."""
DARKEST_RED = 0.4
"""Density in red light, which red cells let through better than green light: what takes more is a nucleus."""
EVERY = 2
"""Only every other row and column is measured: a median needs no more."""
LEAST_SHARE = 0.05
"""Of the pixels around the cell that must be red cells."""
LEAST_CROPS = 6
"""Crops that show red cells. Fewer leave the colours as they are."""
WINDOW = 200
"""Crops of a run that are looked back on."""
MOST_CROPS = 1000
"""Crops of a whole slide that are measured, spread over all of them: more tell nothing new and fill the memory."""
GAINS = (0.4, 2.5)
"""Bounds of the whole way: beyond them only the noise of a channel in which red cells do not show would grow."""

Gain = NDArray[np.float32]
White = NDArray[np.float32]


def red_densities(crops: NDArray[np.uint8], spec: Preprocess, white: White | None = None) -> NDArray[np.float64]:
    """Median density (M, 3) of the red cells around each cell, of crops uint8 (N, S, S, 3); crops without any are left out.

    white: of each crop, where `white_point` has been asked already.
    """
    if not len(crops):
        return np.zeros((0, 3))
    white = white_point(crops) if white is None else white
    pixels = crops.reshape(len(crops), -1, 3).take(_beside(spec.size_px, spec.crop_um), axis=1)
    ratio = pixels / white[:, None, :]
    density = -np.log(np.clip(ratio, 1 / 255, 1))
    red, green = density[:, :, 0], density[:, :, 1]
    chosen = (green > PALEST) & (green < DENSEST) & (red < green) & (red < DARKEST_RED)
    enough = chosen.mean(axis=1) >= LEAST_SHARE
    medians = [_median(density[at], chosen[at]) for at in np.flatnonzero(enough)]
    return np.array(medians, np.float64).reshape(-1, 3)


@lru_cache
def _beside(size_px: int, crop_um: float) -> NDArray[np.intp]:
    """Which pixels of a crop, row by row, are looked at."""
    across = (np.arange(0, size_px, EVERY) - (size_px - 1) / 2) * crop_um / size_px
    rows, columns = np.nonzero(np.hypot(across[:, None], across) > BESIDE_UM)
    places: NDArray[np.intp] = EVERY * (rows * size_px + columns)
    places.setflags(write=False)
    return places


def _median(density: NDArray[np.float32], chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(3,) of the rows of density (M, 3) that are chosen, one at least: as numpy's, in a fifth of its time."""
    values = density.take(np.flatnonzero(chosen), axis=0).T
    middle = [(values.shape[1] - 1) // 2, values.shape[1] // 2]
    median: NDArray[np.float32] = np.partition(values, middle, axis=1)[:, middle].sum(axis=1) / np.float32(2)
    return median


def gain_of(densities: NDArray[np.float64], spec: Preprocess) -> Gain | None:
    """What to multiply densities by, float32 (3,); None where the bundle asks for nothing or too few crops show red cells."""
    if spec.red_density is None or len(densities) < LEAST_CROPS:
        return None
    own = np.maximum(np.median(densities, axis=0), 1e-3)
    return np.sqrt(np.clip(np.array(spec.red_density) / own, *GAINS)).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class StainState:
    """Red-cell densities of the latest crops of a run, newest last."""

    densities: tuple[tuple[float, ...], ...] = ()

    def after(self, crops: NDArray[np.uint8], spec: Preprocess, white: White | None = None) -> "StainState":
        """With the crops of one more frame, uint8 (N, S, S, 3); only the first of them once WINDOW is full, since a slide keeps
        its stain. A bundle that does not ask for red cells needs none measured. white: as in `red_densities`."""
        if spec.red_density is None or not len(crops):
            return self
        some = len(crops) if len(self.densities) < WINDOW else 1
        found = red_densities(crops[:some], spec, None if white is None else white[:some])
        return StainState(densities=(*self.densities, *(tuple(row) for row in found.tolist()))[-WINDOW:])

    def gain(self, spec: Preprocess) -> Gain | None:
        """What the crops so far say."""
        return gain_of(np.array(self.densities).reshape(-1, 3), spec)


def restained(crops: NDArray[np.uint8], gain: Gain | None, white: White | None = None) -> NDArray[np.uint8]:
    """Crops uint8 (N, S, S, 3) with their densities below their own white multiplied by gain (3,). white: as in
    `red_densities`."""
    if gain is None or not len(crops):
        return crops
    levels, own = np.arange(256, dtype=np.float32)[:, None], (white_point(crops) if white is None else white)[:, None]
    tables = np.where(levels < own, own * (levels / own) ** gain, levels)
    out = np.empty_like(crops)
    for crop, table, written in zip(crops, np.rint(tables).astype(np.uint8), out, strict=True):
        cv2.LUT(crop, table[None], written)
    return out


def evened(crops: NDArray[np.uint8], spec: Preprocess) -> NDArray[np.uint8]:
    """All crops of one slide, uint8 (N, S, S, 3), as the bundle wants them."""
    if spec.red_density is None:
        return crops
    some = crops[:: len(crops) // MOST_CROPS + 1]
    return restained(crops, gain_of(red_densities(some, spec), spec))
