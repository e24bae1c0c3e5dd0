"""Every cell once: what a run has been shown of its slide, and which of a frame's cells lie where nothing was counted before.

Where frames lie on the slide, `edgecell.place` finds out. What was shown is an AreaState: passed in, returned, never kept here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import hypot
from typing import NamedTuple

import numpy as np

from edgecell.edge import LARGEST_RADIUS_UM
from edgecell.messages import Cell, Join, Kind, Place

NOTHING_NEW = "nothing new"
LEAST_NEW = 0.005
"""Of a frame that must be new for it to be counted; else it waits until the slide has moved on. With 0.02 a tremor of 0.5 um
leaves 1 % of the nucleated cells uncounted (drawn slide, seeds 1 and 2), with 0.005 0.3 %."""
MOST_COUNTED = 10_000
"""Counted frames that are remembered, the oldest go first: 90 mm2 of slide at 128 x 72 um and without overlap."""
MOST_SPOTTED = 64
"""Of these, the latest, the cells near their border are remembered too, some 14 each: 0.4 KB."""
DOUBT_UM = 1.5
"""So near the border from which on a frame counts, what it found itself tells whether it counted a cell, not where a later one
finds it. The network finds a nucleated cell within 0.64 um of where it found it before in 99 of 100 cases, at most 0.8, a red
cell within 0.32 (drawn slide, seeds 1 and 2)."""
ONE_CELL_UM = 2.0
"""Two findings of one kind so near each other are one cell: in one frame that is true of less than 1 of 1000 red cells."""
TAKEN_ALONG = 8
"""Keys that a run goes on with in another process: those nearest to where it stopped."""

_GRID = 192  # places along each side of a frame at which it is asked what is new


class Key(NamedTuple):
    """A frame that others are registered against: its place, and its small image (uint8, row by row)."""

    place: Place
    image: bytes


class Spot(NamedTuple):
    """A cell that a frame counted: its centre in pixels of that frame."""

    kind: Kind
    x: float
    y: float


class Anchor(NamedTuple):
    """Where the stage stood, in micrometres, when a frame lay at a place."""

    place: Place
    slide_um: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaState:
    """What a run has been shown of its slide. Lengths are pixels of the frame.

    size: (height, width) of its frames. last: the latest frame that was found; sharp: the latest of these that was sharp.
    counted: where frames lie whose cells count.
    spots: of the last of these, as many as there are, the cells that count and lie near the border.
    pixel_um: micrometres per pixel of the latest of these; told: by settings or optics, not measured on cells, which is not
    exact enough to turn a stage's micrometres into pixels. anchor: of the latest registered frame, if the stage told its place.
    regions: how many were begun. joined: what the latest frame said of them.
    """

    size: tuple[int, int] = (0, 0)
    last: Key | None = None
    sharp: Key | None = None
    keys: tuple[Key, ...] = ()
    counted: tuple[Place, ...] = ()
    spots: tuple[tuple[Spot, ...], ...] = ()
    pixel_um: float | None = None
    told: bool = False
    anchor: Anchor | None = None
    regions: int = 0
    joined: Join | None = None


def new_share(place: Place, state: AreaState) -> float:
    """Share of a frame, as far inside as its largest cells count, that no frame before it counted."""
    height, width = state.size
    inset = 0.0 if state.pixel_um is None else max(LARGEST_RADIUS_UM.values()) / state.pixel_um
    steps = (np.arange(_GRID) + 0.5) / _GRID
    x, y = (inset + steps * (length - 2 * inset) for length in (width, height))
    new = np.ones((_GRID, _GRID), bool)
    for other, _ in _near(place, state):
        right, down = other.x - place.x, other.y - place.y
        across = (x >= right + inset) & (x <= right + width - inset)
        along = (y >= down + inset) & (y <= down + height - inset)
        new &= ~np.outer(along, across)
    return float(new.mean())


def once(
    cells: Iterable[Cell],
    place: Place,
    state: AreaState,
    pixel_um: float | None,
    stage_um: tuple[float, float] | None = None,
) -> Iterator[Cell]:
    """The cells with their places on the slide; `duplicate` is who lies where an earlier frame counted cells of the kind.

    stage_um: where the stage says that the frame's corner is; else places are told from its region's first frame.
    """
    before = list(_near(place, state))
    corner_um = stage_um or (None if pixel_um is None else (place.x * pixel_um, place.y * pixel_um))
    for cell in cells:
        x, y = cell.centre_px[0] + place.x, cell.centre_px[1] + place.y
        seen = cell.excluded is None and any(
            _counted_by(spots, cell, x - other.x, y - other.y, state.size, pixel_um) for other, spots in before
        )
        slide_um = None
        if pixel_um is not None and corner_um is not None:
            slide_um = corner_um[0] + cell.centre_px[0] * pixel_um, corner_um[1] + cell.centre_px[1] * pixel_um
        yield replace(cell, slide_um=slide_um, excluded="duplicate" if seen else cell.excluded)


def counted(cells: Iterable[Cell], place: Place, state: AreaState, pixel_um: float | None, *, told: bool = False) -> AreaState:
    """The state once those of a frame's cells count that are not excluded. told: the scale, not measured on cells."""
    least = 0.0 if pixel_um is None else 2 * DOUBT_UM / pixel_um  # one that is found further out later has to be there
    spots = tuple(
        Spot(cell.kind, *(round(at, 1) for at in cell.centre_px))
        for cell in cells
        if cell.excluded is None and _inside(cell, *cell.centre_px, state.size, pixel_um) <= least
    )
    return replace(
        state,
        counted=(*state.counted, place)[-MOST_COUNTED:],
        spots=(*state.spots, spots)[-MOST_SPOTTED:],
        pixel_um=pixel_um,
        told=told,
    )


def light(state: AreaState) -> AreaState:
    """The state with so few images that it can be written down every second."""
    last = state.last
    if last is None:
        return state
    away = [_away(last.place, key.place) for key in state.keys]
    chosen = sorted(sorted(range(len(away)), key=away.__getitem__)[:TAKEN_ALONG])
    return replace(state, keys=tuple(state.keys[at] for at in chosen))


def _away(one: Place, other: Place) -> tuple[bool, float]:
    return one.region != other.region, abs(one.x - other.x) + abs(one.y - other.y)


def _counted_by(
    spots: tuple[Spot, ...] | None, cell: Cell, x: float, y: float, size: tuple[int, int], pixel_um: float | None
) -> bool:
    """Whether a frame counted a cell that a later one finds at (x, y) of it. spots: None where they are forgotten."""
    inside = _inside(cell, x, y, size, pixel_um)
    if spots is None or pixel_um is None or abs(inside) > DOUBT_UM / pixel_um:
        return inside >= 0
    return any(spot.kind == cell.kind and hypot(spot.x - x, spot.y - y) * pixel_um <= ONE_CELL_UM for spot in spots)


def _inside(cell: Cell, x: float, y: float, size: tuple[int, int], pixel_um: float | None) -> float:
    """How far a centre at (x, y) lies inside the border from which on cells count, as edge.excluded says; < 0: outside."""
    height, width = size
    radius_um = LARGEST_RADIUS_UM.get(cell.kind)
    if pixel_um is None or radius_um is None:
        x0, y0, x1, y1 = cell.box_px
        across, along = (x1 - x0) / 2, (y1 - y0) / 2
    else:
        across = along = radius_um / pixel_um
    return min(x - across, width - across - x, y - along, height - along - y)


def _near(place: Place, state: AreaState) -> Iterator[tuple[Place, tuple[Spot, ...] | None]]:
    """Counted frames that share something with a frame at that place, each with its spots."""
    height, width = state.size
    forgotten = len(state.counted) - len(state.spots)
    for at, other in enumerate(state.counted):
        if other.region == place.region and abs(other.x - place.x) < width and abs(other.y - place.y) < height:
            yield other, None if at < forgotten else state.spots[at - forgotten]
