"""The network's maps -> outlines, for whoever asks."""

from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.segmenters.network.decode import INSIDE, owners
from edgecell.segmenters.network.look import Look


class Grid:
    """What all outlines of one frame share: made for the first of them."""

    def __init__(self, seen: Look) -> None:
        self._seen = seen
        self.steps = seen.steps

    @cached_property
    def owners(self) -> NDArray[np.int32]:
        """Whose each grid cell is: 0 for nobody's, else 1 + the index of a cell."""
        return owners(self._seen.found, self._seen.maps)

    @cached_property
    def share(self) -> NDArray[np.uint8]:
        """How surely a grid cell is any cell's, 0-255."""
        share: NDArray[np.uint8] = np.rint(255 / (1 + np.exp(-self._seen.maps[INSIDE][0]))).astype(np.uint8)
        return share


class CellOutline(NamedTuple):
    """One cell's. number: 1 + its index in the frame. box: in pixels of the frame. pixel_um: None where it is unknown."""

    grid: Grid
    number: int
    box: tuple[int, int, int, int]
    pixel_um: float | None

    def mask(self) -> NDArray[np.uint8]:
        """uint8 0/1 inside the box: between grid cells, how surely a pixel is the cell's is interpolated."""
        x0, y0, x1, y1 = self.box
        steps, share = self.grid.steps, self.grid.share
        top, left = max(0, int(y0 / steps[1]) - 1), max(0, int(x0 / steps[0]) - 1)
        window = np.s_[top : int(y1 / steps[1]) + 2, left : int(x1 / steps[0]) + 2]
        part = share[window]
        mine = np.where(self.grid.owners[window] == self.number, part, np.minimum(part, 255 - part))
        size = max(1, round(mine.shape[1] * steps[0])), max(1, round(mine.shape[0] * steps[1]))
        fine = cv2.resize(mine, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
        y, x = y0 - round(top * steps[1]), x0 - round(left * steps[0])
        mask = np.right_shift(fine[y : y + y1 - y0, x : x + x1 - x0], np.uint8(7))
        below, beside = y1 - y0 - mask.shape[0], x1 - x0 - mask.shape[1]
        if below or beside:  # the grid is rounded: at the frame's far border it may end a pixel early
            mask = np.pad(mask, ((0, below), (0, beside)), mode="edge")
        return mask

    def area_um2(self) -> float | None:
        return None if self.pixel_um is None else int(cv2.countNonZero(self.mask())) * self.pixel_um**2
