"""The scale from pictures of a stage micrometer: dark, straight, parallel lines at a known distance.

One picture says how far apart its lines lie across them; where they lie aslant that is no side of a pixel. With
(cos a, sin a) across the lines, p pixels and d micrometres between them, 1 / d^2 = (cos a / (p sx))^2 + (sin a / (p sy))^2, so
that pictures of lines in two directions give um per pixel across (sx) and down (sy).
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.errors import NotMeasurable
from edgecell.optics.file import PixelSize
from edgecell.optics.scale import PLAUSIBLE_UM

LEAST_LINES = 5
PARALLEL = 0.75
"""Least share of the slopes in a picture that run one way: 1 for nothing but straight lines, 0 for none."""
EVEN = 0.04
"""Most that lines may lie off their even places, root mean square, in distances between lines."""
CONTRAST = 10.0
"""Least grey values between lines and what is between them."""
SAME = 0.01
"""Share by which pictures of lines in one direction may differ."""
SLANT = 0.5
"""Cosine of twice the angle of lines to the sensor's sides, at least: within 30 degrees."""
TURN_RAD, TURNS = 0.03, 31
"""How far from the direction of the slopes, and in how many steps, the exact one is looked for; four times as fine then."""
_EVERY = 4  # rows, or columns: fewer are enough


class Ruling(NamedTuple):
    """Lines of one picture. turn: angle of the direction across them against the sensor's rows, radians in [0, pi).

    pitch_px: between neighbours. error: of that, relative (half of a 95 % interval). lines: how many were found.
    """

    turn: float
    pitch_px: float
    error: float
    lines: int


def ruling(image: NDArray[np.uint8], name: str) -> Ruling:
    """The lines of a picture uint8 (H, W, 3). Raises NotMeasurable, naming it, where it does not show such lines."""
    smooth = cv2.GaussianBlur(cv2.extractChannel(image, 1).astype(np.float32), (0, 0), 1.5).astype(np.float32, copy=False)
    turn, share = _direction(smooth)
    if share < PARALLEL:
        what = f"{name}: {100 * share:.0f} % of its slopes run one way, those of parallel lines {100 * PARALLEL:.0f} % and more"
        raise NotMeasurable(what, fix="bring the lines of a stage micrometer into focus, running one way, and nothing else")
    turn = max(_around(turn, TURN_RAD), key=lambda each: float(np.var(_profile(smooth, each))))
    turn = max(_around(turn, TURN_RAD / 8), key=lambda each: float(np.var(_profile(smooth, each))))
    places = _dark_places(_profile(smooth, turn), name)
    gaps = np.diff(places)
    pitch = float(np.median(gaps))
    numbers = np.concatenate([[0], np.cumsum(np.rint(gaps / pitch))])
    slope, start = np.polyfit(numbers, places, 1)
    off = float(np.sqrt(np.mean((places - start - slope * numbers) ** 2)) / slope)
    if off > EVEN or numbers[-1] > 2 * len(places):
        what = f"{name}: its {len(places)} dark lines lie {100 * off:.0f} % of their distance off even places"
        raise NotMeasurable(what, fix="keep the micrometer's figures and long marks out of the picture; check the focus")
    error = 2 * off / max(1e-9, float(np.sqrt(np.sum((numbers - numbers.mean()) ** 2))))
    return Ruling(turn % np.pi, float(slope), error, len(places))


def pixel_size(rulings: Sequence[Ruling], pitch_um: float, measured: str) -> PixelSize:
    """um per pixel across and down, of lines pitch_um apart. Raises NotMeasurable where they cannot tell, or contradict."""
    aslant = [np.cos(2 * each.turn) for each in rulings]
    if min(map(abs, aslant)) < SLANT:
        what = "lines run aslant: pictures of them cannot tell one side of a pixel from the other"
        raise NotMeasurable(what, fix="lay the lines upright in one picture and level in another, within 30 degrees")
    sides = [each > 0 for each in aslant]
    if all(sides) or not any(sides):
        what = "all pictures show lines in one direction, which says nothing of the other side of a pixel"
        raise NotMeasurable(what, fix="turn the micrometer by a right angle and give a picture of that as well")
    terms = np.array([[(np.cos(each.turn) / each.pitch_px) ** 2, (np.sin(each.turn) / each.pitch_px) ** 2] for each in rulings])
    squares = np.linalg.lstsq(terms, np.full(len(terms), pitch_um**-2), rcond=None)[0]
    if squares.min() <= 0:
        raise NotMeasurable("the pictures contradict each other", fix="take them at one magnification")
    off = np.abs(np.sqrt(terms @ squares) * pitch_um - 1).max()
    if off > SAME:
        what = f"the pictures differ by {100 * off:.1f} % in their distances"
        raise NotMeasurable(what, fix="take all of them at one magnification, of one micrometer")
    across, down = (float(value) ** -0.5 for value in squares)
    if not all(PLAUSIBLE_UM[0] <= um <= PLAUSIBLE_UM[1] for um in (across, down)):
        what = f"lines {pitch_um:g} um apart would make pixels of {across:.3g} x {down:.3g} um, which no microscope has"
        raise NotMeasurable(what, fix="give the distance between neighbouring lines in micrometres, such as --lines 10")
    counted = [[each for each, side in zip(rulings, sides, strict=True) if side == wanted] for wanted in (True, False)]
    worst = [max(max(each.error for each in some), float(off)) for some in counted]
    return PixelSize(
        pixel_um=(round(across, 6), round(down, 6)),
        how="stage micrometer",
        uncertainty=(round(worst[0], 5), round(worst[1], 5)),
        samples=(sum(each.lines for each in counted[0]), sum(each.lines for each in counted[1])),
        measured=measured,
    )


def _direction(picture: NDArray[np.float32]) -> tuple[float, float]:
    """Angle across the lines, from the slopes' squares (structure tensor), and the share of the slopes that speak for it."""
    right, down = cv2.Sobel(picture, cv2.CV_64F, 1, 0), cv2.Sobel(picture, cv2.CV_64F, 0, 1)
    xx, yy, xy = float((right * right).sum()), float((down * down).sum()), float((right * down).sum())
    return 0.5 * float(np.arctan2(2 * xy, xx - yy)), float(np.hypot(xx - yy, 2 * xy)) / max(xx + yy, 1e-9)


def _around(turn: float, reach: float) -> NDArray[np.float64]:
    return turn + np.linspace(-reach, reach, TURNS)


def _profile(picture: NDArray[np.float32], turn: float) -> NDArray[np.float64]:
    """Mean grey along the lines, pixel by pixel across them; of every 4th row, or of every 4th column where they lie level."""
    slope = np.cos(turn), np.sin(turn)
    steps = (1, _EVERY) if abs(slope[0]) >= abs(slope[1]) else (_EVERY, 1)
    some = picture[:: steps[1], :: steps[0]]
    x, y = np.arange(some.shape[1]) * steps[0] * slope[0], np.arange(some.shape[0]) * steps[1] * slope[1]
    place = np.rint(x + y[:, None] - min(0.0, float(x[-1])) - min(0.0, float(y[-1]))).astype(np.int64).ravel()
    counts = np.bincount(place)
    means = np.bincount(place, some.ravel()) / np.maximum(counts, 1)
    full = counts >= counts.max() / 4
    return means[int(np.argmax(full)) : len(full) - int(np.argmax(full[::-1]))]


def _dark_places(profile: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """Middles of the dark stretches of a profile that are whole. Raises NotMeasurable where they are few or faint."""
    low, high = (float(value) for value in np.quantile(profile, [0.02, 0.9]))
    if high - low < CONTRAST:
        raise NotMeasurable(f"{name}: no lines darker than the rest", fix="bring the micrometer's lines into focus")
    depth = np.maximum(0.0, (low + high) / 2 - profile)
    edges = np.diff(np.concatenate([[0], (depth > 0).astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    whole = (starts > 0) & (ends < len(profile))
    found = [
        float(np.average(np.arange(start, end), weights=depth[start:end]))
        for start, end in zip(starts[whole], ends[whole], strict=True)
    ]
    if len(found) < LEAST_LINES:
        what = f"{name}: {len(found)} whole lines"
        raise NotMeasurable(what, fix=f"show {LEAST_LINES} and more: a finer micrometer or a weaker objective")
    return np.array(found)
