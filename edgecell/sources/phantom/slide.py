"""The slide: which cell lies where. Laid out tile by tile, the same whichever tile is asked for first.

Every tile draws its own cells at random; then cells push each other apart, so that most touch or lie free and some overlap, as
on the monolayer of a smear. A tile is settled together with a rim of its neighbours.
"""

import math
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell.messages import PLATELET, RED_BLOOD_CELL
from edgecell.sources.phantom.catalogue import Individual, catalogue
from edgecell.sources.phantom.options import Options

TILE_UM: Final = 64.0
RIM_UM: Final = 24.0
REACH_UM: Final = 12.0  # no cell reaches further from its centre
# Cells per 1000 um2, counted by their centres.
RED_DENSITY: Final = 11.9
NUCLEATED_DENSITY: Final = 0.76
PLATELET_DENSITY: Final = 0.52
# Share of the nucleated cells: a left-shifted differential with the rare classes made commoner, so that a short run shows all.
MIX: Final = {
    "neutrophil": 0.40,
    "lymphocyte": 0.21,
    "monocyte": 0.10,
    "eosinophil": 0.09,
    "basophil": 0.05,
    "immature_granulocyte": 0.07,
    "erythroblast": 0.08,
}
OVERLAPPING: Final = 0.22  # share of red cells that may lie under others
OVERLAP_REACH: Final = (0.55, 0.95)  # of the radius: how near others may come to those
PLATELET_ON_CELL: Final = 0.12
SETTLE_STEPS: Final = 7
MEETING_UM: Final = 3.0  # how much nearer than touching two cells may come while they settle

PLACED: Final = np.dtype(
    [("cell_id", "i8"), ("individual", "i4"), ("turn", "i4")]
    + [(name, "f8") for name in ("x_um", "y_um", "reach", "firm", "ease")]
)
Placed = NDArray[np.void]
Thrown = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


class Slide:
    """One slide. `cells` answers with a structured array of dtype PLACED."""

    def __init__(self, options: Options) -> None:
        self.seed = options.seed
        self.individuals: tuple[Individual, ...] = catalogue(options.seed)
        labels = [one.label for one in self.individuals]
        self._red_ones, self._platelet_ones = _where(labels, RED_BLOOD_CELL), _where(labels, PLATELET)
        self._nucleated_ones = np.stack([_where(labels, label) for label in MIX])
        self._mix = np.cumsum(list(MIX.values()))[:-1] / sum(MIX.values())
        self._radii = np.array([one.radius_um for one in self.individuals])
        self._thrown = lru_cache(maxsize=4096)(self._throw)
        self._settled = lru_cache(maxsize=4096)(self._settle)

    def cells(self, x_um: float, y_um: float, width_um: float, height_um: float) -> Placed:
        """The cells that may reach into the window."""
        columns = range(math.floor((x_um - REACH_UM) / TILE_UM), math.floor((x_um + width_um + REACH_UM) / TILE_UM) + 1)
        rows = range(math.floor((y_um - REACH_UM) / TILE_UM), math.floor((y_um + height_um + REACH_UM) / TILE_UM) + 1)
        found = np.concatenate([self._settled(column, row) for row in rows for column in columns])
        across = np.abs(found["x_um"] - (x_um + width_um / 2)) <= width_um / 2 + REACH_UM
        down = np.abs(found["y_um"] - (y_um + height_um / 2)) <= height_um / 2 + REACH_UM
        near: Placed = found[across & down]
        return near

    def _throw(self, column: int, row: int) -> Placed:
        """The tile's cells before they settle."""
        rng = np.random.default_rng((self.seed, max(column, 0), max(row, 0), 4))
        parts = (self._nucleated(rng), self._red(rng, column, row), self._platelets(rng))
        individuals, x, y, reach, ease = (np.concatenate(one) for one in zip(*parts, strict=True))
        cells = np.zeros(len(x), PLACED)
        cells["individual"], cells["ease"] = individuals, ease
        cells["firm"] = 1.04 * self._radii[individuals]
        cells["reach"] = reach * self._radii[individuals]
        cells["x_um"], cells["y_um"] = x + column * TILE_UM, y + row * TILE_UM
        cells["cell_id"] = (row * 4096 + column) * 1024 + np.arange(len(cells))
        cells["turn"] = rng.integers(0, 8, len(cells))
        return cells

    def _nucleated(self, rng: np.random.Generator) -> Thrown:
        """At most one in each quarter of the tile and away from its border, so that they do not pile up."""
        x, y = _scatter(rng, 2, 8.0, NUCLEATED_DENSITY)
        labels = np.searchsorted(self._mix, rng.random(len(x)), side="right")
        individuals = self._nucleated_ones[labels, rng.integers(0, self._nucleated_ones.shape[1], len(x))]
        return individuals, x, y, np.full(len(x), 1.0), np.full(len(x), 0.0)

    def _red(self, rng: np.random.Generator, column: int, row: int) -> Thrown:
        """Thicker and thinner parts of the smear change over some hundred um."""
        thickness = 1.0 + 0.10 * math.sin(0.7 * column + self.seed) * math.cos(0.9 * row + 0.5 * column)
        x, y = _scatter(rng, 8, 4.0, RED_DENSITY * thickness)
        individuals = self._red_ones[rng.integers(0, len(self._red_ones), len(x))]
        reach = np.where(rng.random(len(x)) < OVERLAPPING, rng.uniform(*OVERLAP_REACH, len(x)), 1.02)
        return individuals, x, y, reach, np.full(len(x), 1.0)

    def _platelets(self, rng: np.random.Generator) -> Thrown:
        count = int(rng.poisson(PLATELET_DENSITY * TILE_UM**2 / 1000.0))
        x, y = rng.uniform(0.0, TILE_UM, (2, count))
        individuals = self._platelet_ones[rng.integers(0, len(self._platelet_ones), count)]
        reach = np.where(rng.random(count) < PLATELET_ON_CELL, -9.0, 1.15)
        return individuals, x, y, reach, np.full(count, 4.0)

    def _settle(self, column: int, row: int) -> Placed:
        around = [self._thrown(column + dx, row + dy) for dy in (0, -1, 1) for dx in (0, -1, 1)]
        own = len(around[0])
        cells = np.concatenate(around)
        middle = (np.array([column, row]) + 0.5) * TILE_UM
        places = np.stack([cells["x_um"], cells["y_um"]], axis=1) - middle
        near = np.abs(places).max(axis=1) <= TILE_UM / 2 + RIM_UM
        moved = _push_apart(places[near], cells["reach"][near], cells["firm"][near], cells["ease"][near])[:own]
        settled = cells[:own].copy()
        settled["x_um"], settled["y_um"] = moved[:, 0] + middle[0], moved[:, 1] + middle[1]
        return settled


def _where(labels: list[str], label: str) -> NDArray[np.int64]:
    return np.flatnonzero(np.array(labels) == label)


def _scatter(
    rng: np.random.Generator, side: int, jitter_um: float, density: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (x, y) of a jittered side x side grid over a tile, thinned to `density` per 1000 um2."""
    pitch = TILE_UM / side
    here = np.flatnonzero(rng.random(side * side) < density * pitch * pitch / 1000.0)
    x, y = rng.uniform(-jitter_um, jitter_um, (2, len(here)))
    return x + (here % side + 0.5) * pitch, y + (here // side + 0.5) * pitch


def _push_apart(
    places: NDArray[np.float64], reach: NDArray[np.float64], firm: NDArray[np.float64], ease: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Move points (N, 2) apart that are nearer than the sum of their reaches, each by its share of ease.

    Nothing lies under a nucleated cell (ease 0): from those the firm distance is kept. Only pairs that start near enough to
    meet are followed.
    """
    x, y = places.T.copy()
    apart = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2
    one, other = np.nonzero(np.triu(apart < np.maximum(firm[:, None] + firm + MEETING_UM, 0.0) ** 2, 1))
    firmly = (ease[one] == 0.0) | (ease[other] == 0.0)
    wanted = np.where(firmly, firm[one] + firm[other], reach[one] + reach[other])
    share = ease[one] / np.maximum(ease[one] + ease[other], 1e-6)
    for _ in range(SETTLE_STEPS):
        dx, dy = x[one] - x[other], y[one] - y[other]
        distance = np.sqrt(dx * dx + dy * dy) + 1e-3
        push = np.maximum(wanted - distance, 0.0) / distance
        first, second = push * share, push * (share - 1.0)
        for axis, along in ((x, dx), (y, dy)):
            axis += np.bincount(one, first * along, len(x)) + np.bincount(other, second * along, len(x))
    return np.stack([x, y], axis=1)
