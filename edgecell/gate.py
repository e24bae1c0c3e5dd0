"""The gate: is a frame worth looking at? It refuses what nobody could count: dark, overexposed, empty or blurred.

Exposure, saturation and emptiness have fixed limits. Focus is measured as the blur of the steepest borders in micrometres. That
is comparable between microscopes, so a limit holds before anything is known of the run; the run's own sharp frames then tighten
it. What the run has taught is a GateState: passed in, returned, never kept here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil, log2
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.area import AreaState
from edgecell.drift import DriftState
from edgecell.halves import Halves
from edgecell.messages import Frame, Verdict
from edgecell.optics.scale import RED_CELL_UM

DARK, OVEREXPOSED, EMPTY, BLURRED = "dark", "overexposed", "empty", "blurred"

WINDOW = 100
"""Accepted frames of one image size whose blur is remembered."""
LEAST_FRAMES = 10
"""Fewer teach nothing."""
SCALES = 25
"""Scales that are remembered: as many as RESTART, so that another objective is believed as soon."""
TOLERANCE = 2.2
"""A frame may be this many times as soft as the run's median. Of 921 fields of four microscopes (TXL-PBC, train) none is more
than 2.0 times as soft as the median of its microscope."""
SHARPEST_UM = 0.35
"""No run demands less blur than this: a lens of aperture 0.5 leaves 0.2 um, and cells are countable well above it."""
RESTART = 25
"""Blurred frames in a row after which what was learnt is forgotten: the objective may have been changed. Were they only
out of focus, the limits that hold for an unknown run go on refusing them."""
SIZES = 8
"""Image sizes that are remembered; each is taken for one microscope."""

_CLIPPED = 254  # grey value that counts as clipped: JPEG turns a 255 into a 254 now and then
_ROWS = 8  # every 8th row is enough for level and saturation
_STRUCTURE_SIDE = 256  # px, longer side that structure is looked for at: a platelet is still 2-4 px
_SURROUNDINGS = 6.0  # px of those, sigma: about a cell; wider would take vignetting for structure
_LAMP_SIDE = 24  # px, both sides, at which a lamp is told from blurred matter: blocks of a cell or so
_RULER_SIDE = 512  # px, longer side at which matter is measured when the scale is unknown
_MATTER_UM = 3.0  # twice area over border length of stained matter in sharp fields: 2.4 to 3.5 um, a red cell with its pallor
_BORDER_PX_UM = 0.2  # um per pixel at which borders are measured, and sigma of the smoothing against noise
_BORDER_SIDE = 512  # px of those, longest side of the middle part that is measured
_REACH_UM = 1.5  # to each side of a border: both plateaus of a sharp one, and never the next cell but one
_CONTRAST = 10.0  # grey values between both sides of a border; less is noise
_STEEPEST, _SHARPEST = 0.93, 0.1  # quantiles: of the gradients near borders, then of the blur of what is steeper
_SAMPLES = 40_000  # pixels that the quantiles are taken from
_FEW = 16  # every 16th of them tells about where one lies


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a frame must keep to. Set wide: a frame refused wrongly is cells lost, one let through is judged cell by cell.

    mean_level: least mean of all channels, 0-1. Below 0.08 the lamp is off, the shutter closed or the lens covered; 1168 real
    fields (TXL-PBC) lie at 0.33 to 0.90.
    saturated_fraction: most pixels clipped in all three channels, 0-1. Many microscopes are set up with the clear background at
    255, which harms nothing, so only a frame that is almost wholly clipped is refused.
    structure: least difference of anything in the frame to its surroundings, in grey values of 255. The same 1168 fields reach
    at least 36; an empty field with a third of vignetting, noise of 4 grey values and JPEG stays below 6.
    blur_um: most blur (see `blur_um`) where the scale is known, in micrometres.
    unscaled_blur_um: the same where it is not and stained matter has to serve as the ruler. So measured, one of 460
    sharp fields (every other one of TXL-PBC, train) exceeds 0.4 um; all do when blurred by a Gaussian of 2 um, 98 % by 0.85 um.
    """

    mean_level: float = 0.08
    saturated_fraction: float = 0.98
    structure: float = 10.0
    blur_um: float = 0.5
    unscaled_blur_um: float = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What frames of one size have taught.

    scales_um: um per pixel as the latest accepted frames had them, oldest first. blurs_um: of the latest accepted frames of
    known scale, oldest first. refused: frames in a row that were blurred.
    """

    scales_um: tuple[float, ...] = ()
    blurs_um: tuple[float, ...] = ()
    refused: int = 0

    @property
    def pixel_um(self) -> float | None:
        """Their median: one frame whose dust was taken for red cells must not have the next ones refused."""
        return float(np.median(self.scales_um)) if self.scales_um else None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateState:
    """What a run has taught the gate so far, by image size (height, width), latest last.

    area: what it was shown of its slide, None where a cell counts in every frame that shows it.
    drift: what it was shown of its microscope, None where nobody wants to know.
    """

    learnt: Mapping[tuple[int, int], Learnt] = field(default_factory=dict)
    area: AreaState | None = None
    drift: DriftState | None = None


class Blur(NamedTuple):
    """um: sigma of the steepest borders. scaled: whether the scale was known, or matter had to serve as the ruler."""

    um: float
    scaled: bool


def judge(frame: Frame, limits: Limits, state: GateState) -> tuple[Verdict, GateState]:
    """Measure one frame, say whether it goes on, and what it teaches.

    reason: "" if accepted, else DARK, OVEREXPOSED, EMPTY or BLURRED. focus: diameter of a red cell over the blur of the
    steepest borders, 0 where there are none or the frame was refused before.
    """
    level, saturated = _exposure(frame.image)
    reason = ""
    if level < limits.mean_level:
        reason = DARK
    elif saturated > limits.saturated_fraction:
        reason = OVEREXPOSED
    elif not _structured(frame.halves, limits.structure):
        small = _shrunk(frame.halves, _RULER_SIDE)
        reason = EMPTY if unevenness(small) < limits.structure else BLURRED
    if reason:
        return Verdict(accepted=False, reason=reason, focus=0.0, mean_level=level, saturated_fraction=saturated), state
    learnt = _known(frame, state)
    blur = _blur(frame.halves, known_um(frame, state))
    sharp = blur.um <= _limit(limits, learnt, scaled=blur.scaled)
    verdict = Verdict(
        accepted=sharp,
        reason="" if sharp else BLURRED,
        focus=RED_CELL_UM / blur.um,
        mean_level=level,
        saturated_fraction=saturated,
    )
    return verdict, _remembered(state, frame, _taught(learnt, blur, sharp=sharp))


def limits_of(softest_um: float | None) -> Limits:
    """The limits of a microscope whose sharp frames are known to be no softer than that, in micrometres; they hold from its
    first frame on. They may be stricter than the usual ones, never wider."""
    usual = Limits()
    return usual if softest_um is None else replace(usual, blur_um=min(usual.blur_um, max(softest_um, SHARPEST_UM)))


def known_um(frame: Frame, state: GateState) -> float | None:
    """Micrometres per pixel of the frame as it says itself or the run has taught; None where `judge` needs a ruler for it."""
    return frame.pixel_um or _known(frame, state).pixel_um


def told(state: GateState, frame: Frame, pixel_um: float | None) -> GateState:
    """The state with the scale that was measured on an accepted frame (None: it could not be)."""
    if pixel_um is None:
        return state
    learnt = _known(frame, state)
    return _remembered(state, frame, replace(learnt, scales_um=(*learnt.scales_um, pixel_um)[-SCALES:]))


def blur_um(green: NDArray[np.uint8], pixel_um: float) -> float:
    """Blur of the steepest borders of one channel, uint8 (H, W): the sigma of a Gaussian, in micrometres; inf without borders.

    A step of height h blurred by sigma is at most h / (sigma * sqrt(2 pi)) steep. So sigma follows at every pixel from the
    gradient and the height between the lowest and the highest value within 1.5 um; stain and lamp cancel. Of the steepest
    pixels near borders the sharpest tenth counts, since cells lie at different heights and some borders have a neighbour close
    by. Smoothing against noise is subtracted again. Beyond 1 um it saturates: the plateaus lie further away. Green, since
    haemoglobin, eosin and azure absorb there.

    Sharp fields of four microscopes (TXL-PBC, train, n = 921) have 0.09 to 0.45 um, 99 % of them at most 0.41; blurred by a
    Gaussian of 2 um they have 1.0 and more, by a disc 2 um across 0.52 and more.
    """
    return _steepest_um(*_at_border_scale(Halves(green), pixel_um))


def _steepest_um(small: NDArray[np.uint8], um: float) -> float:
    """`blur_um` of one channel at about the scale at which borders are measured, um micrometres per pixel."""
    sigma_px = max(0.7, _BORDER_PX_UM / um)
    smooth = cv2.GaussianBlur(small.astype(np.float32), (0, 0), sigma_px)
    gradient = cv2.magnitude(*(cv2.Sobel(smooth, cv2.CV_32F, 1 - axis, axis, scale=1 / 8) for axis in (0, 1)))
    grey = smooth.astype(np.uint8)
    side = 2 * max(2, round(_REACH_UM / um)) + 1
    around = np.ones((side, side), np.uint8)
    step = max(1, round(np.sqrt(grey.size / _SAMPLES)))
    height = cv2.subtract(cv2.dilate(grey, around), cv2.erode(grey, around))[::step, ::step].ravel()
    steepness = gradient[::step, ::step].astype(np.float32, copy=False).ravel()
    near = (height >= _CONTRAST) & (steepness > 0)
    if not near.any():
        return float("inf")
    steepest = _steepest(steepness, near)
    widths_px = height[steepest] / steepness[steepest] / np.sqrt(2 * np.pi)
    spread = _quantile(widths_px, _SHARPEST) ** 2 - sigma_px**2 - 1 / 3 - 1 / 12  # gradient over 2 px, area of a pixel
    return um * float(np.sqrt(max(spread, 0.01)))


def structure(green: NDArray[np.uint8]) -> float:
    """Largest difference of one channel, uint8 (H, W), to its surroundings, in grey values, after averaging noise away."""
    return _apart(_shrunk(Halves(green), _STRUCTURE_SIDE).astype(np.float32))


def _apart(small: NDArray[np.float32]) -> float:
    """`structure` of a small image."""
    surroundings = cv2.GaussianBlur(small, (0, 0), _SURROUNDINGS, borderType=cv2.BORDER_REPLICATE)
    return float(np.abs(small - surroundings).max())


def _structured(halves: Halves, least: float) -> bool:
    """Whether `structure` is at least that: mostly the darkest pixel and its surroundings say so, else it is measured."""
    small = _shrunk(halves, _STRUCTURE_SIDE).astype(np.float32)
    x, y = cv2.minMaxLoc(small)[2]
    reach = ceil(4 * _SURROUNDINGS)  # as far as OpenCV's filter of floats of that sigma reaches
    top, left = max(0, y - reach), max(0, x - reach)
    part = small[top : y + reach + 1, left : x + reach + 1]
    around = cv2.GaussianBlur(part, (0, 0), _SURROUNDINGS, borderType=cv2.BORDER_REPLICATE)[y - top, x - left]
    return bool(around - small[y, x] >= least) or _apart(small) >= least


def unevenness(green: NDArray[np.uint8]) -> float:
    """Largest difference of one channel, uint8 (H, W), to the fall-off of a lamp, in grey values: matter, however blurred."""
    small = cv2.resize(green, (_LAMP_SIDE, _LAMP_SIDE), interpolation=cv2.INTER_AREA).astype(np.float64).ravel()
    y, x = np.mgrid[-1 : 1 : _LAMP_SIDE * 1j, -1 : 1 : _LAMP_SIDE * 1j].reshape(2, -1)
    lamp = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    return float(np.abs(small - lamp @ np.linalg.lstsq(lamp, small, rcond=None)[0]).max())


def _quantile(values: NDArray[np.generic], share: float) -> float:
    """The value that `share` of them lie below; in a fifth of the time that numpy's takes."""
    place = int(share * (values.size - 1))
    return float(np.partition(values, place)[place])


def _steepest(steepness: NDArray[np.float32], near: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Indices of those near borders that are as steep as the quantile _STEEPEST of these, or steeper. steepness: (N,), at least
    one of them near.

    A few of them tell about where the quantile lies, so that only what is steeper is put in order.
    """
    few = steepness[::_FEW][near[::_FEW]]
    about = _quantile(few, _STEEPEST - 0.05) if few.size else 0.0
    upper = np.flatnonzero(near & (steepness >= about))
    number = int(np.count_nonzero(near))
    place = int(_STEEPEST * (number - 1)) - (number - upper.size)
    if place < 0:  # the few were unlike the others
        upper = np.flatnonzero(near)
        place = int(_STEEPEST * (number - 1))
    values = steepness[upper]
    found: NDArray[np.intp] = upper[values >= np.partition(values, place)[place]]
    return found


def _exposure(image: NDArray[np.uint8]) -> tuple[float, float]:
    """(mean level, saturated fraction), both 0-1."""
    rows = image[::_ROWS]
    red, green, blue = cv2.split(rows)
    _, clipped = cv2.threshold(cv2.min(cv2.min(red, green), blue), _CLIPPED - 1, 1, cv2.THRESH_BINARY)
    return float(np.mean(cv2.mean(rows)[:3])) / 255, cv2.countNonZero(clipped) / clipped.size


def _blur(halves: Halves, pixel_um: float | None) -> Blur:
    return Blur(_steepest_um(*_at_border_scale(halves, pixel_um or _guessed_um(halves))), pixel_um is not None)


def _guessed_um(halves: Halves) -> float:
    """um per pixel if stained matter were red cells: right within a factor of two in sharp fields, too small in blurred ones.

    Twice the area over the length of the border is a radius for discs, and little more for discs that touch. Where blur has run
    all of them together, a quarter of the frame is taken: it shows more than one cell.
    """
    shape = halves.halved(0).shape[:2]
    small = cv2.GaussianBlur(_shrunk(halves, _RULER_SIDE), (0, 0), 1.0)
    _, matter = cv2.threshold(small, 0, 1, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    crossings = cv2.countNonZero(cv2.absdiff(matter[:, 1:], matter[:, :-1])) + cv2.countNonZero(
        cv2.absdiff(matter[1:], matter[:-1])
    )
    border_px = np.pi / 4 * max(1, crossings)  # Cauchy and Crofton: a curve crosses a grid 4 / pi times a unit of its length
    radius_px = 2 * cv2.countNonZero(matter) / border_px * max(shape) / max(small.shape)
    return _MATTER_UM / max(1.0, min(float(radius_px), float(min(shape)) / 4))


def _at_border_scale(halves: Halves, pixel_um: float) -> tuple[NDArray[np.uint8], float]:
    """Green in the middle of the frame averaged to about _BORDER_PX_UM, and its um per pixel."""
    image = halves.halved(0)
    height, width = image.shape[:2]
    times = max(0, round(log2(_BORDER_PX_UM / pixel_um)))
    top, left = (max(0, length - (_BORDER_SIDE << times)) // 2 for length in (height, width))
    if times == 0 or top % (1 << times) or left % (1 << times):  # not where the frame's own blocks begin
        return Halves(image[top : height - top, left : width - left]).green(times), pixel_um * 2**times
    rows, columns = (height - 2 * top) >> times, (width - 2 * left) >> times
    top, left = top >> times, left >> times
    return halves.green(times)[top : top + rows, left : left + columns], pixel_um * 2**times


def _limit(limits: Limits, learnt: Learnt, *, scaled: bool) -> float:
    if not scaled:
        return limits.unscaled_blur_um
    if len(learnt.blurs_um) < LEAST_FRAMES:
        return limits.blur_um
    own = TOLERANCE * float(np.median(learnt.blurs_um))
    return min(limits.blur_um, max(own, SHARPEST_UM))


def _known(frame: Frame, state: GateState) -> Learnt:
    return state.learnt.get(_size(frame), Learnt())


def _taught(learnt: Learnt, blur: Blur, *, sharp: bool) -> Learnt:
    if not sharp:
        return replace(learnt, refused=learnt.refused + 1) if learnt.refused + 1 < RESTART else Learnt()
    blurs = (*learnt.blurs_um, blur.um)[-WINDOW:] if blur.scaled else learnt.blurs_um
    return replace(learnt, blurs_um=blurs, refused=0)


def _remembered(state: GateState, frame: Frame, learnt: Learnt) -> GateState:
    others = [(size, each) for size, each in state.learnt.items() if size != _size(frame)]
    return replace(state, learnt=dict([*others[1 - SIZES :], (_size(frame), learnt)]))


def _size(frame: Frame) -> tuple[int, int]:
    height, width = frame.image.shape[:2]
    return height, width


def _shrunk(halves: Halves, side: int) -> NDArray[np.uint8]:
    """Green averaged over blocks of pixels, so that the longer side is at most `side` px."""
    return halves.green(max(0, ceil(log2(max(halves.halved(0).shape[:2]) / side))))
