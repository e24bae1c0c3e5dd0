"""Optical density: what the stain takes away from the light, free of exposure, white balance and shading.

Density is kept as uint8 in steps of 1/64 (natural logarithm): 0 is clear background, 255 stops 98 % of the light. Eight bits
hold all that an 8-bit camera can say of it, and a look-up makes it.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

STEPS = 64.0
Image = NDArray[np.uint8]


def white_level(image: Image) -> NDArray[np.float32]:
    """Level of the clear background, float32 (3,), 1-255, of an RGB image uint8 (H, W, 3).

    The most frequent green level of the bright end: clear background is bright and flat, so it makes a narrow peak even where
    it covers only a tenth of the image. Green, because both eosin and azure absorb it.
    """
    green = np.ascontiguousarray(image[:, :, 1])
    counts = cv2.calcHist([green], [0], None, [256], [0, 256]).ravel()
    smooth = np.convolve(counts, np.hanning(9)[1:-1], mode="same")
    share = np.cumsum(counts) / max(1.0, float(counts.sum()))
    top = int(np.searchsorted(share, 0.95))
    floor = int(top * 0.85)
    peak = floor + int(np.argmax(smooth[floor:]))
    near = cv2.inRange(green, max(0, peak - 4), min(255, peak + 4))
    if not near.any():
        near = cv2.inRange(green, peak, 255)
    level = np.asarray(cv2.mean(image, mask=near)[:3], dtype=np.float32)
    return np.maximum(level, 1.0)


def density(image: Image, white: NDArray[np.float32] | np.float32) -> Image:
    """Density below `white`, uint8 in steps of 1/64, 0 where it is brighter, of an image uint8: (H, W, 3) and (3,), or a plane
    (H, W) and its level."""
    grey = np.maximum(np.arange(256, dtype=np.float32), 1.0)
    table = np.clip(np.log(np.maximum(white, np.float32(1.0)) / grey.reshape(256, *[1] * np.ndim(white))) * STEPS, 0, 255)
    return cv2.LUT(image, np.rint(table).astype(np.uint8)[None]).astype(np.uint8, copy=False)


def otsu(values: Image) -> int:
    """The level that best parts uint8 values into two groups (Otsu 1979); above it is the upper group."""
    if values.size == 0:
        return 0
    return int(cv2.threshold(values.reshape(1, -1), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0])


def histogram(values: Image, mask: Image | None = None) -> NDArray[np.int64]:
    """How often each level occurs in a uint8 image, where `mask` is not 0: (256,)."""
    return cv2.calcHist([values], [0], mask, [256], [0, 256]).ravel().astype(np.int64)


def percentile(counts: NDArray[np.int64], share: float) -> float:
    """numpy's percentile `share`, 0-100, of uint8 values with this histogram (256,), of which there is at least one."""
    up_to = np.cumsum(counts)
    rank = share / 100 * float(up_to[-1] - 1)
    low, high = np.searchsorted(up_to, [int(rank), min(int(rank) + 1, int(up_to[-1]) - 1)], side="right").tolist()
    return float(low + (high - low) * (rank - int(rank)))
