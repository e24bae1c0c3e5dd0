"""One view of a labelled field: what the network sees, and what it is to answer."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.augment import appearance
from calibration.spots.recipe import Recipe
from calibration.spots.sheet import IGNORED, Sheet
from edgecell.preprocess import field_values
from edgecell.segmenters.network.decode import STRIDE

LEAST_SEEN = 0.2
"""Share of a cell's box that must be in view for the cell to be asked for."""
PEAK = 6.0
"""A middle's Gaussian has a standard deviation of a PEAK-th of the cell's width and height."""
CORE, OFF_CORE = 0.5, 0.3
"""Where a box counts fully, in radii, and how much it counts elsewhere on the cell."""
Map = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """values: float32 (3, S, S). On the grid (g, g): heat (K, g, g) 0-1; reach (4, g, g) in grid cells, its weight `whole`
    (g, g), which over a cell is the gain of its kind; inside 0/1; known 0/1, where labels say something."""

    values: Map
    heat: Map
    reach: Map
    whole: Map
    inside: Map
    known: Map


def view(rng: np.random.Generator, sheet: Sheet, recipe: Recipe, gains: NDArray[np.float64]) -> View:
    """A random view. gains: (K,) how much a cell of each kind counts."""
    how, side = recipe.training.view, recipe.training.view.side_px
    matrix = _placed(rng, sheet, recipe)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(sheet.image, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    image: NDArray[np.uint8] = warped.astype(np.uint8, copy=False)
    if rng.random() >= how.look.plain:
        spec = type(recipe.preprocess)(
            pixel_um=recipe.work_um, crop_um=side * recipe.work_um, size_px=side, mean=(0, 0, 0), std=(1, 1, 1)
        )
        image = appearance(rng, image, spec, how.look)
    values = field_values(image, recipe.preprocess)
    there = cv2.warpAffine(
        np.ones(sheet.image.shape[:2], np.uint8), matrix, (side, side), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    )
    values *= there
    return _asked(sheet, matrix, values, gains)


def _placed(rng: np.random.Generator, sheet: Sheet, recipe: Recipe) -> NDArray[np.float64]:
    """2x3 matrix from the view's pixels to the sheet's: mirrored, turned, scaled, shifted."""
    how, side = recipe.training.view, recipe.training.view.side_px
    spread = how.wide if rng.random() < how.wide_share else how.scale
    zoom = recipe.work_um / sheet.um * np.exp(rng.uniform(-spread, spread))
    squash = rng.normal(0, how.squash) + (np.log(sheet.squash) if rng.random() < how.unsquash else 0.0)
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < how.turn else rng.integers(4) * np.pi / 2
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn[:, 0] *= rng.choice((-1, 1))
    turn = np.diag(zoom * np.exp([squash / 2, -squash / 2])) @ turn
    height, width = sheet.image.shape[:2]
    back = np.linalg.inv(turn)
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ back.T
    low, high = corners.min(axis=0), corners.max(axis=0)
    free = side - (high - low)  # how much smaller than the view the field is; negative: larger
    offset = np.where(rng.random(2) < 0.3, np.rint(rng.random(2)), rng.random(2)) * free
    # view = back @ sheet - low + offset
    return np.hstack([turn, (turn @ (low - offset))[:, None]])


def _asked(sheet: Sheet, matrix: NDArray[np.float64], values: Map, gains: NDArray[np.float64]) -> View:
    side = values.shape[1]
    cells = side // STRIDE
    grid = matrix.copy()
    grid[:, 2] += matrix[:, :2] @ np.full(2, (STRIDE - 1) / 2)
    grid[:, :2] *= STRIDE
    owners = cv2.warpAffine(
        sheet.owners,
        grid,
        (cells, cells),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=float(IGNORED),
    )
    boxes = _moved(sheet.boxes, matrix) / STRIDE
    seen = np.clip(boxes, 0, cells)
    share = np.prod(seen[:, 2:] - seen[:, :2], axis=1) / np.maximum(1e-6, np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    for number in np.flatnonzero(share < LEAST_SEEN) + 1:
        owners[owners == number] = IGNORED
    heat = np.zeros((len(gains), cells, cells), np.float32)
    middle = np.arange(cells, dtype=np.float32) + np.float32(0.5)
    for index in np.flatnonzero(share >= LEAST_SEEN).tolist():
        x0, y0, x1, y1 = seen[index].tolist()
        x, y = min(int((x0 + x1) / 2), cells - 1), min(int((y0 + y1) / 2), cells - 1)
        across = ((middle - middle[x]) / max(0.5, (x1 - x0) / 2)) ** 2
        down = ((middle - middle[y]) / max(0.5, (y1 - y0) / 2)) ** 2
        plane = heat[sheet.kinds[index]]
        np.maximum(plane, np.exp((across[None] + down[:, None]) * np.float32(-(PEAK**2) / 8)), out=plane)
        owners[y, x] = index + 1
    mine = owners > 0
    x0, y0, x1, y1 = np.vstack([np.zeros((1, 4)), seen])[np.maximum(owners, 0)].transpose(2, 0, 1).astype(np.float32)
    x, y = middle[None], middle[:, None]
    reach = np.maximum(np.stack([x - x0, y - y0, x1 - x, y1 - y]), np.float32(0.2))
    away = ((2 * x - x0 - x1) / np.maximum(1, x1 - x0)) ** 2 + ((2 * y - y0 - y1) / np.maximum(1, y1 - y0)) ** 2
    whole = np.where(away < CORE**2, 1.0, OFF_CORE) * mine
    whole /= np.bincount(owners[mine], whole[mine], len(sheet.boxes) + 1).clip(1e-6)[np.maximum(owners, 0)]
    whole *= np.append(1.0, gains[sheet.kinds])[np.maximum(owners, 0)]
    return View(
        values=values,
        heat=heat,
        reach=reach,
        whole=whole.astype(np.float32),
        inside=mine.astype(np.float32),
        known=(owners != IGNORED).astype(np.float32),
    )


def _moved(boxes: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Boxes (N, 4) of the sheet in the view: those of the ellipses in them, which a turn by quarters leaves as they are."""
    back = np.linalg.inv(matrix[:, :2])
    middle = ((boxes[:, :2] + boxes[:, 2:]) / 2 - 0.5 - matrix[:, 2]) @ back.T + 0.5
    half = np.sqrt(((boxes[:, 2:] - boxes[:, :2]) / 2) ** 2 @ (back**2).T)
    return np.hstack([middle - half, middle + half])
