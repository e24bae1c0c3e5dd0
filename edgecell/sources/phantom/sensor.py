"""Optical density -> camera frame: lamp, vignette, defocus, shot and read noise.

The square root of a Poisson count has the same spread at every level, so shot noise is added to the square root of the
intensity (Anscombe 1948): one exponential, one addition and one square make a frame.
"""

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.sources.phantom import stain
from edgecell.sources.phantom.draw import STEPS
from edgecell.sources.phantom.options import Options

FULL_WELL: Final = 12_000.0  # electrons at level 255, a common industrial sensor
READ_NOISE: Final = 0.6  # levels, rms
BLUR_PER_UM: Final = 0.5  # um of blur (sigma) a um out of focus, for an oil immersion objective
_ROAM: Final = 64  # the noise tile is larger than the frame by this many pixels
_STRIP: Final = 64  # rows at a time: the work stays in the cache


class Sensor:
    """One camera on one microscope. Drawn once; `expose` makes a frame of a density buffer."""

    def __init__(self, options: Options) -> None:
        rng = np.random.default_rng((options.seed, 8))
        shape = (options.height + _ROAM, options.width + _ROAM, 3)
        self._seed, self._pixel_um = options.seed, options.pixel_um
        self._shot = rng.standard_normal(shape, dtype=np.float32)
        self._read = np.roll(self._shot, (shape[0] // 2, shape[1] // 3), (0, 1)) * np.float32(options.noise * READ_NOISE)
        self._shot *= np.float32(options.noise * 0.5 / math.sqrt(FULL_WELL))
        self.clear = _clear_field(options, rng)

    def expose(self, density: NDArray[np.int16], index: int, focus_um: float) -> NDArray[np.uint8]:
        """int16 (H, W, 3) density x draw.STEPS, the lamp in it -> uint8 (H, W, 3) RGB."""
        rng = np.random.default_rng((self._seed, index, 9))
        (down, right), flicker = rng.integers(0, _ROAM, 2), float(rng.normal(0.0, 0.006))
        sigma_px = BLUR_PER_UM * abs(focus_um) / self._pixel_um
        if sigma_px > 0.3:
            density = cv2.GaussianBlur(density, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE).astype(np.int16, copy=False)
        height, width = density.shape[:2]
        image: NDArray[np.uint8] = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, _STRIP):
            rows = density[top : top + _STRIP]
            window = slice(down + top, down + top + rows.shape[0]), slice(right, right + width)
            root = cv2.exp(rows.astype(np.float32) * np.float32(-0.5 / STEPS) + np.float32(0.5 * flicker))
            root = cv2.add(root, self._shot[window])
            level = cv2.multiply(root, root, scale=255.0)
            cv2.add(level, self._read[window], image[top : top + _STRIP], dtype=cv2.CV_8U)
        return image


def smeared(density: NDArray[np.int16], x_px: float, y_px: float) -> NDArray[np.int16]:
    """int16 (H, W, 3), drawn out evenly along a line of that extent; less than a pixel is no smear."""
    reach = math.ceil(max(abs(x_px), abs(y_px)) / 2)
    if max(abs(x_px), abs(y_px)) < 1.0:
        return density
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for at in np.linspace(-0.5, 0.5, 8 * reach + 1):
        kernel[round(reach + at * y_px), round(reach + at * x_px)] += 1
    return cv2.filter2D(density, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE).astype(np.int16, copy=False)


def _clear_field(options: Options, rng: np.random.Generator) -> NDArray[np.int16]:
    """Density x STEPS of the empty field: the lamp's colour, the vignette, a slope of colour across."""
    x = np.linspace(-1, 1, options.width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, options.height, dtype=np.float32)[:, None]
    middle = rng.normal(0.0, 0.12, 2)
    lamp = np.log(255.0 / np.array(stain.LAMP)) + rng.normal(0.0, 0.008, 3)
    slope = rng.normal(0.0, 0.008, (2, 3))
    darker = -math.log(1.0 - options.vignette) / 2.0
    across, down = darker * (x - middle[0]) ** 2, darker * (y - middle[1]) ** 2
    channels = [across + down + (x * slope[0, c] + y * slope[1, c] + lamp[c]) for c in range(3)]
    field = cv2.merge(channels)
    clear: NDArray[np.int16] = np.round(np.maximum(field, 0.0) * STEPS).astype(np.int16)
    return clear
