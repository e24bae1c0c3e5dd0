"""From an image's layers to its cells: matter made whole and parted into cells, each told by stain and size.

Sizes are in micrometres; `um` is the working image's micrometres per pixel, or a first guess of it.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from edgecell.messages import NUCLEATED, PLATELET, RED_BLOOD_CELL
from edgecell.segmenters.stain.layers import Layers
from edgecell.segmenters.stain.nuclei import NUCLEUS_UM2, Labels, find_nuclei, join_in_one_cell
from edgecell.segmenters.stain.platelets import find_platelets
from edgecell.segmenters.stain.regions import Mask, closed, components, dilated, disc, distance, opened, points
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
    """One cell in the working image. box: x0, y0, x1, y1 half-open. mask: uint8 0/1 inside the box. centre: x, y. area: px."""

    kind: str
    box: tuple[int, int, int, int]
    centre: tuple[float, float]
    mask: Mask
    area: int


def find_cells(maps: Layers, um: float) -> list[Piece]:
    """All cells of a working image, in no particular order."""
    nuclei = find_nuclei(maps, um)
    matter: Mask = whole_matter(maps, um) | (nuclei > 0).astype(np.uint8)
    nuclei = join_in_one_cell(nuclei, distance(matter, cv2.BORDER_REPLICATE), um)
    spots = find_platelets(maps, matter, nuclei, um)
    ground: Mask = matter & (spots == 0).astype(np.uint8)
    labels = gather(part(ground, nuclei, maps, um), nuclei)
    labels = rimmed(trimmed(labels, nuclei, um), um)
    return _cells(labels, nuclei, um) + _pieces(spots, [PLATELET] * (int(spots.max(initial=0)) + 1))


def whole_matter(maps: Layers, um: float) -> Mask:
    """Matter with the pale middles of red cells filled, also through a broken rim; gaps between touching cells stay open."""
    level = np.minimum(maps.depth, np.uint8(np.clip(round(maps.red_depth), 3, 255)))
    valley = cv2.morphologyEx(level, cv2.MORPH_BLACKHAT, disc(0.6 / um))
    apart: Mask = maps.matter & (valley <= max(2.0, VALLEY * maps.red_depth)).astype(np.uint8)
    filled: Mask = apart | _holes(1 - apart, um, 0.0)
    rims = closed(filled, disc(BROKEN_UM / um))
    filled |= dilated(_holes(1 - rims, um, BROKEN_LEAST_UM2), disc(BROKEN_UM / um + 1.0))
    return opened(filled, disc(THIN_UM / um))


def _holes(clear: Mask, um: float, least_um2: float) -> Mask:
    """The pale middles among the regions of `clear`, and its pinholes where least_um2 lets them through."""
    parts = components(clear, connectivity=4)
    sizes = parts.areas * um**2
    sizes[0] = np.inf
    chosen = ((sizes >= least_um2) & (sizes < PINHOLE_UM2)).astype(np.uint8)
    for index in np.flatnonzero((sizes >= max(least_um2, PINHOLE_UM2)) & (sizes <= PALLOR_UM2)).tolist():
        x, y, width, height = parts.boxes[index].tolist()
        region = (parts.labels[y : y + height, x : x + width] == index).astype(np.uint8)
        hull = cv2.contourArea(cv2.convexHull(cv2.findNonZero(region))) + 0.5 * (width + height)
        chosen[index] = int(parts.areas[index]) >= CONVEX * hull
    mask: Mask = chosen[parts.labels]
    return mask


def part(ground: Mask, nuclei: Labels, maps: Layers, um: float) -> Labels:
    """Labels int32 (H, W) of the cells in `ground`: parted at necks and around overlaps; a nucleus is a summit of its own."""
    depth = np.minimum(maps.depth, np.uint8(min(255.0, 3 * maps.red_depth + 1))).astype(np.float32)
    smooth = cv2.GaussianBlur(depth, (0, 0), SMOOTH_UM / um)
    pale = np.clip(1.0 - smooth / max(maps.red_depth, 1.0), -1.0, 1.0)
    caps = np.zeros(ground.shape, np.uint8)
    for pixels in points(nuclei):
        cv2.fillConvexPoly(caps, cv2.convexHull(pixels), 1)
    pale[dilated(caps, disc(CYTOPLASM_UM / um)) > 0] = CYTOPLASM_PALE
    relief = distance(ground, cv2.BORDER_CONSTANT) + np.float32(OVERLAP_UM / um) * pale
    relief = np.maximum(relief, np.float32(0.5))
    relief[caps > 0] = 2 * float(relief.max(initial=0.0))
    relief = cv2.GaussianBlur(relief, (5, 5), 0) * ground
    return split(relief.astype(np.float32, copy=False), relative_depth=PASS_SHARE, least_depth=PASS_UM / um)


def gather(labels: Labels, nuclei: Labels) -> Labels:
    """Labels where all pieces that lie over the same nucleus are one."""
    number, count = int(labels.max(initial=0)) + 1, int(nuclei.max(initial=0)) + 1
    flat = labels.ravel().astype(np.int64) * count + nuclei.ravel()
    over = np.bincount(flat, minlength=number * count).reshape(number, count)
    joined = np.arange(number, dtype=np.int32)
    whole = over[:, 1:].sum(axis=0, keepdims=True)
    covered = over[:, 1:] > np.minimum(OWN_SHARE * over.sum(axis=1, keepdims=True), OWN_NUCLEUS * whole)
    covered[0] = False
    for nucleus in range(1, count):
        mine = np.flatnonzero(covered[:, nucleus - 1] & (over[:, 1:].argmax(axis=1) == nucleus - 1))
        if mine.size > 1:
            joined[mine] = mine[over[mine, nucleus].argmax()]
    return joined[labels]


def trimmed(labels: Labels, nuclei: Labels, um: float) -> Labels:
    """Labels where nucleated cells have lost what hangs on to them by a thread."""
    out = labels.copy()
    element = disc(TAIL_UM / um)
    for index, pixels in enumerate(points(nuclei), start=1):
        own = int(np.bincount(labels[pixels[:, 1], pixels[:, 0]]).argmax())
        if own:
            x, y, width, height = cv2.boundingRect((labels == own).view(np.uint8))
            window = np.s_[y : y + height, x : x + width]
            cell, inner = labels[window] == own, nuclei[window] == index
            core = components(opened(cell.view(np.uint8), element) | inner.view(np.uint8)).labels
            out[window][cell & (core != np.bincount(core[inner]).argmax())] = 0
    return out


def rimmed(labels: Labels, um: float) -> Labels:
    """Labels grown over the background by the outline's half shadow."""
    wide = cv2.dilate(labels.astype(np.float32), disc(RIM_UM / um)).astype(np.int32)
    return np.where(labels == 0, wide, labels)


def _cells(labels: Labels, nuclei: Labels, um: float) -> list[Piece]:
    """Nucleated cells and red cells; what is too small for either is left out."""
    number = int(labels.max(initial=0)) + 1
    areas = np.bincount(labels.ravel(), minlength=number) * um**2
    nuclear = np.bincount(labels[nuclei > 0], minlength=number) * um**2
    rim = np.zeros(number, bool)
    for line in (labels[:2], labels[-2:], labels[:, :2], labels[:, -2:]):
        rim[line] = True
    red = areas >= np.where(rim, RED_AT_BORDER_UM2, RED_UM2)
    kinds = np.where(nuclear >= 0.7 * NUCLEUS_UM2, NUCLEATED, np.where(red, RED_BLOOD_CELL, ""))
    return _pieces(labels, kinds.tolist())


def _pieces(labels: Labels, kinds: list[str]) -> list[Piece]:
    """The regions of `labels` that have a kind."""
    flat = labels.ravel()
    places = np.flatnonzero(flat)
    if places.size == 0:
        return []
    # numpy sorts 16-bit keys by radix, several times as fast; a frame with more pieces is noise but must not be misread
    keys = flat[places].astype(np.uint16) if len(kinds) <= 1 << 16 else flat[places]
    order = np.argsort(keys, kind="stable")
    places = places[order]
    rows, columns = np.divmod(places.astype(np.int32), np.int32(labels.shape[1]))
    values = flat[places]
    first = np.flatnonzero(np.diff(values, prepend=0))
    sizes = np.diff(first, append=values.size)
    extent = [f.reduceat(v, first).tolist() for v in (columns, rows) for f in (np.minimum, np.maximum)]
    middle = [(np.add.reduceat(v, first) / sizes + 0.5).tolist() for v in (columns, rows)]
    out = []
    for index, area, x0, x1, y0, y1, x, y in zip(values[first].tolist(), sizes.tolist(), *extent, *middle, strict=True):
        if kinds[index]:
            mask = (labels[y0 : y1 + 1, x0 : x1 + 1] == index).view(np.uint8)
            out.append(Piece(kind=kinds[index], box=(x0, y0, x1 + 1, y1 + 1), centre=(x, y), mask=mask, area=area))
    return out
