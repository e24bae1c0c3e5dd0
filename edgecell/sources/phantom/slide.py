"""The slide: which cell lies where. Laid out tile by tile, the same whichever tile is asked for first.

Every tile draws its own cells at random; then cells push each other apart, so that most touch or lie free and some overlap, as
on the monolayer of a smear. A tile is settled together with a rim of its neighbours.
"""

import math
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

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
OVERLAP_REACH: Final = 0.72  # of the radius: how near others may come to those
PLATELET_ON_CELL: Final = 0.12
SETTLE_STEPS: Final = 7

PLACED: Final = np.dtype(
    [("cell_id", "i8"), ("individual", "i4"), ("turn", "i4"), ("x_um", "f8"), ("y_um", "f8"), ("reach", "f4"), ("ease", "f4")]
)
Placed = NDArray[np.void]


class Slide:
    """One slide. `cells` answers with a structured array of dtype PLACED."""

    def __init__(self, options: Options) -> None:
        self.seed = options.seed
        self.individuals: tuple[Individual, ...] = catalogue(options.seed)
        self._by_label: dict[str, NDArray[np.int64]] = {
            label: np.array([i for i, one in enumerate(self.individuals) if one.label == label])
            for label in (*MIX, "red_blood_cell", "platelet")
        }
        self._radii = np.array([one.radius_um for one in self.individuals])
        self._thrown = lru_cache(maxsize=256)(self._throw)
        self._settled = lru_cache(maxsize=256)(self._settle)

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
        parts = [self._nucleated(rng), self._red(rng, column, row), self._platelets(rng)]
        cells = np.concatenate(parts)
        cells["x_um"] += column * TILE_UM
        cells["y_um"] += row * TILE_UM
        cells["cell_id"] = (row * 4096 + column) * 1024 + np.arange(len(cells))
        cells["turn"] = rng.integers(0, 8, len(cells))
        return cells

    def _nucleated(self, rng: np.random.Generator) -> Placed:
        """At most one in each quarter of the tile and away from its border, so that they do not pile up."""
        here, x, y = _scatter(rng, 2, 8.0, NUCLEATED_DENSITY)
        labels = rng.choice(list(MIX), size=4, p=np.array(list(MIX.values())) / sum(MIX.values()))
        individuals = np.array([rng.choice(self._by_label[label]) for label in labels])[here]
        return self._placed(individuals, x, y, np.ones(len(x)), 0.0)

    def _red(self, rng: np.random.Generator, column: int, row: int) -> Placed:
        """Thicker and thinner parts of the smear change over some hundred um."""
        thickness = 1.0 + 0.10 * math.sin(0.7 * column + self.seed) * math.cos(0.9 * row + 0.5 * column)
        here, x, y = _scatter(rng, 8, 4.0, RED_DENSITY * thickness)
        individuals = rng.choice(self._by_label["red_blood_cell"], size=64)[here]
        reach = np.where(rng.random(len(x)) < OVERLAPPING, OVERLAP_REACH, 1.02)
        return self._placed(individuals, x, y, reach, 1.0)

    def _platelets(self, rng: np.random.Generator) -> Placed:
        count = int(rng.poisson(PLATELET_DENSITY * TILE_UM**2 / 1000.0))
        x, y = rng.uniform(0.0, TILE_UM, (2, count))
        reach = np.where(rng.random(count) < PLATELET_ON_CELL, -9.0, 1.15)
        return self._placed(rng.choice(self._by_label["platelet"], size=count), x, y, reach, 4.0)

    def _placed(
        self,
        individuals: NDArray[np.int64],
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        reach: NDArray[np.float64],
        ease: float,
    ) -> Placed:
        cells = np.zeros(len(x), PLACED)
        cells["individual"], cells["x_um"], cells["y_um"] = individuals, x, y
        cells["reach"], cells["ease"] = reach * self._radii[individuals], ease
        return cells

    def _settle(self, column: int, row: int) -> Placed:
        around = [self._thrown(column + dx, row + dy) for dy in (0, -1, 1) for dx in (0, -1, 1)]
        own = len(around[0])
        cells = np.concatenate(around)
        middle = (np.array([column, row]) + 0.5) * TILE_UM
        places = (np.stack([cells["x_um"], cells["y_um"]], axis=1) - middle).astype(np.float32)
        near = np.abs(places).max(axis=1) <= TILE_UM / 2 + RIM_UM
        moved = _push_apart(places[near], cells["reach"][near], cells["ease"][near])[:own]
        settled = cells[:own].copy()
        settled["x_um"], settled["y_um"] = moved[:, 0] + middle[0], moved[:, 1] + middle[1]
        return settled


def _scatter(
    rng: np.random.Generator, side: int, jitter_um: float, density: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Points of a jittered side x side grid over a tile, thinned to `density` per 1000 um2: (which stayed, x, y)."""
    pitch = TILE_UM / side
    here = rng.random(side * side) < density * pitch * pitch / 1000.0
    grid = (np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2) + 0.5) * pitch
    x, y = (grid + rng.uniform(-jitter_um, jitter_um, grid.shape))[here].T
    return here, x, y


def _push_apart(places: NDArray[np.float32], reach: NDArray[np.float32], ease: NDArray[np.float32]) -> NDArray[np.float32]:
    """Move points (N, 2) apart that are nearer than the sum of their reaches, each by its share of ease."""
    wanted = reach[:, None] + reach[None, :]
    np.fill_diagonal(wanted, 0.0)
    share = ease[:, None] / np.maximum(ease[:, None] + ease[None, :], 1e-6)
    places = places.copy()
    for _ in range(SETTLE_STEPS):
        x, y = places[:, 0], places[:, 1]
        apart_x, apart_y = x[:, None] - x[None, :], y[:, None] - y[None, :]
        distance = np.sqrt(apart_x * apart_x + apart_y * apart_y) + np.float32(1e-3)
        push = np.maximum(wanted - distance, 0.0) * share / distance
        places[:, 0] += (push * apart_x).sum(axis=1)
        places[:, 1] += (push * apart_y).sum(axis=1)
    return places
