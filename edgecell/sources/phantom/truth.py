"""What really lies in a phantom frame. Only the final comparison of a self-test and the tests may read it."""

from dataclasses import dataclass
from functools import lru_cache

from edgecell.messages import Kind
from edgecell.sources.phantom.options import Options
from edgecell.sources.phantom.view import View


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueCell:
    """One cell of a frame.

    label: its class (a nucleated class, "red_blood_cell" or "platelet"). cell_id: unique on the slide, the same in every frame.
    centre_px: (x, y), may lie outside the frame. box_px: (x0, y0, x1, y1), half-open, clipped to the frame.
    radius_um: of the circle of equal area.
    """

    cell_id: int
    label: str
    kind: Kind
    centre_px: tuple[float, float]
    box_px: tuple[int, int, int, int]
    radius_um: float
    wholly_inside: bool


def truth_of(options: Options, frame_index: int) -> tuple[TrueCell, ...]:
    """Every cell of which at least one pixel lies in the frame."""
    view = _view(options)
    found: list[TrueCell] = []
    for seen in view.at(frame_index):
        one = view.slide.individuals[seen.individual]
        x0, y0, x1, y1 = seen.box_px
        box = max(x0, 0), max(y0, 0), min(x1, options.width), min(y1, options.height)
        if box[0] >= box[2] or box[1] >= box[3]:
            continue
        found.append(
            TrueCell(
                cell_id=seen.cell_id,
                label=one.label,
                kind=one.kind,
                centre_px=(seen.x_px + 0.5, seen.y_px + 0.5),
                box_px=box,
                radius_um=one.radius_um,
                wholly_inside=box == seen.box_px,
            )
        )
    return tuple(found)


@lru_cache(maxsize=2)
def _view(options: Options) -> View:
    return View(options)
