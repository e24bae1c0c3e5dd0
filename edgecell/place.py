"""Where a frame lies on the slide: as the motor stage tells it, else beside the frames that were seen before.

A frame is registered against the one before it and against kept ones near by (keys), so that a slide may be pushed by hand,
stopped and pushed back. Where nothing fits, a new region begins, with coordinates of its own; when its frames meet an older
region again the two become one.
"""

from collections.abc import Iterable
from dataclasses import replace

from edgecell.area import Anchor, AreaState, Key
from edgecell.messages import Frame, Join, Place
from edgecell.register import SIDE, may_share, shift, small, small_size

MOST_KEYS = 64
"""Kept small images, 14 KB each; the oldest go first. Where there is none, places follow from frame to frame."""
NEAR, FAR = 0.35, 0.5
"""Share of a frame that a key must show to be registered against, and under which the frame becomes a key itself."""


def located(frame: Frame, state: AreaState, *, sharp: bool) -> tuple[Place | None, AreaState]:
    """Where a frame lies. One that is found nowhere begins a new region.

    sharp: one that is not serves to follow the slide only: it becomes no key, and None is given where it is found nowhere.
    """
    size = frame.image.shape[0], frame.image.shape[1]
    state = replace(state, joined=None) if state.size == size else AreaState(size=size, regions=state.regions)
    place = _by_stage(frame, state)
    if place is not None:
        return place, state
    place, state = _registered(small(frame.image).tobytes(), state, sharp=sharp)
    if place is not None and frame.slide_um is not None:
        state = replace(state, anchor=Anchor(place, frame.slide_um))
    return place, state


def _by_stage(frame: Frame, state: AreaState) -> Place | None:
    """The place as the stage tells it; None where it does not, or where nobody told the scale."""
    pixel_um = frame.pixel_um or (state.pixel_um if state.told else None)
    if frame.slide_um is None or state.anchor is None or pixel_um is None:
        return None
    (region, *corner), there = state.anchor
    x, y = (at + (now - then) / pixel_um for at, now, then in zip(corner, frame.slide_um, there, strict=True))
    return Place(region, x, y)


def _registered(picture: bytes, state: AreaState, *, sharp: bool) -> tuple[Place | None, AreaState]:
    followed = _followed(picture, state)
    place = followed or _found(picture, state, state.keys)
    if not sharp:
        return place, state if place is None else replace(state, last=Key(place, picture))
    if followed is None:
        state = replace(state, keys=_with_end(state))
    begun = place is None
    if place is None:
        place = Place(state.regions, 0.0, 0.0)
        state = replace(state, regions=state.regions + 1)
    if max((_shared(place, key.place, state.size) for key in state.keys), default=0.0) < FAR:
        place, state = (place, state) if begun else _rejoined(place, picture, state)
        state = replace(state, keys=(*state.keys, Key(place, picture))[-MOST_KEYS:])
    key = Key(place, picture)
    return place, replace(state, last=key, sharp=key)


def _with_end(state: AreaState) -> tuple[Key, ...]:
    """The keys, and the last sharp frame of a way that ends: it may lie half a frame further out than any key."""
    if state.sharp is None or state.sharp in state.keys:
        return state.keys
    return (*state.keys, state.sharp)[-MOST_KEYS:]


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
    counted = tuple(moved(each) for each in state.counted)
    anchor = state.anchor and state.anchor._replace(place=moved(state.anchor.place))
    return moved(place), replace(state, keys=keys, counted=counted, anchor=anchor, joined=Join(young, old, x, y))


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
