"""What an image holds, pixel by pixel: background taken out, matter found, azure told from eosin and haemoglobin."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.segmenters.stain.density import Image, density, histogram, otsu, percentile, white_level
from edgecell.segmenters.stain.regions import Mask

PALE = 16
"""Density (1/64) from which on everything is matter; the cut is sought below, between background and pale cytoplasm."""
TYPICAL = 70
"""Percentile of the less azure matter that stands for red cells: pale cytoplasm lies below them."""
RIM = 0.35
"""Share of the red cells' own density that is taken for matter."""


Field = NDArray[np.float32]


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
    planes = [plane.astype(np.uint8, copy=False) for plane in cv2.split(image)]
    reach = 2 * round(max(shade_px / 8, 2.0)) + 1
    rough = [_envelope(_quarter(plane), reach) for plane in planes]
    darkness = _depth(*_brought_to(white, planes[:2], rough))
    clear: Mask = (darkness <= matter_level(darkness)).view(np.uint8)
    red, green, blue = _brought_to(white, planes, _clear_mean(planes, clear, rough, reach))
    depth = _depth(red, green)
    whole = cv2.addWeighted(depth, 0.75, blue, 0.25, 0).astype(np.uint8, copy=False)
    counts = histogram(whole)
    counts[: matter_level(whole) + 1] = 0
    typical = percentile(counts, 50) if counts.any() else 0.0
    matter: Mask = (whole > np.uint8(max(2.0, min(RIM * typical, PALE / 2)))).view(np.uint8)
    azure = cv2.subtract(depth, blue).astype(np.uint8, copy=False)
    red_depth, red_azure = _red(depth, azure, matter)
    return Layers(depth=depth, azure=azure, matter=matter, red_depth=red_depth, red_azure=red_azure)


def _depth(red: Image, green: Image) -> Image:
    return cv2.addWeighted(red, 0.5, green, 0.5, 0).astype(np.uint8, copy=False)


def matter_level(depth: Image) -> int:
    """The density between background and matter. What is denser than PALE is clipped: a nucleus must not pull it up."""
    return max(3, otsu(np.minimum(depth, np.uint8(PALE))))


def _quarter(plane: Image) -> Image:
    """A plane uint8 (H, W) at a quarter of its size, up to three rows and columns left out: means of 2x2 pixels are quick."""
    height, width = plane.shape[0] // 4, plane.shape[1] // 4
    half = cv2.resize(plane[: 4 * height, : 4 * width], (2 * width, 2 * height), interpolation=cv2.INTER_AREA)
    return cv2.resize(half, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _envelope(small: Image, reach: int) -> Field:
    """The background under everything narrower than reach, float32 (h, w): a closing goes over cells and follows slopes."""
    soft = cv2.blur(small, (3, 3))
    over = cv2.morphologyEx(soft, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8), borderType=cv2.BORDER_REFLECT)
    return cv2.blur(over, (reach, reach), borderType=cv2.BORDER_REFLECT).astype(np.float32)


def _clear_mean(planes: list[Image], clear: Mask, rough: list[Field], reach: int) -> list[Field]:
    """The background of each plane as the local mean of what is clear, float32 (h, w); `rough` where nothing is."""
    shown = clear * np.uint8(255)
    share = _blurred(_quarter(shown), reach) / np.float32(255) + np.float32(0.02)
    light = [_blurred(_quarter(cv2.bitwise_and(plane, shown).astype(np.uint8, copy=False)), reach) for plane in planes]
    return [(some + np.float32(0.02) * field) / share for some, field in zip(light, rough, strict=True)]


def _blurred(small: Image, reach: int) -> Field:
    field = small.astype(np.float32)
    return cv2.blur(field, (reach, reach), borderType=cv2.BORDER_REFLECT).astype(np.float32, copy=False)


def _brought_to(white: NDArray[np.float32], planes: list[Image], fields: list[Field]) -> list[Image]:
    """Density of the planes below `white` once their background `fields` are brought to it: shading and seams taken out."""
    out = []
    for level, plane, field in zip(white, planes, fields, strict=False):
        gain = cv2.resize(level / np.maximum(field, np.float32(1.0)), plane.shape[::-1], interpolation=cv2.INTER_LINEAR)
        flat = cv2.multiply(plane, gain.astype(np.float32, copy=False), dtype=cv2.CV_8U).astype(np.uint8, copy=False)
        out.append(density(flat, level))
    return out


def _red(depth: Image, azure: Image, matter: Mask) -> tuple[float, float]:
    """Typical depth and azure of red cells: high in the less azure part of all matter."""
    counts = histogram(azure, matter)
    if not counts.any():
        return 0.0, 0.0
    level = max(otsu(np.repeat(np.arange(256, dtype=np.uint8), counts)), 2)
    red: Mask = (azure <= np.uint8(level)).view(np.uint8) & matter
    counts[level + 1 :] = 0
    return percentile(histogram(depth, red), TYPICAL), percentile(counts, TYPICAL)
