"""The shape and the level of clear background, from pictures without cells and from fields full of them."""

import re
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from optics_pictures import clear_picture, vignetted

from edgecell.errors import NotMeasurable
from edgecell.optics import clear
from edgecell.optics.correct import evening, spread
from edgecell.optics.file import FlatField
from edgecell.sources.phantom import PhantomSource
from edgecell.sources.phantom.draw import STEPS
from edgecell.sources.phantom.options import Options
from edgecell.sources.phantom.sensor import Sensor

SIZE = (640, 480)
LEVEL = (230.0, 215.0, 190.0)


def small(images: Sequence[NDArray[np.uint8]]) -> list[clear.Field]:
    return [clear.small(image, f"picture {number}") for number, image in enumerate(images)]


def shape(grids: Sequence[clear.Field]) -> NDArray[np.float64]:
    """(height, width, 3), relative to its mean."""
    whole = np.stack([spread(tuple(map(tuple, grid.tolist())), SIZE) for grid in grids], axis=2)
    return np.asarray(whole / whole.mean(axis=(0, 1)))


@pytest.mark.parametrize("count", [1, 2, 8])
def test_pictures_without_cells_give_the_shape_within_a_hundredth(count: int) -> None:
    grids = clear.surface(small([clear_picture(SIZE, seed) for seed in range(count)]))
    true = vignetted(SIZE, 0.3)
    assert np.abs(shape(grids) - (true / true.mean())[:, :, None]).max() < 0.01
    assert [round(float(grid.max())) for grid in grids] == pytest.approx(LEVEL, rel=0.01)
    assert grids[0].shape == (12, 16)


FULL = Options(width=SIZE[0], height=SIZE[1], pixel_um=0.15, vignette=0.4)


@cache
def fields() -> list[NDArray[np.uint8]]:
    """Of the phantom, a little darker than it draws them; cells cover half of them."""
    with PhantomSource(FULL) as source:
        return [(frame.image * 0.85).astype(np.uint8) for _ in range(16) if (frame := source.read(1.0))]


def test_cells_are_left_out_where_there_are_fields_enough() -> None:
    grids = clear.surface(small(fields()))
    true = 0.85 * 255 * np.exp(-Sensor(FULL).clear.astype(float) / STEPS)
    off = shape(grids) / (true / true.mean(axis=(0, 1))) - 1
    assert np.abs(off).max() < 0.02
    assert off.std() < 0.004


def refused(images: Sequence[NDArray[np.uint8]]) -> str:
    with pytest.raises(NotMeasurable) as caught:
        clear.surface(small(images))
    assert caught.value.fix
    return caught.value.what


def half_lit() -> NDArray[np.uint8]:
    image = clear_picture(SIZE, 1)
    image[:, : SIZE[0] // 3] //= 8
    return image


@pytest.mark.parametrize(
    ("images", "named"),
    [
        ([clear_picture(SIZE, 1, (262.0, 240.0, 230.0))], r"picture 0: [\d.]+ % of it are at the end of the scale"),
        ([np.zeros((480, 640, 3), np.uint8)], "grey value of 0"),
        ([clear_picture(SIZE, 1), clear_picture(SIZE, 2, (180.0, 170.0, 150.0))], r"off its median .* in one of 2 pictures"),
        ([clear_picture(SIZE, 1, (230.0, 200.0, 60.0))], "one channel is 3 times another"),
        ([fields()[0]], "one picture with cells"),
        ([half_lit(), half_lit()], "times as bright as the darkest|of the frame are clear|off the other half"),
        ([], "no picture came"),
    ],
)
def test_what_cannot_be_clear_background_is_refused(images: list[NDArray[np.uint8]], named: str) -> None:
    assert re.search(named, refused(images))


def test_the_level_is_that_of_the_brightest_background() -> None:
    pictures = small([clear_picture(SIZE, seed, share=0.0) for seed in range(3)])
    assert clear.levels(pictures) == pytest.approx(LEVEL, abs=1.5)


def test_an_evened_field_full_of_cells_has_the_level_of_its_background() -> None:
    """What a white balance is measured on."""
    seen = small(fields())
    red, green, blue = (tuple(map(tuple, grid.tolist())) for grid in clear.surface(seen))
    factors = evening(FlatField(red=red, green=green, blue=blue), (seen[0].shape[1], seen[0].shape[0]))
    brightest = 0.85 * 255 * np.exp(-Sensor(FULL).clear.reshape(-1, 3).min(axis=0).astype(float) / STEPS)
    assert clear.levels([picture * factors for picture in seen]) == pytest.approx(brightest, rel=0.02)


def test_darkness_has_a_level_and_light_has_none() -> None:
    rng = np.random.default_rng(0)
    dark = rng.poisson((2.0, 3.0, 4.0), (120, 160, 3)).astype(np.uint8)
    assert clear.dark_level([dark, dark]) == pytest.approx((2, 3, 4), abs=0.1)
    leaking = dark.copy()
    leaking[:, :30] += 20
    for image in (clear_picture(SIZE, 1), leaking):
        with pytest.raises(NotMeasurable, match="dark picture"):
            clear.dark_level([image])
