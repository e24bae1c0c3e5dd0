"""Red cells as a ruler for both sides of a pixel, on discs drawn with the spread of real cells."""

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell.errors import NotMeasurable
from edgecell.messages import NUCLEATED, RED_BLOOD_CELL, Cell
from edgecell.optics.redcells import diameters, pixel_size


class Mask(NamedTuple):
    pixels: NDArray[np.uint8]

    def mask(self) -> NDArray[np.uint8]:
        return self.pixels

    def area_um2(self) -> float | None:
        return None


def drawn(count: int, pixel_um: tuple[float, float], spread: float = 0.06, kind: str = RED_BLOOD_CELL) -> list[Cell]:
    """Ellipses 7.2 um across, a tenth longer one way than the other, lying every way."""
    rng = np.random.default_rng(0)
    cells = []
    for index in range(count):
        long, turn = 3.6 * np.exp(rng.normal(0, spread)) * 1.05, rng.uniform(0, np.pi)
        y, x = np.mgrid[-60:61, -60:61]
        across, down = x * pixel_um[0], y * pixel_um[1]
        along, beside = across * np.cos(turn) + down * np.sin(turn), down * np.cos(turn) - across * np.sin(turn)
        mask = ((along / long) ** 2 + (beside / (long / 1.1)) ** 2 < 1).astype(np.uint8)
        cells.append(
            Cell(
                frame_index=0,
                cell_index=index,
                kind=kind,
                box_px=(100, 100, 221, 221),
                centre_px=(160, 160),
                outline=Mask(mask),
            )
        )
    return cells


@pytest.mark.parametrize("pixel_um", [(0.1, 0.1), (0.1, 0.12), (0.11, 0.1)])
def test_both_sides_are_found(pixel_um: tuple[float, float]) -> None:
    """Taking pixels for squares a segmenter measures the geometric mean."""
    mean_um = float(np.sqrt(pixel_um[0] * pixel_um[1]))
    found = pixel_size(diameters(drawn(120, pixel_um), (640, 480)), mean_um, "")
    assert found.pixel_um == pytest.approx(pixel_um, rel=0.02)
    assert found.samples == (120, 120)
    assert all(0.04 <= error < 0.05 for error in found.uncertainty), "people differ by 4 %"


def test_sides_that_differ_by_chance_are_one() -> None:
    across, down = pixel_size(diameters(drawn(40, (0.1, 0.101)), (640, 480)), 0.1, "").pixel_um
    assert across == down == 0.1


def test_only_whole_single_red_cells_are_measured() -> None:
    assert len(diameters(drawn(3, (0.1, 0.1)), (640, 480))) == 3
    assert len(diameters(drawn(3, (0.1, 0.1)), (222, 480))) == 0, "at the border"
    assert len(diameters(drawn(3, (0.1, 0.1), kind=NUCLEATED), (640, 480))) == 0
    assert len(diameters(drawn(3, (0.1, 0.2)), (640, 480))) == 0, "too long for one cell"


@pytest.mark.parametrize(
    ("count", "spread", "pixel_um", "named"),
    [
        (29, 0.06, 0.1, "29 single red cells, 30 are needed"),
        (200, 0.5, 0.1, "differ by"),
        (60, 0.06, None, "60 single red cells"),
    ],
)
def test_few_or_unlike_cells_are_refused(count: int, spread: float, pixel_um: float | None, named: str) -> None:
    with pytest.raises(NotMeasurable, match=named):
        pixel_size(diameters(drawn(count, (0.1, 0.1), spread), (640, 480)), pixel_um, "")
