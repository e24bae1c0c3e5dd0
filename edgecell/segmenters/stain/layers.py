"""What an image holds, pixel by pixel: background taken out, matter found, azure told from eosin and haemoglobin."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.segmenters.stain.density import Image, density, otsu, white_level
from edgecell.segmenters.stain.regions import Mask

PALE = 16
"""Density (1/64) from which on everything is matter; the cut is sought below, between background and pale cytoplasm."""
TYPICAL = 70
"""Percentile of the less azure matter that stands for red cells: pale cytoplasm lies below them."""
RIM = 0.35
"""Share of the red cells' own density that is taken for matter."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layers:
    """Maps of one working image, all (H, W).

    depth: uint8, density (1/64) in red and green light, where both dyes absorb. azure: uint8, how much of it is missing in blue
    light, which azure lets through and haemoglobin does not. matter: uint8 0/1, whatever is not background.
    red_depth, red_azure: typical values of the red cells.
    """

    depth: Image
    azure: Image
    matter: Mask
    red_depth: float
    red_azure: float


def layers(image: Image, shade_px: float) -> Layers:
    """The maps of an RGB image uint8 (H, W, 3); shade_px is the length over which illumination may change."""
    white = white_level(image)
    small = cv2.resize(image, (max(2, image.shape[1] // 4), max(2, image.shape[0] // 4)), interpolation=cv2.INTER_AREA)
    reach = 2 * round(max(shade_px / 8, 2.0)) + 1
    rough = _envelope(small.astype(np.uint8, copy=False), reach)
    flat = _brought_to(white, image, rough)
    darkness = _depth(density(flat, white))
    flat = _brought_to(white, image, _clear_mean(image, darkness <= matter_level(darkness), rough, reach))
    od = density(flat, white)
    depth = _depth(od)
    blue = np.ascontiguousarray(od[:, :, 2])
    whole = cv2.addWeighted(depth, 0.75, blue, 0.25, 0).astype(np.uint8, copy=False)
    first = whole > matter_level(whole)
    typical = float(np.median(whole[first])) if first.any() else 0.0
    matter = (whole > max(2.0, min(RIM * typical, PALE / 2))).astype(np.uint8)
    azure = cv2.subtract(depth, blue).astype(np.uint8, copy=False)
    inside = matter > 0
    red_depth, red_azure = _red(depth[inside], azure[inside])
    return Layers(depth=depth, azure=azure, matter=matter, red_depth=red_depth, red_azure=red_azure)


def _depth(od: Image) -> Image:
    return cv2.addWeighted(od[:, :, 0], 0.5, od[:, :, 1], 0.5, 0).astype(np.uint8, copy=False)


def matter_level(depth: Image) -> int:
    """The density between background and matter. What is denser than PALE is clipped: a nucleus must not pull it up."""
    return max(3, otsu(np.minimum(depth, PALE)))


def _envelope(small: Image, reach: int) -> NDArray[np.float32]:
    """The background under everything narrower than reach, float32 (h, w, 3): a closing goes over cells and follows slopes."""
    soft = cv2.blur(small, (3, 3))
    over = cv2.morphologyEx(soft, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8), borderType=cv2.BORDER_REFLECT)
    return cv2.blur(over, (reach, reach), borderType=cv2.BORDER_REFLECT).astype(np.float32)


def _clear_mean(image: Image, clear: NDArray[np.bool_], rough: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """The background as the local mean of what is clear, float32 (h, w, 3); `rough` where nothing is."""
    size = rough.shape[1], rough.shape[0]
    mask = clear.astype(np.uint8)
    share = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    light = cv2.resize(cv2.bitwise_and(image, image, mask=mask), size, interpolation=cv2.INTER_AREA).astype(np.float32)
    box = (reach, reach)
    light = cv2.blur(light, box, borderType=cv2.BORDER_REFLECT).astype(np.float32, copy=False)
    share = cv2.blur(share, box, borderType=cv2.BORDER_REFLECT)[:, :, None]
    mean: NDArray[np.float32] = (light + 0.02 * rough) / (share + np.float32(0.02))
    return mean


def _brought_to(white: NDArray[np.float32], image: Image, field: NDArray[np.float32]) -> Image:
    """The image with its background `field` (h, w, 3) brought to `white` everywhere: shading and seams taken out."""
    gain = cv2.resize(white / np.maximum(field, 1.0), (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(image, gain.astype(np.float32, copy=False), dtype=cv2.CV_8U).astype(np.uint8, copy=False)


def _red(depth: Image, azure: Image) -> tuple[float, float]:
    """Typical depth and azure of red cells: high in the less azure part of all matter."""
    if depth.size == 0:
        return 0.0, 0.0
    red = azure <= max(otsu(azure), 2)
    return float(np.percentile(depth[red], TYPICAL)), float(np.percentile(azure[red], TYPICAL))
