"""A labelled field made ready for training: at one scale, with a map of whose each pixel is."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.fields import Boxes, Field
from edgecell.segmenters.stain.ruler import look

BASE_UM = 0.17
"""um per pixel at which finer fields are kept: enough for the network's scale, also in a view 1.4 times closer."""
IGNORED = -1
CORE, RIM, BEYOND = 0.6, 1.1, 1.25
"""In radii of the ellipse in a cell's box: certainly the cell, as far as its matter may reach, and certainly none of it."""
LEAST_MATTER = 0.5
"""Share of a cell's ellipse that must be stained for the stain to say where the cell ends."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sheet:
    """A field at BASE_UM, or as it is where that is coarser.

    um: per pixel. image: uint8 (H, W, 3) RGB. boxes: (N, 4) x0, y0, x1, y1. kinds: (N,). owners: int16 (H, W), 0 nobody's,
    i + 1 cell i's, IGNORED where nobody can tell. squash: how much wider a round cell is than high.
    """

    name: str
    um: float
    image: NDArray[np.uint8]
    boxes: Boxes
    kinds: NDArray[np.int64]
    owners: NDArray[np.int16]
    squash: float


def sheet_of(field: Field, pixel_um: float) -> Sheet:
    """A labelled field. Outlines are masks as they are, and boxes among them stand for ellipses; where all are boxes, the stain
    says where in them the cell ends."""
    image, factors = shrunk(field.image, pixel_um)
    um = max(pixel_um, BASE_UM)
    boxes = field.boxes * np.tile(factors, 2)
    if any(outline is not None for outline in field.outlines):
        pairs = zip(field.outlines, boxes, strict=True)
        owners = drawn([ellipse(box) if outline is None else outline * factors for outline, box in pairs], image.shape)
    else:
        owners = owned(boxes, stained(image, um))
    return Sheet(name=field.name, um=um, image=image, boxes=boxes, kinds=field.kinds, owners=owners, squash=squash_of(boxes))


def squash_of(boxes: Boxes) -> float:
    """Median width by median height of all cells: they lie in every direction."""
    if not len(boxes):
        return 1.0
    width, height = np.median(boxes[:, 2:] - boxes[:, :2], axis=0)
    return float(width / max(height, 1e-9))


def stained(image: NDArray[np.uint8], um: float) -> NDArray[np.uint8]:
    """What the segmenter `stain` takes for cells, uint8 0/1 (H, W), in an image at um per pixel."""
    out = np.zeros(image.shape[:2], np.uint8)
    seen = look(image, um)
    for piece in seen.pieces:
        x0, y0, x1, y1 = np.rint(np.array(piece.box) / np.tile(seen.factors, 2)).astype(int).tolist()
        if x1 > x0 and y1 > y0:
            part = out[y0:y1, x0:x1]
            grown = cv2.resize(piece.mask, (x1 - x0, y1 - y0), interpolation=cv2.INTER_NEAREST)
            part |= grown.astype(np.uint8, copy=False)[: part.shape[0], : part.shape[1]]
    return out


def shrunk(image: NDArray[np.uint8], pixel_um: float) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """The image at BASE_UM if it is finer, and how many of its pixels a pixel was (x, y)."""
    height, width = image.shape[:2]
    factor = min(1.0, pixel_um / BASE_UM)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return small, (size[0] / width, size[1] / height)


def owned(boxes: Boxes, stained: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Whose each pixel is, from boxes (N, 4), in which cells are about ellipses, and what is stained, uint8 0/1 (H, W)."""
    height, width = stained.shape
    nearest = np.full(stained.shape, np.inf, np.float32)
    owners = np.zeros(stained.shape, np.int16)
    y, x = np.mgrid[:height, :width].astype(np.float32) + np.float32(0.5)
    for number, (x0, y0, x1, y1) in enumerate(boxes.tolist(), start=1):
        away = np.hypot((x - (x0 + x1) / 2) / max(1.0, (x1 - x0) / 2), (y - (y0 + y1) / 2) / max(1.0, (y1 - y0) / 2))
        ellipse = away < 1
        trust = stained[ellipse].mean() >= LEAST_MATTER if ellipse.any() else False
        mine = (away < CORE) | ((away < RIM) & (stained > 0)) if trust else ellipse
        closer = mine & (away < nearest)
        owners[closer] = number
        np.minimum(nearest, away, out=nearest)
    owners[(owners == 0) & (stained > 0) & (nearest > BEYOND)] = IGNORED
    return owners


def ellipse(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Outline (M, 2) of the ellipse in a box (4,)."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    outline: NDArray[np.float64] = (box[:2] + box[2:]) / 2 + circle * (box[2:] - box[:2]) / 2
    return outline


def drawn(outlines: Sequence[NDArray[np.float64]], shape: tuple[int, ...]) -> NDArray[np.int16]:
    """Whose each pixel is, from outlines, each (M, 2) x, y: smaller cells lie on top of larger ones."""
    owners = np.zeros(shape[:2], np.int16)
    for index in np.argsort([-cv2.contourArea(outline.astype(np.float32)) for outline in outlines], kind="stable").tolist():
        cv2.fillPoly(owners, [np.rint(outlines[index] - 0.5).astype(np.int32)], index + 1)
    return owners
