"""Does the microscope stay as it was set up? Lamp, white point, focus, and dirt that stays in place while the slide moves.

Each frame is looked at on a small image, as the camera gives it: the colour of its clear background, and whether it shows
another field than the one before; its focus is what the gate has measured. What is typical of the latest fields is compared
with the reference: that of the optics file where there is one, else the run's own first fields, with as much room as they
differ among themselves. Dirt needs no reference: with new fields every place is clear now and then, but for one that something
covers.

What the run has shown is a DriftState: passed in, returned, never kept here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import exp, inf, log
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell import dirt
from edgecell.dirt import Dirt
from edgecell.messages import Verdict
from edgecell.optics.file import Optics
from edgecell.optics.scale import RED_CELL_UM

LAMP, WHITE, FOCUS, DIRT = "lamp", "white point", "focus", "dirt"
FIELDS = 20
"""Fields that a reference is learnt from, and latest ones that are compared with it: what changed is said after 11 of them."""
STILL = 10
"""Of frames of one field every tenth is taken: a slide that rests must not make the reference, but its lamp may fade too."""
LEAST = {LAMP: 0.10, WHITE: 0.05, FOCUS: 0.40}
"""Least change that is said, of the natural logarithm of the background's level, of red or blue beside green, of the focus."""
SPREADS = 2.0
"""The same in robust standard deviations of the reference's own fields, where that is more. By chance alone two medians of 20
fields each differ by 0.4 of them."""
DOUBTFUL = {LAMP: (-1.3, 0.18), WHITE: (-0.36, 0.36), FOCUS: (-inf, inf)}
"""The same at which counts are not to be relied on, down and up. Of 60 white and 541 red cells (72 fields of three microscopes,
TXL-PBC train) a lamp of 0.25 to 1.1 times its light and a channel of 0.7 of its own renamed none and lost 3 at most, at 1.25 a
sixth of the white cells was undecided, at 1.5, where the background is clipped, a quarter of the red ones was lost; with half
the blue a thirteenth. What is out of focus is not counted, as the gate sees to."""

_SIDE = 96  # px of the small image's longer side
_SAMPLES = 4  # pixels of the frame, each way, that a pixel of it is the mean of
_CLEAR = 0.9  # quantile of green above which a field is background
_SAME = 0.5  # correlation of what two frames show above which it is one field
_SURROUNDINGS = 3.0  # small px, sigma: about a cell

Small = NDArray[np.uint8]


class Glance(NamedTuple):
    """A frame's clear background in grey values, and its focus as the gate measures it, 0 where there was none to measure."""

    red: float
    green: float
    blue: float
    focus: float


class Norm(NamedTuple):
    """Middle and spread (a robust standard deviation) of the natural logarithm of something."""

    middle: float
    spread: float = 0.0


class Reference(NamedTuple):
    """How the microscope was set up: level of the background (green, grey values), red and blue beside it, and the focus.

    words: what messages call it.
    """

    level: Norm
    red: Norm
    blue: Norm
    focus: Norm | None
    words: str = "the run's first fields"


class Finding(NamedTuple):
    """Something that is no longer as it was set up. doubtful: so far off that counts are not to be relied on."""

    topic: str
    text: str
    doubtful: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftState:
    """What a run has shown of its microscope.

    reference: None until it is learnt from `first`, if it was not given. latest: what is compared with it.
    size: (width, height) of the small image. last: the green of the latest field. rested: frames that showed it again.
    clear: how bright each place was at most beside the background, over `fields` fields; clear_before: over the batch before
    them. dirt: what the last two whole batches said of it.
    """

    reference: Reference | None = None
    given: bool = False
    first: tuple[Glance, ...] = ()
    latest: tuple[Glance, ...] = ()
    size: tuple[int, int] = (0, 0)
    last: bytes = b""
    rested: int = 0
    clear: bytes = b""
    clear_before: bytes = b""
    fields: int = 0
    dirt: Dirt | None = None


def reference_of(optics: Optics) -> Reference | None:
    """The reference that an optics file gives; None where it does not say how bright clear background is."""
    if optics.exposure is not None:
        red, green, blue = optics.exposure.level
    elif optics.flat is not None:
        red, green, blue = (float(np.quantile(grid, _CLEAR)) for grid in (optics.flat.red, optics.flat.green, optics.flat.blue))
    elif optics.white is not None:
        red, green, blue = optics.white.level
    else:
        return None
    focus = None
    if optics.focus is not None:
        room = log(optics.focus.softest_um / optics.focus.sharpest_um)
        focus = Norm(log(RED_CELL_UM / optics.focus.sharpest_um), room / SPREADS)
    return Reference(Norm(log(green)), Norm(log(red / green)), Norm(log(blue / green)), focus, "the optics file")


def looked(image: NDArray[np.uint8], verdict: Verdict, state: DriftState) -> DriftState:
    """The state after one more frame, uint8 (H, W, 3) RGB, with what the gate says of it. It learns from accepted ones only."""
    picture = small(image)
    green = np.ascontiguousarray(picture[..., 1])
    size = green.shape[1], green.shape[0]
    if size != state.size:  # another camera, or another mode of it
        state = DriftState(reference=state.reference if state.given else None, given=state.given, size=size)
    same = bool(state.last) and _likeness(green, _picture(state.last, size)) > _SAME
    if same and state.rested + 1 < STILL:
        return replace(state, rested=state.rested + 1)
    glance = glanced(picture, verdict.focus)
    state = replace(state, latest=(*state.latest, glance)[-FIELDS:], rested=0)
    if same:
        return state
    if state.reference is None and verdict.accepted:
        state = _with_first(glance, state)
    return _with_field(green, glance.green, state)


def findings(state: DriftState) -> tuple[Finding, ...]:
    """All that is no longer as it was set up."""
    return (*_changes(state), *([Finding(DIRT, state.dirt.text, state.dirt.doubtful)] if state.dirt else []))


def _changes(state: DriftState) -> Iterator[Finding]:
    reference = state.reference
    if reference is None or len(state.latest) < FIELDS:
        return
    now = learnt(state.latest)
    if change := _beyond(LAMP, now.level, reference.level):
        yield Finding(LAMP, f"lamp: the background is {_percent(change)} than in {reference.words}", _doubtful(LAMP, change))
    red, blue = _beyond(WHITE, now.red, reference.red), _beyond(WHITE, now.blue, reference.blue)
    if red or blue:
        off = " and ".join(f"{name} {_percent(change)}" for name, change in (("red", red), ("blue", blue)) if change)
        text = f"white point: beside green the background's {off} than in {reference.words}"
        yield Finding(WHITE, text, _doubtful(WHITE, red) or _doubtful(WHITE, blue))
    if now.focus and reference.focus and (change := _beyond(FOCUS, now.focus, reference.focus)) < 0:
        yield Finding(FOCUS, f"focus: cell borders are {exp(-change):.1f} times as soft as in {reference.words}")


def light(state: DriftState) -> DriftState:
    """The state without its images, so that it can be written down every second: batches for dirt begin anew."""
    return replace(state, last=b"", rested=0, clear=b"", clear_before=b"", fields=0)


def learnt(glances: tuple[Glance, ...]) -> Reference:
    """What is typical of some frames. No focus where fewer than half of them had one."""
    logs = np.log(np.maximum(np.array(glances, np.float64), 1e-3))
    sharp = logs[[glance.focus > 0 for glance in glances], 3]
    level, red, blue = _norms(np.stack([logs[:, 1], logs[:, 0] - logs[:, 1], logs[:, 2] - logs[:, 1]], axis=1))
    focus = _norms(sharp[:, None])[0] if 2 * sharp.size >= len(glances) else None
    return Reference(level, red, blue, focus)


def _norms(values: NDArray[np.float64]) -> list[Norm]:
    """Of every column. The quartiles of a normal distribution are 1.349 standard deviations apart."""
    low, middle, high = np.percentile(values, [25, 50, 75], axis=0)
    return [Norm(float(each), float(spread)) for each, spread in zip(middle, (high - low) / 1.349, strict=True)]


def _beyond(topic: str, now: Norm, then: Norm) -> float:
    """How far the logarithm has moved, 0 where that is no more than may be."""
    change = now.middle - then.middle
    return change if abs(change) > max(LEAST[topic], SPREADS * then.spread) else 0.0


def _doubtful(topic: str, change: float) -> bool:
    low, high = DOUBTFUL[topic]
    return not low < change < high


def _percent(change: float) -> str:
    return f"{100 * abs(exp(change) - 1):.0f} % {'more' if change > 0 else 'less'}"


def _with_first(glance: Glance, state: DriftState) -> DriftState:
    """With one more of the fields that make the reference."""
    first = (*state.first, glance)
    return replace(state, first=first) if len(first) < FIELDS else replace(state, reference=learnt(first), first=())


def _with_field(green: Small, level: float, state: DriftState) -> DriftState:
    """With a frame of another field than the last one. level: its background's."""
    even = dirt.even(green, level)
    clear = np.maximum(even, _picture(state.clear, state.size)) if state.clear else even
    state = replace(state, last=green.tobytes(), clear=clear.tobytes(), fields=state.fields + 1)
    return state if state.fields < dirt.FIELDS else _with_batch(state)


def _with_batch(state: DriftState) -> DriftState:
    """With a whole batch of fields: what it says of dirt together with the one before."""
    spots = state.dirt
    if state.clear_before:
        spots = dirt.spots(_picture(state.clear, state.size), _picture(state.clear_before, state.size))
    return replace(state, clear=b"", clear_before=state.clear, fields=0, dirt=spots)


def glanced(picture: Small, focus: float) -> Glance:
    pixels = picture.reshape(-1, 3)
    green = pixels[:, 1]
    least = np.partition(green, int(_CLEAR * (green.size - 1)))[int(_CLEAR * (green.size - 1))]
    red, level, blue = (float(value) for value in pixels[green >= least].mean(axis=0))
    return Glance(red, level, blue, focus)


def small(image: NDArray[np.uint8]) -> Small:
    """The frame so small that its longer side is _SIDE px: uint8 (h, w, 3). Of its pixels some are read, to be quick."""
    height, width = image.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    for share in (_SAMPLES, _SAMPLES // 2, 1):
        how = cv2.INTER_NEAREST if share == _SAMPLES else cv2.INTER_AREA  # means of 2 x 2 pixels are the quickest
        image = cv2.resize(image, (share * size[0], share * size[1]), interpolation=how).astype(np.uint8, copy=False)
    return image


def _picture(content: bytes, size: tuple[int, int]) -> Small:
    return np.frombuffer(content, np.uint8).reshape(size[1], size[0])


def _likeness(one: Small, other: Small) -> float:
    """Correlation of what two small images show, without lamp and vignette."""
    a, b = (each - cv2.GaussianBlur(each, (0, 0), _SURROUNDINGS) for each in (one.astype(np.float32), other.astype(np.float32)))
    return float((a * b).sum() / max(1e-9, float(np.sqrt((a * a).sum() * (b * b).sum()))))
