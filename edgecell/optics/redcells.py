"""The scale from red cells, both sides of a pixel: less sure than lines, since people's red cells differ.

Their mean diameter is 7.2 um; of healthy people 6.9 to 7.5 (4 % to each side, as mean cell volumes of 80 to 100 fl spread by
11 %), of the sick less or more by far. Which side of a pixel is longer is surer: cells lie every way.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from edgecell.errors import NotMeasurable
from edgecell.messages import RED_BLOOD_CELL, Cell
from edgecell.optics.file import PixelSize
from edgecell.optics.scale import FIRM_CELLS, FIRM_SPREAD, PLAUSIBLE_UM

PEOPLE = 0.04
"""Relative; half of a 95 % interval of a healthy person's mean red-cell diameter."""
LONGEST = 1.5
"""Length by width of what may be a single red cell on pixels that are no squares."""
SURE = 3.0
"""Standard errors that the sides of a pixel must differ by to be taken for different."""
LEAST_DIFFERENT = 0.02
"""And by how much: cells drawn out by the smear lie all one way. As cells seem rounder than they are, it may be twice that."""
ROUNDS, STEP = 8, 1.6
"""How often frames are drawn out anew, and by how much more than cells seem to be, since they seem rounder than they are."""

Diameters = NDArray[np.float64]


def diameters(cells: Iterable[Cell], size: tuple[int, int]) -> Diameters:
    """(N, 2): across and down, in pixels, of the single red cells that a frame of (width, height) shows whole.

    Of an ellipse the standard deviation along an axis is a quarter of its width there.
    """
    found = []
    for cell in cells:
        x0, y0, x1, y1 = cell.box_px
        if cell.kind != RED_BLOOD_CELL or x0 <= 1 or y0 <= 1 or x1 >= size[0] - 1 or y1 >= size[1] - 1:
            continue
        y, x = np.nonzero(cell.mask)
        if cell.outline is None or not len(x):
            continue
        own = 4 * np.sqrt(np.array([x.var(), y.var()]) + 1 / 12)
        if own.max() <= LONGEST * own.min():
            found.append(own)
    return np.array(found).reshape(-1, 2)


def drawn_out(size: tuple[int, int], longer: float) -> tuple[int, int]:
    """(width, height) px of a frame that shows squares, where its pixels are longer across by that factor's logarithm."""
    return max(16, round(size[0] * float(np.exp(longer / 2)))), max(16, round(size[1] * float(np.exp(-longer / 2))))


def stretch(found: Diameters) -> float:
    """Natural logarithm of how much longer the cells are down than across, 0 where that may be chance. found: `diameters` of
    all frames. Raises NotMeasurable where they are too few or too unlike."""
    if len(found) < FIRM_CELLS:
        what = f"{len(found)} single red cells, {FIRM_CELLS} are needed"
        raise NotMeasurable(what, fix="show more fields in which red cells lie apart, in focus")
    sizes, spread = _sizes(found)
    if spread > FIRM_SPREAD:
        what = f"the red cells differ by {100 * spread:.0f} % (half the interquartile range), {100 * FIRM_SPREAD:.0f} % at most"
        raise NotMeasurable(
            what, fix="show a smear of normal red cells, in focus, at one magnification; or use a stage micrometer"
        )
    alike = found[np.abs(sizes / np.median(sizes) - 1) < 3 * FIRM_SPREAD]
    ratios = np.log(alike[:, 1] / alike[:, 0])
    ratio, error = float(ratios.mean()), float(ratios.std() / np.sqrt(len(ratios)))
    return 0.0 if abs(ratio) < max(SURE * error, LEAST_DIFFERENT) else ratio


def settled(look: Callable[[float], tuple[Diameters, float | None]], measured: str) -> PixelSize:
    """um per pixel across and down. look: `diameters` in frames whose pixels are taken to be longer across than down by a
    factor, given as its natural logarithm, and their um per pixel as the segmenter estimates it from them.

    Segmenters know round cells, and make drawn-out ones rounder, by half or so: so the frames are drawn out the other way,
    until cells are round. Raises NotMeasurable.
    """
    longer = 0.0
    for _ in range(ROUNDS):
        found, pixel_um = look(longer)
        rest = stretch(found)
        if not rest:
            return _pixel_size(found, pixel_um, longer, measured)
        longer += STEP * rest
    what = f"red cells are not round however the frames are drawn out (by {np.exp(longer):.2f} at last)"
    raise NotMeasurable(what, fix="show a smear whose cells are round, or use a stage micrometer")


def _pixel_size(found: Diameters, pixel_um: float | None, longer: float, measured: str) -> PixelSize:
    across, down = ((pixel_um or 0.0) * float(np.exp(sign * longer / 2)) for sign in (1, -1))
    if not all(PLAUSIBLE_UM[0] <= um <= PLAUSIBLE_UM[1] for um in (across, down)):
        raise NotMeasurable(f"pixels of {across:.3g} um are no microscope's", fix="use a stage micrometer")
    sure = float(np.hypot(np.hypot(PEOPLE, LEAST_DIFFERENT), 2 * _sizes(found)[1] / np.sqrt(len(found))))
    return PixelSize(
        pixel_um=(round(across, 5), round(down, 5)),
        how="red cells",
        uncertainty=(round(sure, 4), round(sure, 4)),
        samples=(len(found), len(found)),
        measured=measured,
    )


def _sizes(found: Diameters) -> tuple[NDArray[np.float64], float]:
    """Geometric means of both diameters, (N,), and half their inter-quartile range by their median."""
    sizes: NDArray[np.float64] = np.sqrt(found.prod(axis=1))
    quarter, middle, three = (float(value) for value in np.quantile(sizes, [0.25, 0.5, 0.75]))
    return sizes, (three - quarter) / 2 / middle
