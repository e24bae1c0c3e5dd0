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
        self._ordered: Diameters = np.zeros(0)
        """All diameters of `_frames`, smallest first: a crowded run has 60,000, too many to be ordered anew for each frame."""
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
        if self._ordered.size < FIRM_CELLS:
            return None
        middle, spread = _middle(self._ordered)
        return _scale(middle, spread).pixel_um if spread <= FIRM_SPREAD else None

    def pooled(self, diameters_px: Sequence[float]) -> Scale:
        """Take in the diameters (px) of one frame's round red cells; the scale from them and the frames that agree."""
        own = np.asarray(diameters_px, np.float64)
        if own.size == 0:
            return _measured(self._ordered)
        middle = float(np.median(own))
        alike = [diameters for known, diameters in self._frames if abs(known / middle - 1.0) <= SAME_OPTICS]
        ordered = self._ordered if len(alike) == len(self._frames) else np.sort(np.concatenate([np.zeros(0), *alike]))
        scale = _measured(_with(ordered, own))
        self._take_in(own)
        return scale

    def _take_in(self, own: Diameters) -> None:
        if len(self._frames) == WINDOW:
            self._ordered = _without(self._ordered, self._frames[0][1])
        self._ordered = _with(self._ordered, own)
        self._frames.append((float(np.median(own)), own))
        self._memory.append((self._pooled, own.astype("<f8").tobytes()))
        self._pooled += 1


def _with(ordered: Diameters, own: Diameters) -> Diameters:
    """The diameters, smallest first, and a frame's own among them."""
    some = np.sort(own)
    return np.insert(ordered, np.searchsorted(ordered, some), some)


def _without(ordered: Diameters, own: Diameters) -> Diameters:
    """`_with` undone. Of diameters that are equal each takes out one."""
    some = np.sort(own)
    return np.delete(ordered, np.searchsorted(ordered, some) + np.arange(some.size) - np.searchsorted(some, some))


def _measured(ordered: Diameters) -> Scale:
    """The scale that red cells of these diameters (px), smallest first, give; unknown where they are few, scattered or
    implausible."""
    if ordered.size < LEAST_CELLS:
        return Scale(None, "unknown")
    return _scale(*_middle(ordered))


def _scale(middle_px: float, spread: float) -> Scale:
    pixel_um = RED_CELL_UM / max(middle_px, 1e-9)
    if not PLAUSIBLE_UM[0] <= pixel_um <= PLAUSIBLE_UM[1] or spread > WIDEST_SPREAD:
        return Scale(None, "unknown")
    return Scale(pixel_um, "estimated")


def _middle(ordered: Diameters) -> tuple[float, float]:
    """The median of values, smallest first, and half the inter-quartile range relative to it."""
    low, middle, high = (_quantile(ordered, share) for share in (0.25, 0.5, 0.75))
    return middle, (high - low) / 2 / max(middle, 1e-9)


def _quantile(ordered: Diameters, share: float) -> float:
    """As numpy's, to the last bit: between the two values next to the place."""
    place = share * (ordered.size - 1)
    below, part = int(place), place - int(place)
    one, other = float(ordered[below]), float(ordered[min(below + 1, ordered.size - 1)])
    return one + (other - one) * part if part < 0.5 else other - (other - one) * (1 - part)
