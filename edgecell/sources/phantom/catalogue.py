"""The individuals of a slide: kind, class, outline. Layout, drawing and truth all read these, so that they agree."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell.messages import NUCLEATED, PLATELET, RED_BLOOD_CELL, Kind

POINTS: Final = 96

# Diameters in um (mean, sd, least, most): red cells 6.2-8.2 around 7.2, platelets 2-3, nucleated cells as they measure on
# air-dried smears (flattened, so larger than in suspension).
DIAMETERS_UM: Final = {
    "red_blood_cell": (7.2, 0.45, 6.2, 8.2),
    "platelet": (2.8, 0.4, 2.0, 3.8),
    "basophil": (12.8, 0.7, 11.5, 14.2),
    "eosinophil": (13.8, 0.7, 12.5, 15.2),
    "erythroblast": (9.2, 0.8, 7.8, 11.0),
    "immature_granulocyte": (14.8, 0.9, 13.2, 16.8),
    "lymphocyte": (9.8, 0.8, 8.4, 11.6),
    "monocyte": (15.8, 1.0, 14.0, 17.8),
    "neutrophil": (13.4, 0.8, 12.0, 15.0),
}
# How many different individuals are drawn of each. Every one appears in eight turns.
INDIVIDUALS: Final = {"red_blood_cell": 72, "platelet": 24}
INDIVIDUALS_NUCLEATED: Final = 16
# (elongation sd, low waves, spikes): how far the outline is from a circle.
_SHAPES: Final = {
    "red_blood_cell": (0.08, 0.013, 0.0),
    "platelet": (0.10, 0.04, 0.05),
    "basophil": (0.05, 0.012, 0.014),
    "monocyte": (0.07, 0.030, 0.006),
    "erythroblast": (0.06, 0.020, 0.006),
    "lymphocyte": (0.04, 0.012, 0.012),
}
_ROUND: Final = (0.05, 0.012, 0.004)
_CRENATED: Final = (0.04, 0.008, 0.020)
CRENATED: Final = 0.06  # share of the red cells that are echinocytes, as on most smears


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Individual:
    """One cell as it may be met several times on a slide.

    outline_um: float64 (POINTS, 2), (x, y) around the centroid. radius_um: of the circle of equal area. seed: for its inside.
    """

    label: str
    kind: Kind
    radius_um: float
    outline_um: NDArray[np.float64]
    seed: tuple[int, int]

    def turned_um(self, turn: int) -> NDArray[np.float64]:
        """The outline in one of the eight turns of a square (see `TURNS`)."""
        turned: NDArray[np.float64] = self.outline_um @ TURNS[turn].T
        return turned


# Turn t of a picture: mirrored left-right when t >= 4, then turned t % 4 quarter turns as numpy.rot90 does (y points down).
_QUARTER = np.array([[0.0, 1.0], [-1.0, 0.0]])
_MIRROR = np.array([[-1.0, 0.0], [0.0, 1.0]])
TURNS: Final = tuple(np.linalg.matrix_power(_QUARTER, turn % 4) @ (_MIRROR if turn >= 4 else np.eye(2)) for turn in range(8))


def catalogue(seed: int) -> tuple[Individual, ...]:
    """Every individual of the slide, grouped by label in the order of DIAMETERS_UM."""
    found: list[Individual] = []
    for label in DIAMETERS_UM:
        for _ in range(INDIVIDUALS.get(label, INDIVIDUALS_NUCLEATED)):
            found.append(_individual(label, (seed, len(found))))
    return tuple(found)


def _individual(label: str, seed: tuple[int, int]) -> Individual:
    rng = np.random.default_rng((*seed, 3))
    mean, sd, least, most = DIAMETERS_UM[label]
    radius_um = 0.5 * float(np.clip(rng.normal(mean, sd), least, most))
    kind = label if label in (RED_BLOOD_CELL, PLATELET) else NUCLEATED
    shape = _SHAPES.get(label, _ROUND)
    if label == RED_BLOOD_CELL and rng.random() < CRENATED:
        shape = _CRENATED
    outline = wavy_outline(rng, radius_um, *shape)
    return Individual(label=label, kind=kind, radius_um=radius_um, outline_um=outline, seed=seed)


def wavy_outline(
    rng: np.random.Generator, radius_um: float, stretch_sd: float, waves: float, spikes: float
) -> NDArray[np.float64]:
    """A closed outline of the area of a circle of radius_um: an ellipse with low waves (order 2-5) and spikes (9-33)."""
    angle = np.linspace(0.0, 2.0 * math.pi, POINTS, endpoint=False)
    radius = np.ones(POINTS)
    for orders, size in ((range(2, 6), 3.0 * waves), (range(9, 34, 3), 11.0 * spikes)):
        for order in orders:
            radius += rng.normal(0.0, size / order) * np.cos(order * angle + rng.uniform(0.0, 2.0 * math.pi))
    stretch = 1.0 + abs(float(rng.normal(0.0, stretch_sd)))
    flat = np.stack([radius * np.cos(angle) * stretch, radius * np.sin(angle) / stretch], axis=1)
    tilt = rng.uniform(0.0, math.pi)
    turned = flat @ np.array([[math.cos(tilt), math.sin(tilt)], [-math.sin(tilt), math.cos(tilt)]])
    area, centroid = _area_centroid(turned)
    outline: NDArray[np.float64] = (turned - centroid) * (radius_um * math.sqrt(math.pi / area))
    return outline


def _area_centroid(outline: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    x, y = outline.T
    x1, y1 = np.roll(outline, -1, axis=0).T
    cross = x * y1 - x1 * y
    area = 0.5 * float(cross.sum())
    return abs(area), np.array([((x + x1) * cross).sum(), ((y + y1) * cross).sum()]) / (6.0 * area)
