"""Grain, masks and dots: what every cell is drawn with. All fields are float32, (side, side), at DRAWN_UM per pixel."""

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Points = NDArray[np.float64]

DRAWN_UM: Final = 0.1
_TILE: Final = 384
_SUBPIXEL: Final = 4  # cv2's fixed-point bits for drawing
# Grain size as (sigma of the finer blur, of the coarser blur) in drawn pixels.
_GRAINS: Final = {"fine": (0.9, 2.0), "lace": (1.3, 3.2), "clump": (2.2, 5.0), "cloud": (6.0, 14.0)}


def blur(field: Field, sigma: float) -> Field:
    return cv2.GaussianBlur(field, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101).astype(np.float32, copy=False)


def step(field: Field, low: float, high: float) -> Field:
    """0 below low, 1 above high, smooth between."""
    t = np.clip((field - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
    smooth: Field = t * t * (3.0 - 2.0 * t)
    return smooth


class Grain:
    """Band-passed noise of a few sizes, mean 0 and sd 1, made once: a patch costs a copy."""

    def __init__(self, rng: np.random.Generator) -> None:
        noise = rng.standard_normal((_TILE, _TILE), dtype=np.float32)
        self._fields: dict[str, Field] = {}
        for name, (finer, coarser) in _GRAINS.items():
            band = blur(noise, finer) - blur(noise, coarser)
            self._fields[name] = band / np.float32(band.std())

    def patch(self, rng: np.random.Generator, name: str, side: int) -> Field:
        y, x = rng.integers(0, _TILE - side, 2)
        piece: Field = self._fields[name][y : y + side, x : x + side]
        return np.ascontiguousarray(np.rot90(piece, int(rng.integers(0, 4))))


def filled(side: int, *outlines_um: Points) -> Field:
    """1 inside any of the outlines (um around the middle), 0 outside, soft at the border."""
    canvas = np.zeros((side, side), np.uint8)
    for outline in outlines_um:
        fixed = np.round((outline / DRAWN_UM + side // 2) * (1 << _SUBPIXEL)).astype(np.int32)
        cv2.fillPoly(canvas, [fixed], 255, cv2.LINE_AA, _SUBPIXEL)
    return canvas.astype(np.float32) / np.float32(255.0)


def line(side: int, path_um: Points, width_um: float) -> Field:
    """A stroke along a path, as `filled`."""
    canvas = np.zeros((side, side), np.uint8)
    fixed = np.round((path_um / DRAWN_UM + side // 2) * (1 << _SUBPIXEL)).astype(np.int32)
    cv2.polylines(canvas, [fixed], False, 255, max(1, round(width_um / DRAWN_UM)), cv2.LINE_AA, _SUBPIXEL)
    return canvas.astype(np.float32) / np.float32(255.0)


def dots(side: int, places_um: Points, radii_um: NDArray[np.float64]) -> Field:
    """1 in the discs, 0 outside."""
    canvas = np.zeros((side, side), np.uint8)
    scale = 1 << _SUBPIXEL
    fixed = np.round((places_um / DRAWN_UM + side // 2) * scale).astype(int).tolist()
    for (x, y), radius in zip(fixed, np.round(radii_um / DRAWN_UM * scale).astype(int).tolist(), strict=True):
        cv2.circle(canvas, (x, y), radius, 255, -1, cv2.LINE_AA, _SUBPIXEL)
    return canvas.astype(np.float32) / np.float32(255.0)


def depth_um(mask: Field) -> Field:
    """How far inside the mask each pixel lies."""
    inside = (mask > 0.5).astype(np.uint8)
    found = cv2.distanceTransform(inside, cv2.DIST_L2, 3).astype(np.float32, copy=False)
    return found * np.float32(DRAWN_UM)


def ellipse(centre_um: tuple[float, float], radii_um: tuple[float, float], tilt: float) -> Points:
    angle = np.linspace(0.0, 2.0 * math.pi, 48, endpoint=False)
    x, y = radii_um[0] * np.cos(angle), radii_um[1] * np.sin(angle)
    cos, sin = math.cos(tilt), math.sin(tilt)
    return np.stack([centre_um[0] + x * cos - y * sin, centre_um[1] + x * sin + y * cos], axis=1)


def scattered(rng: np.random.Generator, count: int, radius_um: float) -> Points:
    """Points evenly over a disc."""
    r, angle = radius_um * np.sqrt(rng.random(count)), rng.uniform(0.0, 2.0 * math.pi, count)
    return np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1)
