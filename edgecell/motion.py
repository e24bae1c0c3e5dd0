"""Whether the slide moved while the shutter was open: borders along its way stay sharp, those across it do not."""

import cv2
import numpy as np
from numpy.typing import NDArray

MOVING = "moving"
LIMIT = 2.0
"""How unlike the borders of a frame that is counted may be (`unlike`). Of 306 sharp fields (every third of TXL-PBC, train) none
reaches 1.95, and half have 2.1 when smeared over 3 um; on the drawn slide a smear of 4 um has 2.1 to 2.6."""

_PX_UM = 0.2  # um per pixel at which it is measured, and sigma of the smoothing against noise
_SIDE = 512  # px of those, longest side of the middle part that is measured
_STEEPEST = 0.9  # quantile of the gradients: the borders
_EVERY = 5  # gradient that the quantile is taken from: in half the time, `unlike` is at most 0.7 % another (230 fields, train)


def is_moving(image: NDArray[np.uint8], pixel_um: float) -> bool:
    """Whether a frame, uint8 (H, W, 3), is smeared over so much that it should not be counted."""
    return unlike(image, pixel_um) > LIMIT


def unlike(image: NDArray[np.uint8], pixel_um: float) -> float:
    """How many times as steep the borders of a frame, uint8 (H, W, 3), are where they are steepest as across that direction.

    These are the axes of the structure tensor. Cells are round on the whole, so 1 and little more where nothing moved.
    """
    sides = [min(length, round(_SIDE * _PX_UM / pixel_um)) for length in image.shape[:2]]
    top, left = ((length - side) // 2 for length, side in zip(image.shape[:2], sides, strict=True))
    middle = cv2.extractChannel(image[top : top + sides[0], left : left + sides[1]], 1)
    scale = min(1.0, pixel_um / _PX_UM)
    size = max(1, round(sides[1] * scale)), max(1, round(sides[0] * scale))
    grey = cv2.resize(middle, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    smooth = cv2.GaussianBlur(grey, (0, 0), max(0.7, _PX_UM * scale / pixel_um))
    right, down = (cv2.Sobel(smooth, cv2.CV_32F, 1 - axis, axis).ravel() for axis in (0, 1))
    steepness = right * right + down * down
    some = steepness[::_EVERY]
    place = int(_STEEPEST * (some.size - 1))
    borders = steepness >= np.partition(some, place)[place]
    right, down = right[borders], down[borders]
    whole, apart = float(right @ right + down @ down), float(np.hypot(right @ right - down @ down, 2 * (right @ down)))
    return float(np.sqrt((whole + apart) / max(whole - apart, 1e-9)))
