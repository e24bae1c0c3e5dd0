"""Red cells as a ruler: at which scale does a frame make sense, when nobody tells."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.halves import Halves
from edgecell.messages import RED_BLOOD_CELL
from edgecell.optics.scale import LEAST_CELLS, RED_CELL_UM
from edgecell.preprocess import resized
from edgecell.segmenters.stain.cells import Piece, find_cells
from edgecell.segmenters.stain.density import Image
from edgecell.segmenters.stain.layers import layers

WORK_UM = 0.3
"""um per pixel of the working image: a red cell is 24 px across, the gap between two that touch one or two."""
SHADE_UM = 25.0
"""Illumination changes slower than this; cells are smaller."""
SIDES_PX = (96, 192, 384, 768, 1536)
"""Longer sides of the working images tried at first: the frame may be 4 red cells across, or 64."""

ROUND_WEIGHT = 2.0
"""Whole round cells weigh more than discs in pieces of any shape: seen too coarsely, a crowd makes discs too."""
CLOSE = 0.07
"""Nothing changes between two looks at scales as close as this."""
FITTING = 1.5
"""Discs within this factor of the expected diameter speak for a scale."""
DISC_TO_CELL = 1.08
"""The largest disc in a cell is narrower than the cell: cells are not round, and neighbours cut into them."""


class Look(NamedTuple):
    """Cells found at an assumed um per pixel of the full image, and the working image's pixels per full pixel (x, y)."""

    pieces: list[Piece]
    pixel_um: float
    factors: tuple[float, float]


def look(image: Image, pixel_um: float) -> Look:
    """The cells of an RGB image uint8 (H, W, 3), taken to be at pixel_um."""
    height, width = image.shape[:2]
    factor = min(2.0, pixel_um / WORK_UM)
    size = max(8, round(width * factor)), max(8, round(height * factor))
    small = resized(Halves(image), size)
    um = pixel_um * width / size[0]
    return Look(find_cells(layers(small, SHADE_UM / um), um), pixel_um, (size[0] / width, size[1] / height))


def round_red_cells(seen: Look, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Diameters (px of the full image) of the red cells that are whole, alone and round, (N,) float64."""
    height, width = round(shape[0] * seen.factors[1]), round(shape[1] * seen.factors[0])
    found = [
        2.0 * float(np.sqrt(piece.area / np.pi / (seen.factors[0] * seen.factors[1])))
        for piece in seen.pieces
        if piece.kind == RED_BLOOD_CELL and not _touches(piece, width, height) and _round(piece)
    ]
    return np.array(found, np.float64)


def _touches(piece: Piece, width: int, height: int) -> bool:
    x0, y0, x1, y1 = piece.box
    return x0 <= 1 or y0 <= 1 or x1 >= width - 1 or y1 >= height - 1


def _round(piece: Piece) -> bool:
    """Whether a piece fills the ellipse of its box's proportions, and is less than 1.35 times as long as wide."""
    (_, (a, b), _) = cv2.minAreaRect(piece.ends - np.array(piece.box[:2], np.int32))
    a, b = a + 1.0, b + 1.0
    return max(a, b) <= 1.35 * min(a, b) and piece.area >= 0.9 * np.pi / 4 * a * b


def first_look(image: Image) -> Look:
    """The cells at the scale at which most of the frame is red cells of the right size, tried from coarse to fine.

    Two steps past the best are tried, since a crowd seen far too coarsely looks like large cells.
    """
    side = max(image.shape[:2])
    best_um, best, worse = WORK_UM * SIDES_PX[1] / side, 0.0, 0
    for work_px in SIDES_PX:
        if work_px > 2 * side:
            break
        seen = look(image, WORK_UM * work_px / side)
        share, middle = _fit(seen, image.shape)
        diameters = round_red_cells(seen, image.shape)
        whole = diameters[np.abs(np.log(diameters * seen.pixel_um / RED_CELL_UM)) < np.log(FITTING)]
        evidence = share + ROUND_WEIGHT * float((whole**2).sum()) / (image.shape[0] * image.shape[1])
        if evidence > best:
            best_um, best, worse = RED_CELL_UM / middle if middle else seen.pixel_um, evidence, 0
        elif evidence < best / 2:
            worse += 1
        if worse == 2:
            break
    return _refined(image, best_um)


def _refined(image: Image, pixel_um: float) -> Look:
    """The cells at the scale that the red cells seen at pixel_um give, where that is another."""
    seen = look(image, pixel_um)
    for _ in range(2):
        diameters = round_red_cells(seen, image.shape)
        middle = float(np.median(diameters)) if diameters.size >= LEAST_CELLS else _fit(seen, image.shape)[1]
        if not middle or abs(middle * seen.pixel_um / RED_CELL_UM - 1.0) < CLOSE:
            break
        seen = look(image, RED_CELL_UM / middle)
    return seen


def _fit(seen: Look, shape: tuple[int, ...]) -> tuple[float, float]:
    """Share of the frame that red cells of about the assumed size hold, and their median diameter in px (0: none).

    Diameters are those of the largest discs in the cells: a cell that the border cuts, or a neighbour, still holds one. What
    is much larger than its disc is a clump, seen too coarsely, and hardly counts.
    """
    expected = RED_CELL_UM / seen.pixel_um
    height, width = round(shape[0] * seen.factors[1]), round(shape[1] * seen.factors[0])
    red = [piece for piece in seen.pieces if piece.kind == RED_BLOOD_CELL]
    areas = np.array([piece.area for piece in red], np.float64) / seen.factors[0] ** 2
    diameters = np.array([_disc(piece, width, height) for piece in red], np.float64) / seen.factors[0]
    fits = (diameters > expected / FITTING) & (diameters < expected * FITTING)
    filled = np.minimum(1.0, np.pi / 4 * diameters**2 / np.maximum(areas, 1e-9)) ** 2
    evidence = float((filled * diameters**2)[fits].sum()) / (shape[0] * shape[1])
    return evidence, float(np.median(diameters[fits])) * DISC_TO_CELL if fits.any() else 0.0


def _disc(piece: Piece, width: int, height: int) -> float:
    """Diameter (px) of the largest disc in a piece; beyond the border of the image it may go on."""
    x0, y0, x1, y1 = piece.box
    sides = int(y0 > 0), int(y1 < height), int(x0 > 0), int(x1 < width)
    padded = cv2.copyMakeBorder(piece.mask, *sides, cv2.BORDER_CONSTANT, value=0)
    if padded.all():
        return 0.0
    return 2.0 * float(cv2.distanceTransform(padded, cv2.DIST_L2, 3).max())
