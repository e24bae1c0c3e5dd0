"""Every cell once: where a frame lies on the slide, and which of its cells lie where nothing was counted before.

Each frame is registered against the one before it and against kept ones near by (`keys`), so that a slide may be pushed by
hand, stopped and pushed back. Where nothing fits, a new region begins, with coordinates of its own; when its frames meet an
older region again the two become one. What a run has been shown is an AreaState: passed in, returned, never kept here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import hypot
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgecell.edge import LARGEST_RADIUS_UM
from edgecell.messages import Cell, Kind, Place
from edgecell.register import SIDE, may_share, shift, small, small_size

NOTHING_NEW = "nothing new"
LEAST_NEW = 0.005
"""Of a frame that must be new for it to be counted; else it waits until the slide has moved on. With 0.02 a tremor of 0.5 um
leaves 1 % of the nucleated cells uncounted (drawn slide, seeds 1 and 2), with 0.005 0.3 %."""
MOST_KEYS = 64
"""Kept small images, 14 KB each; the oldest go first. Where there is none, places follow from frame to frame."""
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
NEAR, FAR = 0.35, 0.5
"""Share of a frame that a key must show to be registered against, and under which the frame becomes a key itself."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaState:
    """What a run has been shown of its slide. Lengths are pixels of the frame.

    size: (height, width) of its frames. last: the latest frame that was found. counted: where frames lie whose cells count.
    spots: of the last of these, as many as there are, the cells that count and lie near the border.
    pixel_um: micrometres per pixel of the latest of these. regions: how many were begun.
    """

    size: tuple[int, int] = (0, 0)
    last: Key | None = None
    keys: tuple[Key, ...] = ()
    counted: tuple[Place, ...] = ()
    spots: tuple[tuple[Spot, ...], ...] = ()
    pixel_um: float | None = None
    regions: int = 0


def located(image: NDArray[np.uint8], state: AreaState, *, sharp: bool) -> tuple[Place | None, AreaState]:
    """Where a frame, uint8 (H, W, 3), lies. A frame that is found nowhere begins a new region.

    sharp: one that is not serves to follow the slide only: it becomes no key, and None is given where it is found nowhere.
    """
    size = image.shape[0], image.shape[1]
    state = state if state.size == size else AreaState(size=size, regions=state.regions)
    picture = small(image).tobytes()
    place = _followed(picture, state) or _found(picture, state, state.keys)
    if not sharp:
        return place, state if place is None else replace(state, last=Key(place, picture))
    begun = place is None
    if place is None:
        place = Place(state.regions, 0.0, 0.0)
        state = replace(state, regions=state.regions + 1)
    if max((_shared(place, key.place, size) for key in state.keys), default=0.0) < FAR:
        place, state = (place, state) if begun else _rejoined(place, picture, state)
        state = replace(state, keys=(*state.keys, Key(place, picture))[-MOST_KEYS:])
    return place, replace(state, last=Key(place, picture))


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


def once(cells: Iterable[Cell], place: Place, state: AreaState, pixel_um: float | None) -> Iterator[Cell]:
    """The cells with their places on the slide; `duplicate` is who lies where an earlier frame counted cells of the kind."""
    before = list(_near(place, state))
    for cell in cells:
        x, y = cell.centre_px[0] + place.x, cell.centre_px[1] + place.y
        seen = cell.excluded is None and any(
            _counted_by(spots, cell, x - other.x, y - other.y, state.size, pixel_um) for other, spots in before
        )
        slide_um = None if pixel_um is None else (x * pixel_um, y * pixel_um)
        yield replace(cell, slide_um=slide_um, excluded="duplicate" if seen else cell.excluded)


def counted(cells: Iterable[Cell], place: Place, state: AreaState, pixel_um: float | None) -> AreaState:
    """The state once those of a frame's cells count that are not excluded."""
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


def _followed(picture: bytes, state: AreaState) -> Place | None:
    """The place from the frame before, made exact by the key that shows most of it: errors of single steps do not add up."""
    place = None if state.last is None else _beside(state.last, picture, state)
    if place is None:
        return None
    best = max(state.keys, key=lambda key: _shared(place, key.place, state.size), default=None)
    if best is None or best == state.last or _shared(place, best.place, state.size) < NEAR:
        return place
    return _beside(best, picture, state, near=place) or _beside(best, picture, state) or place


def _found(picture: bytes, state: AreaState, keys: Iterable[Key]) -> Place | None:
    """The place from those keys of which a coarse look finds one alike, wherever it may be."""
    size = small_size(state.size)
    like = [(may_share(key.image, picture, size), key) for key in keys]
    for likeness, key in sorted(like, key=lambda pair: -pair[0]):
        if likeness and (place := _beside(key, picture, state)):
            return place
    return None


def _rejoined(place: Place, picture: bytes, state: AreaState) -> tuple[Place, AreaState]:
    """If the frame shows a place of another region, both in one: in the coordinates of the older one."""
    other = _found(picture, state, [key for key in state.keys if key.place.region != place.region])
    if other is None:
        return place, state
    old, young, x, y = other.region, place.region, other.x - place.x, other.y - place.y
    if old > young:
        old, young, x, y = young, old, -x, -y

    def moved(each: Place) -> Place:
        return Place(old, each.x + x, each.y + y) if each.region == young else each

    keys = tuple(Key(moved(key.place), key.image) for key in state.keys)
    return moved(place), replace(state, keys=keys, counted=tuple(moved(each) for each in state.counted))


def _beside(key: Key, picture: bytes, state: AreaState, near: Place | None = None) -> Place | None:
    """The place by one key. near: where it will be within a few pixels of the small image."""
    scale = max(state.size) / SIDE
    expected = None if near is None else ((near.x - key.place.x) / scale, (near.y - key.place.y) / scale)
    found = shift(key.image, picture, small_size(state.size), expected)
    return found and Place(key.place.region, key.place.x + found.x * scale, key.place.y + found.y * scale)


def _shared(one: Place, other: Place, size: tuple[int, int]) -> float:
    """Share of a frame that both places show."""
    if one.region != other.region:
        return 0.0
    height, width = size
    return max(0.0, 1 - abs(one.x - other.x) / width) * max(0.0, 1 - abs(one.y - other.y) / height)
