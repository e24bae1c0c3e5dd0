"""Red cells as the measure of a slide's stain: what is measured, how far colours are moved, and when they are left alone."""

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell.preprocess import Preprocess
from edgecell.stain import GAINS, LEAST_CROPS, WINDOW, StainState, evened, gain_of, red_densities, restained

OWN = (0.20, 0.30, 0.18)
SPEC = Preprocess(
    pixel_um=0.1, crop_um=20.0, size_px=80, colour="clear", red_density=OWN, mean=(0.75, 0.65, 0.8), std=(0.25, 0.3, 0.2)
)
WHITE = np.array((250, 230, 210))
NUCLEUS = (1.3, 2.2, 0.4)


def crop(red: tuple[float, float, float] | None, seed: int = 0) -> NDArray[np.uint8]:
    """A nucleus in the middle, and red cells of that density in two corners."""
    density = np.zeros((80, 80, 3))
    y, x = np.mgrid[:80, :80] - 39.5
    density[np.hypot(x, y) < 14] = NUCLEUS
    for corner in (-28, 28) if red else ():
        density[np.hypot(x - corner, y - corner) < 12] = red
    noise = np.random.default_rng(seed).normal(0, 1, density.shape)
    return np.clip(WHITE * np.exp(-density) + noise, 0, 255).astype(np.uint8)


def crops(red: tuple[float, float, float] | None, count: int = LEAST_CROPS) -> NDArray[np.uint8]:
    return np.stack([crop(red, seed) for seed in range(count)])


def density_at(image: NDArray[np.uint8], row: int, column: int) -> NDArray[np.float64]:
    near = image[row - 2 : row + 3, column - 2 : column + 3].reshape(-1, 3)
    return np.asarray(-np.log(near.mean(axis=0) / WHITE), np.float64)


def test_red_cells_are_measured_and_the_nucleus_is_not() -> None:
    found = red_densities(crops((0.10, 0.26, 0.13)), SPEC)
    assert found == pytest.approx(np.tile((0.10, 0.26, 0.13), (LEAST_CROPS, 1)), abs=0.02)


def test_crops_without_red_cells_say_nothing() -> None:
    assert len(red_densities(crops(None), SPEC)) == 0
    assert len(red_densities(np.zeros((0, 80, 80, 3), np.uint8), SPEC)) == 0


def test_densities_go_half_the_way_channel_by_channel() -> None:
    pale = (0.10, 0.26, 0.13)
    made = evened(crops(pale), SPEC)[0]
    assert density_at(made, 68, 68) == pytest.approx(np.sqrt(np.array(pale) * OWN), abs=0.02)
    assert density_at(made, 40, 40) == pytest.approx(np.array(NUCLEUS) * np.sqrt(np.array(OWN) / pale), abs=0.08)
    assert np.abs(made[5:10, 70:75].astype(int) - WHITE).max() <= 6, "the background stays"


def test_a_slide_of_the_bundles_own_stain_stays_as_it_is() -> None:
    some = crops(OWN)
    assert np.abs(evened(some, SPEC).astype(int) - some).max() <= 3


@pytest.mark.parametrize("spec", [SPEC, msgspec.structs.replace(SPEC, red_density=None)])
def test_colours_are_left_alone_where_nothing_is_asked_or_known(spec: Preprocess) -> None:
    few = crops((0.1, 0.26, 0.13), LEAST_CROPS - 1 if spec.red_density else LEAST_CROPS)
    assert gain_of(red_densities(few, spec), spec) is None
    assert np.array_equal(evened(few, spec), few)
    assert restained(few, None) is few


def test_a_channel_in_which_red_cells_do_not_show_is_not_blown_up() -> None:
    gain = gain_of(np.tile((0.2, 0.3, 0.0), (LEAST_CROPS, 1)), SPEC)
    assert gain is not None
    assert gain == pytest.approx((1.0, 1.0, np.sqrt(GAINS[1])), abs=1e-6)


def test_a_run_learns_crop_by_crop_whatever_the_batches() -> None:
    some = crops((0.10, 0.26, 0.13), 12)
    one = StainState().after(some, SPEC)
    step = StainState()
    for each in some:
        step = step.after(each[None], SPEC)
    assert step == one
    assert one.gain(SPEC) == pytest.approx(gain_of(red_densities(some, SPEC), SPEC))
    assert StainState().gain(SPEC) is None


def test_a_run_forgets_what_is_long_past() -> None:
    state = StainState(densities=((0.1, 0.2, 0.1),) * WINDOW)
    assert len(state.after(crop(OWN)[None], SPEC).densities) == WINDOW


def test_a_bundle_that_does_not_ask_costs_nothing() -> None:
    assert StainState().after(crop(OWN)[None], msgspec.structs.replace(SPEC, red_density=None)) == StainState()
