"""From an image's layers to its cells: matter made whole and parted into cells, each told by stain and size.

Sizes are in micrometres; `um` is the working image's micrometres per pixel, or a first guess of it.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.messages import NUCLEATED, PLATELET, RED_BLOOD_CELL
from edgecell.segmenters.stain.layers import Layers
from edgecell.segmenters.stain.nuclei import NUCLEUS_UM2, find_nuclei, join_in_one_cell
from edgecell.segmenters.stain.platelets import find_platelets
from edgecell.segmenters.stain.regions import (
    Labels,
    Mask,
    Regions,
    closed,
    dilated,
    disc,
    distance,
    labelled,
    opened,
    regions,
)
from edgecell.segmenters.stain.split import split

RED_UM2 = 15.0
RED_AT_BORDER_UM2 = 6.0
"""Least area of a red cell (3.9 um across), and of the part of one that the frame's border cuts."""
PALLOR_UM2 = 22.0
"""The pale middle of a red cell is at most 5 um across."""
PINHOLE_UM2 = 0.3
"""Smaller holes are noise, whatever their shape."""
BROKEN_UM = 0.4
"""Half the width of a gap through which a pale middle may be open to the background."""
BROKEN_LEAST_UM2 = 1.0
"""Smaller ones are not closed over: they are gaps between cells."""
CONVEX = 0.78
"""Least share of its hull that a hole fills: a pale middle is round, the gap between round cells is a star."""
VALLEY = 0.1
"""Depth of the pale line between two touching cells, in red cells' depths."""
THIN_UM = 0.3
"""Thinner than twice this is no cell."""
OVERLAP_UM = 0.7
"""Height of the relief that one red cell's density makes: where two overlap it is low, a pale middle is a summit."""
RIM_UM = 0.3
"""Matter ends at a third of a cell's density; blurred by the optics, the cell ends about this much further out."""
SMOOTH_UM = 0.4
PASS_SHARE = 0.02
PASS_UM = 0.08
"""How far the pass between two cells lies below the lower summit, at least."""
CUT_UM = 1.2
"""A cell that the frame's border cuts is taken to go on this far: at a height of 0 there it would join its whole neighbour."""
CYTOPLASM_UM = 2.0
CYTOPLASM_PALE = -0.3
"""Around a nucleus pale is no sign of a red cell's middle: this far it is taken for a little denser than a red cell."""
TAIL_UM = 1.2
"""What hangs on to a nucleated cell by less than twice this is not part of it."""
OWN_SHARE = 0.25
OWN_NUCLEUS = 0.1
"""A piece belongs to a nucleus that covers this share of it, or that has this share in it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """One cell in the working image. box: x0, y0, x1, y1 half-open. centre: x, y. area: px.

    mask: uint8 0/1 inside the box. ends: int32 (M, 2) x, y of pixels whose convex hull is the cell's.
    """

    kind: str
    box: tuple[int, int, int, int]
    centre: tuple[float, float]
    mask: Mask
    ends: NDArray[np.int32]
    area: int


def find_cells(maps: Layers, um: float) -> list[Piece]:
    """All cells of a working image, in no particular order."""
    nuclei = find_nuclei(maps, um)
    matter: Mask = whole_matter(maps, um) | (nuclei > 0).view(np.uint8)
    nuclei = join_in_one_cell(nuclei, matter, um)
    spots = find_platelets(maps, matter, nuclei, um)
    ground: Mask = matter & (spots == 0).view(np.uint8)
    labels = gather(part(ground, nuclei, maps, um), nuclei)
    labels = rimmed(trimmed(labels, nuclei, um), um)
    platelets = regions(spots)
    return _cells(labels, nuclei, um) + _pieces(spots, platelets, [PLATELET] * len(platelets.numbers))


def whole_matter(maps: Layers, um: float) -> Mask:
    """Matter with the pale middles of red cells filled, also through a broken rim; gaps between touching cells stay open."""
    level = np.minimum(maps.depth, np.uint8(np.clip(round(maps.red_depth), 3, 255)))
    valley = cv2.morphologyEx(level, cv2.MORPH_BLACKHAT, disc(0.6 / um))
    apart: Mask = maps.matter & (valley <= np.uint8(max(2.0, VALLEY * maps.red_depth))).view(np.uint8)
    filled: Mask = apart | _holes(1 - apart, um, 0.0)
    rims = closed(filled, disc(BROKEN_UM / um))
    filled |= dilated(_holes(1 - rims, um, BROKEN_LEAST_UM2), disc(BROKEN_UM / um + 1.0))
    return opened(filled, disc(THIN_UM / um))


def _holes(clear: Mask, um: float, least_um2: float) -> Mask:
    """The pale middles among the regions of `clear`, and its pinholes where least_um2 lets them through."""
    labels = labelled(clear, connectivity=4)
    found = regions(labels)
    sizes = found.areas * um**2
    chosen = np.zeros(len(sizes) + 1, np.uint8)
    chosen[1:] = (sizes >= least_um2) & (sizes < PINHOLE_UM2)
    for index in np.flatnonzero((sizes >= max(least_um2, PINHOLE_UM2)) & (sizes <= PALLOR_UM2)).tolist():
        x0, y0, x1, y1 = found.boxes[index].tolist()
        hull = cv2.contourArea(cv2.convexHull(found.outline(index))) + 0.5 * (x1 - x0 + y1 - y0)
        chosen[index + 1] = int(found.areas[index]) >= CONVEX * hull
    return chosen.take(labels)


def part(ground: Mask, nuclei: Labels, maps: Layers, um: float) -> Labels:
    """Labels int32 (H, W) of the cells in `ground`: parted at necks and around overlaps; a nucleus is a summit of its own."""
    depth = np.minimum(maps.depth, np.uint8(min(255.0, 3 * maps.red_depth + 1))).astype(np.float32)
    smooth = cv2.GaussianBlur(depth, (0, 0), SMOOTH_UM / um)
    pale = np.clip(1.0 - smooth / max(maps.red_depth, 1.0), -1.0, 1.0)
    caps = np.zeros(ground.shape, np.uint8)
    found = regions(nuclei)
    for index in range(len(found.numbers)):
        cv2.fillConvexPoly(caps, cv2.convexHull(found.outline(index)), 1)
    np.copyto(pale, np.float32(CYTOPLASM_PALE), where=dilated(caps, disc(CYTOPLASM_UM / um)).view(np.bool_))
    relief = distance(ground, round(CUT_UM / um)) + np.float32(OVERLAP_UM / um) * pale
    relief = np.maximum(relief, np.float32(0.5))
    np.copyto(relief, np.float32(2 * float(relief.max(initial=0.0))), where=caps.view(np.bool_))
    relief = cv2.GaussianBlur(relief, (5, 5), 0) * ground
    return split(relief.astype(np.float32, copy=False), relative_depth=PASS_SHARE, least_depth=PASS_UM / um)


def _overlap(labels: Labels, nuclei: Labels) -> NDArray[np.int64]:
    """Pixels (L, N) that label l has of nucleus n; row 0 off the labels, column 0 unused."""
    number, count = int(labels.max(initial=0)) + 1, int(nuclei.max(initial=0)) + 1
    places = np.flatnonzero(nuclei > 0)
    pairs = labels.ravel()[places].astype(np.int64) * count + nuclei.ravel()[places]
    return np.bincount(pairs, minlength=number * count).reshape(number, count)


def gather(labels: Labels, nuclei: Labels) -> Labels:
    """Labels where all pieces that lie over the same nucleus are one."""
    over = _overlap(labels, nuclei)
    joined = np.arange(len(over), dtype=np.int32)
    whole = over[:, 1:].sum(axis=0, keepdims=True)
    area = np.bincount(labels.ravel(), minlength=len(over))[:, None]
    covered = over[:, 1:] > np.minimum(OWN_SHARE * area, OWN_NUCLEUS * whole)
    covered[0] = False
    for nucleus in range(1, over.shape[1]):
        mine = np.flatnonzero(covered[:, nucleus - 1] & (over[:, 1:].argmax(axis=1) == nucleus - 1))
        if mine.size > 1:
            joined[mine] = mine[over[mine, nucleus].argmax()]
    return joined.take(labels)


def trimmed(labels: Labels, nuclei: Labels, um: float) -> Labels:
    """Labels where nucleated cells have lost what hangs on to them by a thread."""
    out = labels.copy()
    element = disc(TAIL_UM / um)
    found = regions(labels)
    owners = _overlap(labels, nuclei).argmax(axis=0).tolist()
    for index, own in enumerate(owners[1:], start=1):
        if own:
            x0, y0, x1, y1 = found.boxes[int(np.searchsorted(found.numbers, own))].tolist()
            window = np.s_[y0:y1, x0:x1]
            cell, inner = labels[window] == own, nuclei[window] == index
            core = labelled(opened(cell.view(np.uint8), element) | inner.view(np.uint8))
            out[window][cell & (core != np.bincount(core[inner]).argmax())] = 0
    return out


def rimmed(labels: Labels, um: float) -> Labels:
    """Labels grown over the background by the outline's half shadow."""
    wide = cv2.dilate(labels.astype(np.float32), disc(RIM_UM / um)).astype(np.int32)
    return np.where(labels == 0, wide, labels)


def _cells(labels: Labels, nuclei: Labels, um: float) -> list[Piece]:
    """Nucleated cells and red cells; what is too small for either is left out."""
    found = regions(labels)
    areas = found.areas * um**2
    number = int(found.numbers.max(initial=0)) + 1
    nuclear = np.bincount(labels[nuclei > 0], minlength=number)[found.numbers] * um**2
    rim = np.zeros(number, bool)
    for line in (labels[:2], labels[-2:], labels[:, :2], labels[:, -2:]):
        rim[line] = True
    red = areas >= np.where(rim[found.numbers], RED_AT_BORDER_UM2, RED_UM2)
    kinds = np.where(nuclear >= 0.7 * NUCLEUS_UM2, NUCLEATED, np.where(red, RED_BLOOD_CELL, ""))
    return _pieces(labels, found, kinds.tolist())


def _pieces(labels: Labels, found: Regions, kinds: list[str]) -> list[Piece]:
    """The regions of `labels`, found[i] of kinds[i], that have a kind."""
    out = []
    rows = zip(kinds, found.numbers.tolist(), found.boxes.tolist(), found.centres.tolist(), found.areas.tolist(), strict=True)
    for index, (kind, number, (x0, y0, x1, y1), (x, y), area) in enumerate(rows):
        if kind:
            mask = (labels[y0:y1, x0:x1] == number).view(np.uint8)
            centre = x + 0.5, y + 0.5
            out.append(Piece(kind=kind, box=(x0, y0, x1, y1), centre=centre, mask=mask, ends=found.outline(index), area=area))
    return out
