"""Micrometres per pixel: told by the settings or the camera, else measured on red cells and pooled over the run.

A red cell is a natural ruler: 7.2 um across (6.2 to 8.2 in health). One field holds too few for a firm figure and one slide has
one optics, so the diameters of the latest frames are pooled. Frames that disagree (another objective, another image size) are
not mixed: a frame is measured with those that look like it.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgecell.messages import PixelUmSource

RED_CELL_UM = 7.2
"""Typical diameter of a red cell on a smear."""
PLAUSIBLE_UM = (0.03, 1.0)
"""um per pixel of any microscope that resolves blood cells: 100x on small pixels to 10x on large ones."""
LEAST_CELLS = 3
"""Fewer round red cells say nothing: one of two may be a clump, the middle one of three is a cell."""
FIRM_CELLS = 30
FIRM_SPREAD = 0.12
"""So many red cells, so alike (half inter-quartile range by median), make a scale that one sparse frame cannot shake."""
WIDEST_SPREAD = 0.2
"""Largest half inter-quartile range, relative to the median, of diameters that may be called a measurement."""
SAME_OPTICS = 0.2
"""Frames whose medians differ by more than this fraction were not taken through the same optics."""
WINDOW = 200
"""Frames that are pooled."""
Diameters = NDArray[np.float64]


class Scale(NamedTuple):
    """um per pixel, None if unknown, and where it comes from."""

    pixel_um: float | None
    source: PixelUmSource


class PixelScale:
    """The scale of a run.

    pixel_um: from the settings; it wins over everything. Raises nothing: what cannot be known is `unknown`.
    """

    def __init__(self, pixel_um: float | None = None) -> None:
        self._settings = pixel_um
        self._frames: deque[tuple[float, Diameters]] = deque(maxlen=WINDOW)
        self._memory: deque[tuple[int, bytes]] = deque(maxlen=WINDOW)
        self._pooled = 0

    @property
    def memory(self) -> tuple[tuple[int, bytes], ...]:
        """What the frames have taught, oldest first: a number that grows, and diameters in px (float64, little endian)."""
        return tuple(self._memory)

    def remember(self, memory: Sequence[tuple[int, bytes]]) -> None:
        """Go on as the one whose memory this was. ValueError where it is none."""
        for number, diameters in memory:
            self._pooled = number
            self._take_in(np.frombuffer(diameters, "<f8"))

    def told(self, frame_pixel_um: float | None) -> Scale:
        """The scale as told: by the settings, else by the frame's optics; else unknown."""
        if self._settings is not None:
            return Scale(self._settings, "settings")
        if frame_pixel_um is not None:
            return Scale(frame_pixel_um, "optics")
        return Scale(None, "unknown")

    def firm(self) -> float | None:
        """um per pixel of the run so far if it is beyond doubt, else None."""
        diameters = np.concatenate([np.zeros(0), *(diameters for _, diameters in self._frames)])
        if diameters.size < FIRM_CELLS:
            return None
        middle, spread = _middle(diameters)
        return _scale(middle, spread).pixel_um if spread <= FIRM_SPREAD else None

    def pooled(self, diameters_px: Sequence[float]) -> Scale:
        """Take in the diameters (px) of one frame's round red cells; the scale from them and the frames that agree."""
        own = np.asarray(diameters_px, np.float64)
        if own.size == 0:
            return measure(np.concatenate([own, *(diameters for _, diameters in self._frames)]))
        middle = float(np.median(own))
        alike = [diameters for known, diameters in self._frames if abs(known / middle - 1.0) <= SAME_OPTICS]
        self._take_in(own)
        return measure(np.concatenate([*alike, own]))

    def _take_in(self, own: Diameters) -> None:
        self._frames.append((float(np.median(own)), own))
        self._memory.append((self._pooled, own.astype("<f8").tobytes()))
        self._pooled += 1


def measure(diameters_px: Diameters) -> Scale:
    """The scale that red cells of these diameters (px) give; unknown where they are few, scattered or implausible."""
    if diameters_px.size < LEAST_CELLS:
        return Scale(None, "unknown")
    return _scale(*_middle(diameters_px))


def _scale(middle_px: float, spread: float) -> Scale:
    pixel_um = RED_CELL_UM / max(middle_px, 1e-9)
    if not PLAUSIBLE_UM[0] <= pixel_um <= PLAUSIBLE_UM[1] or spread > WIDEST_SPREAD:
        return Scale(None, "unknown")
    return Scale(pixel_um, "estimated")


def _middle(diameters_px: Diameters) -> tuple[float, float]:
    """The median, and half the inter-quartile range relative to it."""
    low, middle, high = (float(v) for v in np.percentile(diameters_px, [25, 50, 75]))
    return middle, (high - low) / 2 / max(middle, 1e-9)
