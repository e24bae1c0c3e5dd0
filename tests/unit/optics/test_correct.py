"""A frame is corrected as the formula says, at every pixel, and refused where the file cannot be about it."""

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell.errors import SettingsError
from edgecell.messages import Frame
from edgecell.optics.correct import Correction, evening, in_steps, spread, weights
from edgecell.optics.file import FlatField, Optics, PixelSize, WhiteBalance

SIZE = (96, 64)
FLAT = FlatField(
    dark=(3.0, 0.0, 5.0),
    red=((100.0, 200.0, 120.0), (150.0, 220.0, 160.0)),
    green=((90.0, 180.0, 110.0), (140.0, 210.0, 150.0)),
    blue=((80.0, 160.0, 100.0), (130.0, 200.0, 140.0)),
)
BARE = Optics(size_px=SIZE)


def frame(image: NDArray[np.uint8], pixel_um: float | None = None) -> Frame:
    image.setflags(write=False)
    return Frame(source_id="test", index=3, captured_ns=1, image=image, pixel_um=pixel_um, label="one.png")


@pytest.fixture
def noise() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)


def clear() -> NDArray[np.float64]:
    return np.stack([spread(grid, SIZE) for grid in (FLAT.red, FLAT.green, FLAT.blue)], axis=2)


def test_every_value_is_the_formula_s_to_half_a_step_of_the_factors(noise: NDArray[np.uint8]) -> None:
    """Factors are bytes, so they are off by half a 255th of the largest; then the value is rounded."""
    optics = msgspec.structs.replace(BARE, flat=FLAT, white=WhiteBalance(level=(210.0, 200.0, 190.0), aim=230.0))
    above = clear() - np.array(FLAT.dark)
    factor = above.max(axis=(0, 1)) / above * 230.0 / np.array([210.0, 200.0, 190.0])
    values = (noise.astype(float) - np.array(FLAT.dark)).clip(0)
    got = Correction(optics, "optics.toml")(frame(noise)).image
    assert got.dtype == np.uint8
    inside = values * factor < 254
    off = np.abs(got - values * factor)[inside] - values[inside] * factor.max() / 255 / 2
    assert off.max() <= 0.5001
    assert (got[values * factor > 258] == 255).all()


def test_it_is_one_table_of_all_values_by_all_factors(noise: NDArray[np.uint8]) -> None:
    """Bit for bit, whatever instructions OpenCV finds on the machine."""
    flat = msgspec.structs.replace(FLAT, dark=(0.0, 0.0, 0.0))
    factors, step = in_steps(evening(flat, SIZE))
    values = np.arange(256, dtype=np.float64)
    table = np.clip(np.rint(np.outer(values, values) * step), 0, 255)
    got = Correction(msgspec.structs.replace(BARE, flat=flat), "")(frame(noise)).image
    assert np.abs(np.outer(values, values) * step % 1 - 0.5).min() > 1e-6, (
        "no value lies so near a half that rounding may differ"
    )
    assert np.array_equal(got, table[factors, noise])


def test_clear_background_comes_out_even_and_white() -> None:
    background = np.rint(clear()).astype(np.uint8)
    flat = Correction(msgspec.structs.replace(BARE, flat=FLAT), "")(frame(background)).image
    assert np.ptp(flat.reshape(-1, 3).astype(int), axis=0).max() <= 3, "half a grey value of rounding, times the factor"
    level = tuple(float(value) for value in flat.reshape(-1, 3).mean(axis=0))
    white = WhiteBalance(level=(level[0], level[1], level[2]))
    even = Correction(msgspec.structs.replace(BARE, flat=FLAT, white=white), "")(frame(background)).image
    assert np.abs(even.astype(float) - 235).max() <= 3


def test_without_measurements_the_image_is_the_same_array(noise: NDArray[np.uint8]) -> None:
    seen = frame(noise, pixel_um=0.2)
    corrected = Correction(BARE, "")(seen)
    assert corrected.image is noise
    assert corrected.pixel_um == 0.2


def test_the_scale_is_the_file_s(noise: NDArray[np.uint8]) -> None:
    scale = PixelSize(pixel_um=(0.1, 0.1004), how="told")
    corrected = Correction(msgspec.structs.replace(BARE, scale=scale), "")(frame(noise, pixel_um=0.2))
    assert corrected.image is noise
    assert corrected.pixel_um == 0.1


@pytest.mark.parametrize(("pixel_um", "size"), [((0.1, 0.15), (96, 96)), ((0.2, 0.1), (192, 64))])
def test_pixels_become_squares_of_the_finer_side(pixel_um: tuple[float, float], size: tuple[int, int]) -> None:
    """A disc in micrometres is one again."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]] + 0.5
    disc = np.hypot((x - SIZE[0] / 2) * pixel_um[0], (y - SIZE[1] / 2) * pixel_um[1]) < 2.4
    image = np.where(disc, np.uint8(40), np.uint8(220))[:, :, None].repeat(3, axis=2)
    corrected = Correction(msgspec.structs.replace(BARE, scale=PixelSize(pixel_um=pixel_um, how="told")), "")(frame(image))
    assert corrected.image.shape == (size[1], size[0], 3)
    assert corrected.pixel_um == 0.1
    rows, columns = np.nonzero(corrected.image[:, :, 0] < 130)
    assert np.ptp(rows) + 1 == pytest.approx(48, abs=2)
    assert np.ptp(columns) + 1 == pytest.approx(48, abs=2)


def test_the_frame_given_is_never_written_into(noise: NDArray[np.uint8]) -> None:
    before = noise.copy()
    corrected = Correction(msgspec.structs.replace(BARE, flat=FLAT), "")(frame(noise))
    assert np.array_equal(noise, before)
    assert not corrected.image.flags.writeable
    assert (corrected.index, corrected.captured_ns, corrected.label) == (3, 1, "one.png")


def test_a_frame_of_another_size_is_another_camera_s() -> None:
    with pytest.raises(SettingsError, match=r"optics\.toml: size_px is 96x64, and the frame one\.png is 64x64"):
        Correction(BARE, "optics.toml")(frame(np.zeros((64, 64, 3), np.uint8)))


def test_a_grid_runs_straight_between_its_points() -> None:
    assert weights(4, 2)[:, 1] == pytest.approx([0.125, 0.375, 0.625, 0.875])
    assert weights(50, 7).sum(axis=1) == pytest.approx(1.0)
