"""Where a frame lies beside another one, from what both show: their correlation at every shift, over what they share there.

Small images do: places are told apart by how their cells lie. The correlation coefficient is taken over the shared part alone
(Padfield, IEEE Trans Image Process 2012;21:2706, for whole rectangles), so that a narrow strip can tell as much as a field.
"""

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 160
"""px of a small image's longer side: a red cell is some 9 of them where a field is 128 um wide."""
COARSE = 2
"""A place that may be anywhere is looked for in images so many times smaller first."""
LEAST_SHARE = 0.06
"""Of a frame that the other one must share. Less holds too few cells to tell a place from another, and next to none that both
frames count: these keep a largest radius from the border."""
LIKE = 0.8
"""Correlation that tells the same place. On the drawn slide frames that share 8 % and more reach 0.95, others at most 0.65."""
LIKE_COARSE = 0.6

_SURROUNDINGS = 6.0  # small px, sigma: what is wider is lamp and vignette, which stay with the camera

Field = NDArray[np.float32]


class Shift(NamedTuple):
    """Where the other frame's top left corner lies, in small pixels. likeness: correlation over what both show, at most 1."""

    x: float
    y: float
    likeness: float


def small(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The green of a frame, uint8 (H, W, 3), averaged so that its longer side is SIDE px: uint8 (h, w)."""
    green = cv2.extractChannel(image, 1)
    return cv2.resize(green, small_size(image.shape), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def small_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """(width, height) of the small image of a frame of shape (H, W, ...)."""
    height, width = shape[:2]
    scale = SIDE / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def shift(one: bytes, other: bytes, size: tuple[int, int]) -> Shift | None:
    """Of `other` against `one`, both small images of (width, height) `size`; None where they show no place in common."""
    found = _best(one, other, size, 1)
    return found if found.likeness >= LIKE else None


def may_share(one: bytes, other: bytes, size: tuple[int, int]) -> float:
    """Likeness at a coarse look, 0 where it is too little to look closer."""
    likeness = _best(one, other, size, COARSE).likeness
    return likeness if likeness >= LIKE_COARSE else 0.0


class _Prepared(NamedTuple):
    """spectrum: of the field, padded. sums, squares: integral images, float64."""

    shape: tuple[int, int]
    spectrum: Field
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]


@lru_cache(maxsize=256)
def _prepared(image: bytes, size: tuple[int, int], times: int) -> _Prepared:
    width, height = size
    field = np.frombuffer(image, np.uint8).reshape(height, width).astype(np.float32)
    if times > 1:
        smaller = max(1, width // times), max(1, height // times)
        field = cv2.resize(field, smaller, interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)
    field -= cv2.GaussianBlur(field, (0, 0), _SURROUNDINGS / times, borderType=cv2.BORDER_REPLICATE)
    shape = field.shape[0], field.shape[1]
    padded = np.zeros([cv2.getOptimalDFTSize(2 * length) for length in shape], np.float32)
    padded[: shape[0], : shape[1]] = field
    sums, squares = cv2.integral2(field, sdepth=cv2.CV_64F, sqdepth=cv2.CV_64F)
    spectrum = cv2.dft(padded).astype(np.float32, copy=False)
    return _Prepared(shape, spectrum, sums.astype(np.float64, copy=False), squares.astype(np.float64, copy=False))


def _best(one: bytes, other: bytes, size: tuple[int, int], times: int) -> Shift:
    """The likeliest shift: of all those that leave LEAST_SHARE in common the one whose correlation is least by chance, which
    falls with the root of the pixels that it is taken over."""
    first, second = _prepared(one, size, times), _prepared(other, size, times)
    like, shared = _likeness(first, second)
    y, x = np.unravel_index(int(np.argmax(like * np.sqrt(shared))), like.shape)
    row, column = _top(like, int(y), int(x))
    height, width = first.shape
    right = column - (width - 1) + _between(like[row, max(0, column - 1) : column + 2])
    down = row - (height - 1) + _between(like[max(0, row - 1) : row + 2, column])
    return Shift(right * times, down * times, float(like[row, column]))


def _top(like: NDArray[np.float64], row: int, column: int) -> tuple[int, int]:
    """The likeliest of a shift and its neighbours. What is shared decides between places, not between pixels: with it half a
    small pixel is lost wherever the true shift lies halfway."""
    top, left = max(0, row - 1), max(0, column - 1)
    around = like[top : row + 2, left : column + 2]
    y, x = divmod(int(np.argmax(around)), around.shape[1])
    return top + y, left + x


def _likeness(one: _Prepared, other: _Prepared) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correlation coefficient and shared pixels at every shift from -(length - 1) to length - 1, each (2h - 1, 2w - 1)."""
    height, width = one.shape
    product = cv2.mulSpectrums(one.spectrum, other.spectrum, 0, conjB=True)
    wrapped = cv2.idft(product, flags=cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT)
    down, right = np.arange(1 - height, height), np.arange(1 - width, width)
    mixed = wrapped[np.ix_(down % wrapped.shape[0], right % wrapped.shape[1])].astype(np.float64)
    mine = _spans(down, height), _spans(right, width)
    theirs = _spans(-down, height), _spans(-right, width)
    shared = np.outer(height - np.abs(down), width - np.abs(right)).astype(np.float64)
    sum_one, sum_other = _boxes(one.sums, *mine), _boxes(other.sums, *theirs)
    spread_one = _boxes(one.squares, *mine) - sum_one**2 / shared
    spread_other = _boxes(other.squares, *theirs) - sum_other**2 / shared
    spread = np.sqrt(np.maximum(spread_one, 0) * np.maximum(spread_other, 0))
    like = (mixed - sum_one * sum_other / shared) / np.maximum(spread, 1e-3)
    return np.where(shared >= LEAST_SHARE * height * width, like, 0.0), shared


def _spans(shifts: NDArray[np.int64], length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of one axis, from where to where a frame shares what another one shows that is shifted against it."""
    return np.maximum(shifts, 0), np.minimum(shifts + length, length)


def _boxes(
    integral: NDArray[np.float64],
    rows: tuple[NDArray[np.int64], NDArray[np.int64]],
    columns: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> NDArray[np.float64]:
    """Sums over boxes, for every span of rows and every span of columns."""
    strips = integral[rows[1]] - integral[rows[0]]
    sums: NDArray[np.float64] = strips[:, columns[1]] - strips[:, columns[0]]
    return sums


def _between(three: NDArray[np.float64]) -> float:
    """Where the top of a parabola through three values lies, from the middle one; 0 at a border."""
    if len(three) < 3:
        return 0.0
    left, middle, right = (float(value) for value in three)
    bend = left - 2 * middle + right
    return 0.5 * (left - right) / bend if bend < 0 and max(left, right) <= middle else 0.0
