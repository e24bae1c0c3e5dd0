"""Frames as an ideal camera would have given them: even, of the agreed white, with square pixels of known size.

Dark level, flat field and white balance are one factor for every value of a frame, worked out once and kept as a byte, in steps
of a 255th of the largest: what comes of a value is as if looked up in a table of all values by all factors. OpenCV multiplies
bytes faster than a table is read, and a map of bytes is a quarter of the memory that one of floats is. A factor is off by half
a step at most: where the largest is 2, by one grey value of 255. Nothing here learns from frames.
"""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.errors import SettingsError
from edgecell.messages import Frame
from edgecell.optics.file import FlatField, Grid, Optics

SQUARE = 0.005
"""Sides of a pixel that differ by less are taken for one: over the width of a cell that is a tenth of a pixel."""


class Correction:
    """What an optics file does to the frames of its camera."""

    def __init__(self, optics: Optics, where: str) -> None:
        """where: what an error calls the file."""
        self._optics, self._where = optics, where
        self._factors, self._step = in_steps(_factors(optics))
        dark = (0.0, 0.0, 0.0) if optics.flat is None else optics.flat.dark
        self._dark = np.rint([*dark, 0.0])
        self._square = None if optics.scale is None else _square(optics.size_px, optics.scale.pixel_um)
        self.pixel_um = None if optics.scale is None else optics.scale.square_um

    def __call__(self, frame: Frame) -> Frame:
        """The frame, corrected: its image is a new one, unless there is nothing to correct. It may have another size than the
        camera's, where the camera's pixels are no squares. Raises SettingsError for a frame of another camera's size."""
        height, width = frame.image.shape[:2]
        if (width, height) != self._optics.size_px:
            wide, high = self._optics.size_px
            what = f"{self._where}: size_px is {wide}x{high}, and the frame {frame.label or frame.index} is {width}x{height}"
            raise SettingsError(what, fix="use an optics file measured at this size, or leave [optics] out")
        image = self._even(frame.image)
        if self._square is not None:
            image = cv2.resize(image, self._square, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
        image.setflags(write=False)
        return replace(frame, image=image, pixel_um=self.pixel_um or frame.pixel_um)

    def _even(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if not self._factors.size:
            return image
        if self._dark.any():
            image = cv2.subtract(image, self._dark).astype(np.uint8, copy=False)
        return cv2.multiply(image, self._factors, scale=self._step).astype(np.uint8, copy=False)


def in_steps(factors: NDArray[np.float64]) -> tuple[NDArray[np.uint8], float]:
    """Factors as bytes, and what one of these is worth. Without factors there are none."""
    step = float(factors.max(initial=0.0)) / 255
    return np.rint(factors / max(step, 1e-9)).astype(np.uint8), step


def spread(grid: Grid, size: tuple[int, int]) -> NDArray[np.float64]:
    """A flat field's grid over a whole frame of (width, height) px: float64 (height, width), straight between its points."""
    values = np.array(grid, np.float64)
    return weights(size[1], len(values)) @ values @ weights(size[0], len(values[0])).T


def weights(length: int, points: int) -> NDArray[np.float64]:
    """(length, points): what each pixel of a line takes of each of the points that stand evenly along it, from end to end."""
    place = (np.arange(length) + 0.5) / length * (points - 1)
    return np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(points)))


def evening(flat: FlatField, size: tuple[int, int]) -> NDArray[np.float64]:
    """The factor of every value of a frame of (width, height) px, float64 (height, width, 3): with it, and without the dark
    level, clear background is everywhere as bright as at its brightest."""
    grids = (flat.red, flat.green, flat.blue)
    clear = [spread(grid, size) - dark for grid, dark in zip(grids, flat.dark, strict=True)]
    return np.stack([field.max() / field for field in clear], axis=2)


def _factors(optics: Optics) -> NDArray[np.float64]:
    """(height, width, 3); none at all where neither flat field nor white balance was measured."""
    if optics.flat is None and optics.white is None:
        return np.zeros(0)
    width, height = optics.size_px
    factors = np.ones((height, width, 3)) if optics.flat is None else evening(optics.flat, optics.size_px)
    if optics.white is not None:
        factors *= optics.white.aim / np.array(optics.white.level)
    return factors


def _square(size: tuple[int, int], pixel_um: tuple[float, float]) -> tuple[int, int] | None:
    """(width, height) px of a frame once its pixels are squares as fine as the finer side; None where they are."""
    across, down = pixel_um
    if abs(across / down - 1) <= SQUARE:
        return None
    finer = min(pixel_um)
    return round(size[0] * across / finer), round(size[1] * down / finer)
