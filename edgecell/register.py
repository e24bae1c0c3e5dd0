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
NEAR_PX = 3
"""So many small px around an expected shift are looked at."""

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


def shift(one: bytes, other: bytes, size: tuple[int, int], expected: tuple[float, float] | None = None) -> Shift | None:
    """Of `other` against `one`, both small images of (width, height) `size`; None where they show no place in common.

    expected: look near this shift only, in small px, which is much quicker.
    """
    found = _best(one, other, size, 1, expected)
    return found if found.likeness >= LIKE else None


def may_share(one: bytes, other: bytes, size: tuple[int, int]) -> float:
    """Likeness at a coarse look, 0 where it is too little to look closer."""
    likeness = _best(one, other, size, COARSE).likeness
    return likeness if likeness >= LIKE_COARSE else 0.0


class _Prepared(NamedTuple):
    """A field, and what is needed of it at every shift, from -(length - 1) to length - 1: each (2h - 1, 2w - 1).

    spectrum: padded. means: sum over what is shared, by the root of its pixels. spreads: root of the summed squares about the
    mean there. Against a field that it is the other one of, both are turned by half a turn.
    """

    shape: tuple[int, int]
    spectrum: Field
    means: Field
    spreads: Field


@lru_cache(maxsize=16)
def _prepared(image: bytes, size: tuple[int, int]) -> _Prepared:
    return _prepare(image, size, 1)


@lru_cache(maxsize=128)
def _coarse(image: bytes, size: tuple[int, int]) -> _Prepared:
    return _prepare(image, size, COARSE)


def _prepare(image: bytes, size: tuple[int, int], times: int) -> _Prepared:
    width, height = size
    field = np.frombuffer(image, np.uint8).reshape(height, width).astype(np.float32)
    if times > 1:
        smaller = max(1, width // times), max(1, height // times)
        field = cv2.resize(field, smaller, interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)
    field -= cv2.GaussianBlur(field, (0, 0), _SURROUNDINGS / times, borderType=cv2.BORDER_REPLICATE)
    shape = field.shape[0], field.shape[1]
    padded = np.zeros([cv2.getOptimalDFTSize(2 * length) for length in shape], np.float32)
    padded[: shape[0], : shape[1]] = field
    sums, squares = (_boxes(each) for each in cv2.integral2(field, sdepth=cv2.CV_64F, sqdepth=cv2.CV_64F))
    shared = _shared(shape).pixels
    spreads = np.sqrt(np.maximum(squares - sums**2 / shared, 0)).astype(np.float32)
    spectrum = cv2.dft(padded).astype(np.float32, copy=False)
    return _Prepared(shape, spectrum, (sums / np.sqrt(shared)).astype(np.float32), spreads)


class _Shared(NamedTuple):
    """At every shift: pixels that two fields share. roots: of these, 0 where they are too few to look at."""

    pixels: NDArray[np.float64]
    roots: Field


@lru_cache(maxsize=8)
def _shared(shape: tuple[int, int]) -> _Shared:
    down, right = (length - np.abs(np.arange(1 - length, length)) for length in shape)
    pixels = np.outer(down, right).astype(np.float64)
    enough = pixels >= LEAST_SHARE * shape[0] * shape[1]
    return _Shared(pixels, np.where(enough, np.sqrt(pixels), 0.0).astype(np.float32))


def _best(one: bytes, other: bytes, size: tuple[int, int], times: int, expected: tuple[float, float] | None = None) -> Shift:
    """The likeliest shift: of all those that leave LEAST_SHARE in common the one whose correlation is least by chance, which
    falls with the root of the pixels that it is taken over."""
    prepare = _prepared if times == 1 else _coarse
    first, second = prepare(one, size), prepare(other, size)
    height, width = first.shape
    rows, columns = slice(0, 2 * height - 1), slice(0, 2 * width - 1)
    if expected is not None:
        rows, columns = _around(expected[1] + height - 1, 2 * height - 1), _around(expected[0] + width - 1, 2 * width - 1)
    like = _likeness(first, second, rows, columns)
    roots = _shared(first.shape).roots[rows, columns]
    y, x = divmod(int(np.argmax(like * roots)), like.shape[1])
    row, column = _top(like, roots, y, x)
    inside = 0 < row < like.shape[0] - 1 and 0 < column < like.shape[1] - 1  # else its top may lie beyond what was looked at
    right = columns.start + column - (width - 1) + _between(like[row, max(0, column - 1) : column + 2])
    down = rows.start + row - (height - 1) + _between(like[max(0, row - 1) : row + 2, column])
    return Shift(right * times, down * times, float(like[row, column]) if inside else 0.0)


def _around(place: float, length: int) -> slice:
    """Indices near a place in an axis, at least one."""
    middle = min(max(round(place), 0), length - 1)
    return slice(max(0, middle - NEAR_PX), min(length, middle + NEAR_PX + 1))


def _top(like: Field, roots: Field, row: int, column: int) -> tuple[int, int]:
    """The likeliest of a shift and its neighbours. What is shared decides between places, not between pixels: with it half a
    small pixel is lost wherever the true shift lies halfway."""
    top, left = max(0, row - 1), max(0, column - 1)
    around = np.s_[top : row + 2, left : column + 2]
    y, x = divmod(int(np.argmax(np.where(roots[around] > 0, like[around], 0))), like[around].shape[1])
    return top + y, left + x


def _likeness(one: _Prepared, other: _Prepared, rows: slice, columns: slice) -> Field:
    """Correlation coefficient at some of the shifts, those too that share too little."""
    height, width = one.shape
    product = cv2.mulSpectrums(one.spectrum, other.spectrum, 0, conjB=True)
    wrapped = cv2.idft(product, flags=cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT).astype(np.float32, copy=False)
    mixed = _unwrapped(_unwrapped(wrapped, height, rows, 0), width, columns, 1)
    means, spreads = (each[rows, columns] for each in (one.means, one.spreads))
    their_means, their_spreads = (each[::-1, ::-1][rows, columns] for each in (other.means, other.spreads))
    like: Field = (mixed - means * their_means) / np.maximum(spreads * their_spreads, np.float32(1e-3))
    return like


def _unwrapped(wrapped: Field, length: int, wanted: slice, axis: int) -> Field:
    """Along an axis that holds the shifts 0, 1 .. and, from the end, -1, -2 .., some of those from -(length - 1) on."""
    first, negative = wrapped.shape[axis] - (length - 1), length - 1
    before = slice(first + wanted.start, first + min(wanted.stop, negative))
    after = slice(max(0, wanted.start - negative), max(0, wanted.stop - negative))
    parts = (wrapped[before], wrapped[after]) if axis == 0 else (wrapped[:, before], wrapped[:, after])
    unwrapped: Field = np.concatenate(parts, axis)
    return unwrapped


def _boxes(integral: NDArray[np.generic]) -> NDArray[np.float64]:
    """Sums over what is shared, at every shift, from an integral image (h + 1, w + 1)."""
    strips = _spans(integral.astype(np.float64, copy=False))
    sums: NDArray[np.float64] = _spans(strips.T).T
    return sums


def _spans(integral: NDArray[np.float64]) -> NDArray[np.float64]:
    """Along the first axis: what lies before the end of a shifted field, then what lies behind its beginning."""
    spans: NDArray[np.float64] = np.concatenate([integral[1:-1] - integral[0], integral[-1] - integral[:-1]])
    return spans


def _between(three: Field) -> float:
    """Where the top of a parabola through three values lies, from the middle one; 0 at a border."""
    if len(three) < 3:
        return 0.0
    left, middle, right = (float(value) for value in three)
    bend = left - 2 * middle + right
    return 0.5 * (left - right) / bend if bend < 0 and max(left, right) <= middle else 0.0
