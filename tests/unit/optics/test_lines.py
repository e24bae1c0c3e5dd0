"""A drawn stage micrometer gives the scale that it was drawn at, and what is none is refused with the reason."""

import re

import numpy as np
import pytest
from numpy.typing import NDArray
from optics_pictures import clear_picture, ruled
from pictures import field

from edgecell.errors import NotMeasurable
from edgecell.optics.file import PixelSize
from edgecell.optics.lines import Ruling, pixel_size, ruling

WHEN = "2026-01-31T12:00:00.000Z"


def measured(pixel_um: tuple[float, float], *turns: float, pitch_um: float) -> PixelSize:
    drawn = [ruling(ruled(pixel_um, turn, pitch_um=pitch_um), f"{turn:g}") for turn in turns]
    return pixel_size(drawn, pitch_um, WHEN)


@pytest.mark.parametrize(
    ("pixel_um", "turns", "pitch_um"),
    [
        ((0.1, 0.1), (0.0, 90.0), 6.0),
        ((0.0688, 0.0691), (1.5, 91.0), 5.0),
        ((0.1, 0.08), (12.0, -75.0), 5.0),
        ((0.25, 0.25), (-3.0, 88.0, 2.0), 10.0),
        ((0.5, 0.5), (0.4, 89.0), 10.0),
    ],
)
def test_both_sides_of_a_pixel_are_within_a_thousandth(
    pixel_um: tuple[float, float], turns: tuple[float, ...], pitch_um: float
) -> None:
    found = measured(pixel_um, *turns, pitch_um=pitch_um)
    assert found.pixel_um == pytest.approx(pixel_um, rel=1e-3)
    assert (found.how, found.measured) == ("stage micrometer", WHEN)
    assert all(0 <= error < 1e-3 for error in found.uncertainty)
    assert min(found.samples) >= 5


def refused(*images: NDArray[np.uint8], pitch_um: float = 10.0) -> str:
    with pytest.raises(NotMeasurable) as caught:
        pixel_size([ruling(image, f"picture {number}") for number, image in enumerate(images)], pitch_um, WHEN)
    assert caught.value.fix
    return caught.value.what


def grid() -> NDArray[np.uint8]:
    return np.minimum(ruled((0.1, 0.1), 0.0), ruled((0.1, 0.1), 90.0))


def uneven() -> NDArray[np.uint8]:
    """Lines at the squares of whole numbers."""
    image = np.full((480, 900, 3), 220, np.uint8)
    for number in range(3, 29):
        image[:, number**2 : number**2 + 4] = 80
    return image


UPRIGHT, LEVEL = ruled((0.1, 0.1), 0.0), ruled((0.1, 0.1), 90.0)


@pytest.mark.parametrize(
    ("images", "named"),
    [
        ((UPRIGHT, UPRIGHT), "lines in one direction"),
        ((UPRIGHT,), "lines in one direction"),
        ((UPRIGHT, ruled((0.1, 0.1), 40.0)), "aslant"),
        ((field(0), LEVEL), r"picture 0: \d+ % of its slopes run one way"),
        ((grid(), LEVEL), "of its slopes run one way"),
        ((clear_picture((640, 480), 1), LEVEL), "picture 0: "),
        ((np.full((480, 640, 3), 200, np.uint8), LEVEL), "picture 0: "),
        ((uneven(), LEVEL), r"picture 0: its \d+ dark lines lie \d+ % of their distance off"),
        ((UPRIGHT[:, :250], LEVEL), r"picture 0: \d whole lines"),
        ((UPRIGHT, LEVEL, ruled((0.103, 0.103), 0.0)), "the pictures differ by"),
    ],
)
def test_what_is_no_micrometer_is_refused(images: tuple[NDArray[np.uint8], ...], named: str) -> None:
    assert re.search(named, refused(*images))


def test_a_distance_in_another_unit_is_seen() -> None:
    assert "which no microscope has" in refused(UPRIGHT, LEVEL, pitch_um=1000.0)


def test_the_formula_of_two_directions() -> None:
    """Lines 10 um apart, 100 px across and 50 px down."""
    found = pixel_size([Ruling(0.0, 100.0, 0.0, 9), Ruling(np.pi / 2, 50.0, 0.0, 7)], 10.0, WHEN)
    assert found.pixel_um == pytest.approx((0.1, 0.2))
    assert found.samples == (9, 7)
