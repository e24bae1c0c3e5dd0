"""White point and normalisation: against the plain definition, and against how they were computed before."""

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_bundle import tiny_manifest

from edgecell.preprocess import cut, field_values, to_batch, white_point

SPEC = tiny_manifest().preprocess
SIZE = SPEC.size_px
KEEP = SIZE * SIZE // 10


def smeared(count: int, *, levels: int, seed: int = 1) -> NDArray[np.uint8]:
    """uint8 (count, SIZE, SIZE, 3): bright ground with a dark cell; few levels make many ties."""
    rng = np.random.default_rng(seed)
    ground = 255 - rng.integers(0, levels, (count, SIZE, SIZE, 3))
    ground[:, SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4] -= 90
    return ground.astype(np.uint8)


def brightest(crop: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    """Sum of the pixels brighter than the tie, the tied pixels, and how many of those have a place."""
    pixels = crop.reshape(-1, 3).astype(np.int64)
    darkest = pixels.min(axis=1)
    last = np.sort(darkest)[-KEEP]
    sure = pixels[darkest > last]
    return sure.sum(axis=0).astype(np.float64), pixels[darkest == last], KEEP - len(sure)


def untied() -> NDArray[np.uint8]:
    """uint8 (1, SIZE, SIZE, 3): exactly a tenth of the pixels are brighter than all others."""
    image = np.random.default_rng(2).integers(0, 100, (SIZE * SIZE, 3))
    image[:KEEP] += 150
    return np.random.default_rng(3).permutation(image).astype(np.uint8).reshape(1, SIZE, SIZE, 3)


@pytest.mark.parametrize("levels", [1, 2, 8, 60, 150])
def test_tied_pixels_share_the_last_places(levels: int) -> None:
    crops = smeared(5, levels=levels)
    for crop, white in zip(crops, white_point(crops), strict=True):
        sure, tied, places = brightest(crop)
        assert white == pytest.approx((sure + places * tied.mean(axis=0)) / KEEP, abs=1e-4)


@pytest.mark.parametrize("levels", [1, 2, 8, 60, 150])
def test_no_choice_among_the_tied_is_further_off_than_their_spread(levels: int) -> None:
    """The bound to any rule that takes some of them, such as the arg-partition that was used before."""
    crops = smeared(5, levels=levels)
    pixels = crops.reshape(5, -1, 3)
    chosen = np.argpartition(pixels.min(axis=2), -KEEP, axis=1)[:, -KEEP:]
    before = np.take_along_axis(pixels, chosen[:, :, None], axis=1).mean(axis=1, dtype=np.float32)
    for crop, old, new in zip(crops, before, white_point(crops), strict=True):
        _, tied, places = brightest(crop)
        assert (np.abs(old - new) <= places * np.ptp(tied, axis=0) / KEEP + 1e-4).all()


def test_without_ties_the_white_is_that_of_the_brightest_tenth_to_the_bit() -> None:
    crops = untied()
    pixels = crops.reshape(-1, 3)
    chosen = np.argpartition(pixels.min(axis=1), -KEEP)[-KEEP:]
    np.testing.assert_array_equal(white_point(crops)[0], pixels[chosen].mean(axis=0, dtype=np.float32))


def test_white_does_not_depend_on_orientation_or_company() -> None:
    crops = smeared(4, levels=20)
    white = white_point(crops)
    np.testing.assert_array_equal(white_point(crops[:, ::-1, ::-1]), white)
    np.testing.assert_array_equal(white_point(np.ascontiguousarray(crops.transpose(0, 2, 1, 3))), white)
    np.testing.assert_array_equal(np.concatenate([white_point(crops[at : at + 1]) for at in range(4)]), white)


def test_black_crops_have_a_white_of_one() -> None:
    np.testing.assert_array_equal(white_point(np.zeros((1, SIZE, SIZE, 3), np.uint8)), np.ones((1, 3), np.float32))


def test_nothing_is_brighter_than_the_clear_background() -> None:
    """Sharpened images and noisy ones have pixels that are; below it nothing changes."""
    crops = smeared(3, levels=40)
    batch = to_batch(crops, SPEC)
    top = ((1 - np.array(SPEC.mean, np.float32)) / np.array(SPEC.std, np.float32))[:, None, None]
    assert (batch > top).any()
    np.testing.assert_array_equal(to_batch(crops, msgspec.structs.replace(SPEC, colour="clear")), np.minimum(batch, top))


@pytest.mark.parametrize("colour", ["white", "rgb"])
def test_a_batch_is_the_crops_normalised_to_the_bit(colour: str) -> None:
    """As one would write it: whole arrays, channels last, then transposed."""
    spec = msgspec.structs.replace(SPEC, colour=colour)
    crops = smeared(3, levels=40)
    white = white_point(crops) if colour == "white" else np.full((3, 3), 255, np.float32)
    std, mean = np.array(spec.std, np.float32), np.array(spec.mean, np.float32)
    plain = (crops * np.reciprocal(white * std)[:, None, None, :] - mean / std).transpose(0, 3, 1, 2)
    batch = to_batch(list(crops), spec)
    np.testing.assert_array_equal(batch, plain)
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous


def test_no_crops_make_an_empty_batch() -> None:
    assert to_batch([], SPEC).shape == (0, 3, SIZE, SIZE)


@pytest.mark.parametrize("side", [16, 31, 32, 33, 41, 63, 64, 65, 96, 111, 127, 128])
def test_a_window_is_averaged_as_opencv_averages_bytes_to_the_bit(side: int) -> None:
    image = smeared(1, levels=200, seed=side)[0]
    image = np.tile(image, (160 // SIZE + 1, 160 // SIZE + 1, 1))
    how = cv2.INTER_AREA if side > 32 else cv2.INTER_LINEAR
    window = image[80 - side // 2 :, 80 - side // 2 :][:side, :side]
    expected = cv2.resize(window, (32, 32), interpolation=how)
    assert np.array_equal(cut(image, (80.0 + side % 2 / 2, 80.0 + side % 2 / 2), 1.0, side, 32), expected)


@pytest.mark.parametrize("colour", ["white", "clear", "rgb"])
def test_a_field_is_written_where_it_is_wanted_normalised_to_the_bit(colour: str) -> None:
    spec = msgspec.structs.replace(SPEC, colour=colour)
    image = np.random.default_rng(5).integers(60, 250, (75, 118, 3), np.uint8)
    kept = np.full((3, 96, 128), np.float32(7))
    values = field_values(image, spec, kept[:, :75, :118])
    assert np.shares_memory(values, kept)
    assert np.array_equal(values, field_values(image, spec))
    assert (kept[:, 75:] == 7).all()
    assert (kept[:, :, 118:] == 7).all()
    white = np.full(3, 255, np.float32) if colour == "rgb" else white_point(image[None, ::2, ::2])[0]
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    plain = image.astype(np.float32) * np.reciprocal(white * std) - mean / std
    plain = np.minimum(plain, (1 - mean) / std) if colour == "clear" else plain
    assert np.array_equal(values, plain.transpose(2, 0, 1))
