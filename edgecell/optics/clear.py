"""Clear background, as pictures of it or of cells on it show it: its shape over the frame, and its level.

Pictures are looked at small, so that noise is averaged away. A lamp changes slowly over a frame, and matter only takes light
away: what is darker than a smooth surface through the rest is matter, and left out.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.errors import NotMeasurable
from edgecell.optics.correct import weights
from edgecell.optics.file import LEAST_CLEAR

SIDE = 128
"""px, longer side of the small pictures: a pixel of them is a tenth of a cell's width and more, averaged over 100 or so."""
COLUMNS = 16
"""Points of the grid along the longer side. Straight lines between them stay within 0.3 grey values of a 30 % vignette."""
CLIPPED, MOST_CLIPPED = 254, 0.01
"""Grey value that counts as clipped, and the share of a picture that may be: beyond it the background has no shape."""
WHITEST = 255
"""Grey value beyond which no camera sees: background that lies there was evened out by a flat field of another light."""
BRIGHTEST = 0.1
"""Share of a picture that is taken for its brightest background: the least that is clear in all but the most crowded fields."""
MATTER = 0.02
"""A place darker than the surface by more than this share is matter: thin plasma stays in, a red cell takes 15 % and more."""
QUANTILE = 0.75
"""Of a place's values over all pictures. Where a quarter of them are clear, so is this one."""
LEAST_SEEN = 0.35
"""Share of the frame that must be clear in one picture or another. The surface bridges the rest."""
ONE_PICTURE = 0.99
"""The same where there is one picture only: it must have no cells."""
STEADY = 0.03
"""Share by which the level may differ between pictures: more is a lamp that is turned, or no background."""
ALIKE = 0.015
"""Share by which the surfaces of one half of the pictures and of the other may differ, all but a twentieth of the places."""
STEEPEST = 4.0
"""Times that the brightest background may outshine the darkest: beyond it something stands in the light path."""
WIDEST = 3.0
"""Times that one colour of clear background may outshine another."""
DARKEST, DARK_SPREAD = 40.0, 4.0
"""Most grey values that a picture without light has, and their standard deviation over it: more is light that leaks in."""
_FIRST, _ROUNDS = 0.2, 12
_STIFF, _TIED = 2.0, 0.1

Field = NDArray[np.float64]


def small(image: NDArray[np.uint8], name: str) -> Field:
    """A picture uint8 (H, W, 3) averaged to SIDE px: float64 (h, w, 3). Raises NotMeasurable, naming it, if it is clipped."""
    clipped = float((image[::4] >= CLIPPED).any(axis=2).mean())
    if clipped > MOST_CLIPPED:
        what = f"{name}: {100 * clipped:.1f} % of it are at the end of the scale ({CLIPPED} of 255 and more)"
        raise NotMeasurable(what, fix="shorten the exposure or dim the lamp, and take the pictures anew")
    height, width = image.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(2, round(width * scale)), max(2, round(height * scale))
    return cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_AREA).astype(np.float64)


def level(picture: Field) -> NDArray[np.float64]:
    """(3,): mean colour of the brightest places of a small picture, by their darkest channel."""
    pixels = picture.reshape(-1, 3)
    darkest = pixels.min(axis=1)
    keep = max(1, round(BRIGHTEST * len(darkest)))
    mean: NDArray[np.float64] = pixels[np.argpartition(darkest, -keep)[-keep:]].mean(axis=0)
    return mean


def levels(pictures: Sequence[Field]) -> NDArray[np.float64]:
    """(3,): the median `level`. Raises NotMeasurable where the pictures do not agree, or show no clear background."""
    if not pictures:
        raise NotMeasurable("no picture came", fix="give images, or a source that has some")
    each = np.array([level(picture) for picture in pictures])
    middle: NDArray[np.float64] = np.median(each, axis=0)
    if middle.min() < LEAST_CLEAR:
        raise NotMeasurable(f"the brightest places have a grey value of {middle.min():.0f}", fix="switch the lamp on")
    if middle.max() > WHITEST:
        what = f"evened out by the flat field the background has the colour {_rgb(middle)}, beyond {WHITEST}"
        raise NotMeasurable(what, fix="the lamp lies otherwise than it did for the flat field: edgecell optics flat")
    if middle.max() > WIDEST * middle.min():
        what = f"the brightest places have the colour {_rgb(middle)}: one channel is {WIDEST:g} times another"
        raise NotMeasurable(what, fix="show clear background, without a colour filter but the microscope's own")
    off = float(np.abs(each / middle - 1).max())
    if off > STEADY:
        what = f"the background is {100 * off:.0f} % off its median {_rgb(middle)} in one of {len(each)} pictures"
        raise NotMeasurable(
            what, fix="let the lamp warm up, switch automatic exposure and white balance off, show clear background"
        )
    return middle


def surface(pictures: Sequence[Field]) -> list[Field]:
    """Grids (rows, columns) of red, green and blue: the shape of clear background over the frame.

    Raises NotMeasurable where too little of it is clear, the pictures contradict each other, or no lamp looks like that.
    """
    levels(pictures)
    grids, seen = _fitted(pictures)
    if len(pictures) == 1 and seen < ONE_PICTURE:
        raise NotMeasurable("one picture with cells in it tells too little", fix="give one without, or 20 fields and more")
    if seen < LEAST_SEEN:
        what = f"only {100 * seen:.0f} % of the frame are clear background in one of {len(pictures)} pictures or another"
        raise NotMeasurable(what, fix="give pictures of a place without cells, or of 20 fields and more")
    steepest = max(float(grid.max() / max(grid.min(), 1e-9)) for grid in grids)
    if min(float(grid.min()) for grid in grids) <= 0 or steepest > STEEPEST:
        what = f"the brightest background is {steepest:.1f} times as bright as the darkest"
        raise NotMeasurable(what, fix="centre the condenser, open its diaphragm, take filters out of the light path")
    if len(pictures) == 1:
        return grids
    one, other = (_fitted(pictures[half::2])[0] for half in (0, 1))
    off = max(float(np.quantile(np.abs(a / b - 1), 0.95)) for a, b in zip(one, other, strict=True))
    if off > ALIKE:
        what = f"one half of the pictures gives a background {100 * off:.1f} % off the other half's"
        raise NotMeasurable(what, fix="give pictures of a place without cells, or more fields")
    return grids


def dark_level(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """(3,): mean of pictures uint8 (H, W, 3) without light. Raises NotMeasurable where there was some."""
    means: NDArray[np.float64] = np.mean([image.mean(axis=(0, 1)) for image in images], axis=0)
    spread = max(float(image.std(axis=(0, 1)).max()) for image in images)
    if means.max() > DARKEST or spread > DARK_SPREAD:
        what = f"the dark picture has a mean of {means.max():.0f} and a spread of {spread:.1f} grey values"
        raise NotMeasurable(what, fix="close the light path altogether")
    return means


def _fitted(pictures: Sequence[Field]) -> tuple[list[Field], float]:
    """The grids, and the share of the frame that is clear in one picture at least.

    A bowl comes first, a polynomial of the fourth degree, too stiff to follow cells; then what is left between it and the clear
    places, on the grid.
    """
    stack = np.stack(pictures)
    height, width = stack.shape[1:3]
    bowl, means, counts = _bowl(stack.reshape(len(stack), -1, 3), height, width)
    rows, columns = (max(3, round(COLUMNS * length / max(height, width))) for length in (height, width))
    basis = np.kron(weights(height, rows), weights(width, columns))
    seen, left = basis.T * counts, means - _powers(_middles(height), _middles(width)) @ bowl
    points = np.linalg.solve(seen @ basis + _STIFF * counts.mean() * _stiffness(rows, columns), seen @ left)
    points += _powers(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns)) @ bowl
    return [points[:, channel].reshape(rows, columns) for channel in range(3)], float((counts > 0).mean())


def _bowl(values: Field, height: int, width: int) -> tuple[Field, Field, Field]:
    """Factors (15, 3) of `_powers`, from the clear ones of values (pictures, places, 3); of each place the mean (places, 3) of
    its clear values, and their number (places,)."""
    powers = _powers(_middles(height), _middles(width))
    means: Field = np.quantile(values, QUANTILE, axis=0)
    counts: Field = np.ones(height * width)
    share = _FIRST
    bowl: Field = np.zeros((powers.shape[1], 3))
    for _ in range(_ROUNDS):
        seen = powers.T * counts
        bowl = np.asarray(np.linalg.solve(seen @ powers + 1e-6 * np.eye(len(bowl)), seen @ means), np.float64)
        share = max(MATTER, share * 0.7)
        ratio = values / np.maximum(powers @ bowl, 1.0)
        clear = ((ratio > 1 - share) & (ratio < 1 + 2 * share)).min(axis=2)
        counts = clear.sum(axis=0).astype(np.float64)
        means = (values * clear[:, :, None]).sum(axis=0) / np.maximum(counts, 1)[:, None]
    return bowl, means, counts


def _middles(length: int) -> Field:
    """Middles of the pixels of a line, its ends being -1 and 1."""
    return (np.arange(length) + 0.5) / length * 2 - 1


def _powers(y: Field, x: Field) -> Field:
    """(len(y) * len(x), 15): all products of powers of y and x up to the fourth degree."""
    terms = [np.outer(y**down, x**across).ravel() for down in range(5) for across in range(5 - down)]
    return np.stack(terms, axis=1)


def _stiffness(rows: int, columns: int) -> Field:
    """What a grid's bends and its height cost: where nothing is seen it runs on as the bowl does."""
    along = np.kron(np.eye(rows), np.diff(np.eye(columns), 2, axis=0))
    across = np.kron(np.diff(np.eye(rows), 2, axis=0), np.eye(columns))
    return along.T @ along + across.T @ across + _TIED * np.eye(rows * columns)


def _rgb(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.0f}" for value in values)
