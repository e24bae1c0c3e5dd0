"""Red cells as a ruler for both sides of a pixel, on discs drawn with the spread of real cells."""

from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell.errors import NotMeasurable
from edgecell.messages import NUCLEATED, RED_BLOOD_CELL, Cell
from edgecell.optics.redcells import Diameters, diameters, settled


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


def looked(pixel_um: tuple[float, float], longer: float, count: int = 120) -> tuple[Diameters, float]:
    """As a segmenter sees them that makes drawn-out cells rounder by half."""
    mean_um = float(np.sqrt(pixel_um[0] * pixel_um[1]))
    rest = (np.log(pixel_um[0] / pixel_um[1]) - longer) / 2
    seen = (mean_um * float(np.exp(rest / 2)), mean_um * float(np.exp(-rest / 2)))
    return diameters(drawn(count, seen), (640, 480)), mean_um


@pytest.mark.parametrize("pixel_um", [(0.1, 0.1), (0.1, 0.125), (0.11, 0.1), (0.13, 0.09)])
def test_both_sides_are_found_by_a_segmenter_that_makes_cells_rounder(pixel_um: tuple[float, float]) -> None:
    found = settled(partial(looked, pixel_um), "")
    assert found.pixel_um == pytest.approx(pixel_um, rel=0.03)
    assert found.samples == (120, 120)
    assert all(0.04 <= error < 0.05 for error in found.uncertainty), "people differ by 4 %"


def test_sides_that_differ_by_chance_are_one() -> None:
    across, down = settled(partial(looked, (0.1, 0.101), count=40), "").pixel_um
    assert across == down == pytest.approx(0.1005, rel=1e-3)


def test_cells_that_are_never_round_are_refused() -> None:
    with pytest.raises(NotMeasurable, match="not round however the frames are drawn out"):
        settled(lambda _: looked((0.1, 0.125), 0.0), "")


def test_only_whole_single_red_cells_are_measured() -> None:
    assert len(diameters(drawn(3, (0.1, 0.1)), (640, 480))) == 3
    assert len(diameters(drawn(3, (0.1, 0.1)), (222, 480))) == 0, "at the border"
    assert len(diameters(drawn(3, (0.1, 0.1), kind=NUCLEATED), (640, 480))) == 0
    assert len(diameters(drawn(3, (0.1, 0.2)), (640, 480))) == 0, "too long for one cell"


@pytest.mark.parametrize(
    ("count", "spread", "named"), [(29, 0.06, "29 single red cells, 30 are needed"), (200, 0.5, "differ by")]
)
def test_few_or_unlike_cells_are_refused(count: int, spread: float, named: str) -> None:
    with pytest.raises(NotMeasurable, match=named):
        settled(lambda _: (diameters(drawn(count, (0.1, 0.1), spread), (640, 480)), 0.1), "")


def test_an_unknown_scale_is_no_microscope_s() -> None:
    with pytest.raises(NotMeasurable, match="no microscope's"):
        settled(lambda _: (looked((0.1, 0.1), 0.0)[0], None), "")
