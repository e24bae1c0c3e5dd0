"""What of the slide a frame looks at, in pixels. The one place where micrometres become pixels, for drawing and truth alike."""

import math
from dataclasses import dataclass
from functools import lru_cache

from edgecell.sources.phantom.options import Options
from edgecell.sources.phantom.slide import Slide
from edgecell.sources.phantom.stage import position_um


@dataclass(frozen=True, slots=True)
class Seen:
    """A placed cell near a frame, in frame pixels. x_px, y_px: of its centroid. box_px: half-open, not clipped."""

    cell_id: int
    individual: int
    turn: int
    x_px: int
    y_px: int
    box_px: tuple[int, int, int, int]


class View:
    """The slide under the stage. Cells and stage stand on one grid of whole pixels, so that overlapping frames agree."""

    def __init__(self, options: Options) -> None:
        self.slide = Slide(options)
        self._options = options
        self._box_px = lru_cache(maxsize=None)(self._outline_box_px)

    def corner_px(self, index: int) -> tuple[int, int]:
        """The frame's top left corner on the slide."""
        x, y = position_um(self._options, index)
        return round(x / self._options.pixel_um), round(y / self._options.pixel_um)

    def at(self, index: int) -> list[Seen]:
        """The cells in and around frame `index`."""
        o = self._options
        left, top = self.corner_px(index)
        cells = self.slide.cells(left * o.pixel_um, top * o.pixel_um, o.width * o.pixel_um, o.height * o.pixel_um)
        found: list[Seen] = []
        columns = (cells[name].tolist() for name in ("cell_id", "individual", "turn", "x_um", "y_um"))
        for cell_id, individual, turn, x_um, y_um in zip(*columns, strict=True):
            x, y = round(x_um / o.pixel_um) - left, round(y_um / o.pixel_um) - top
            x0, y0, x1, y1 = self._box_px(individual, turn)
            found.append(Seen(cell_id, individual, turn, x, y, (x + x0, y + y0, x + x1, y + y1)))
        return found

    def _outline_box_px(self, individual: int, turn: int) -> tuple[int, int, int, int]:
        """The half-open box of an individual around the pixel of its centroid."""
        outline = self.slide.individuals[individual].turned_um(turn) / self._options.pixel_um + 0.5
        (x0, y0), (x1, y1) = outline.min(axis=0), outline.max(axis=0)
        return math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)
