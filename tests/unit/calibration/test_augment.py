"""Augmentation: what it changes, what it must leave alone, and that chance comes from its generator alone."""

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from calibration.augment import BASE_PX, BASE_UM, DYES, Base, appearance, base_window, crop
from calibration.recipe import Augment
from edgecell.preprocess import Preprocess, cut

SPEC = Preprocess(pixel_um=0.1, crop_um=20.0, size_px=80, mean=(0.75, 0.65, 0.8), std=(0.25, 0.3, 0.2))
NONE = Augment()
INK, GROUND, OTHER = (90, 40, 120), 240, (200, 80, 160)
PX_PER_UM = BASE_PX / BASE_UM
CELL_UM = 5.0


def disc(radius_um: float, inside: tuple[int, int, int], outside: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Round, so that turning and mirroring change nothing."""
    y, x = np.mgrid[:BASE_PX, :BASE_PX] - (BASE_PX - 1) / 2
    return np.where((np.hypot(x, y) < radius_um * PX_PER_UM)[..., None], inside, outside).astype(np.uint8)


def cell(*, masked: bool = True) -> Base:
    image = disc(CELL_UM, INK, (GROUND,) * 3)
    return Base(image=image, mask=disc(CELL_UM, (255,) * 3, (0,) * 3)[:, :, 0] if masked else None)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def radius() -> NDArray[np.float64]:
    """um from the middle of a crop."""
    y, x = np.mgrid[: SPEC.size_px, : SPEC.size_px] - (SPEC.size_px - 1) / 2
    return np.asarray(np.hypot(x, y) * SPEC.crop_um / SPEC.size_px, np.float64)


def test_without_strength_a_crop_is_what_the_device_cuts() -> None:
    """But for its turn: the middle moves by up to a pixel of the window then, 0.12 um, which shows at the rim."""
    middle = (BASE_PX / 2, BASE_PX / 2)
    image = cv2.GaussianBlur(disc(CELL_UM, INK, (GROUND, 225, 200)), (0, 0), 3).astype(np.uint8)
    expected = cut(image, middle, BASE_UM / BASE_PX, SPEC.crop_um, SPEC.size_px).astype(int)
    rim = np.abs(radius() - CELL_UM) < 1.5
    for seed in range(8):
        made = crop(rng(seed), Base(image=image, mask=None), None, SPEC, NONE).astype(int)
        off = np.abs(made - expected)
        assert off[~rim].max() <= 2
        assert off.mean() < 2


def test_a_base_window_holds_the_cell_at_its_scale() -> None:
    image = np.full((300, 400, 3), GROUND, np.uint8)
    cv2.circle(image, (250, 120), 20, INK, -1)
    window = base_window(image, (250.0, 120.0), 0.2)
    assert window.shape == (BASE_PX, BASE_PX, 3)
    dark = window[:, :, 1] < 140
    y, x = np.nonzero(dark)
    assert (x.mean(), y.mean()) == pytest.approx((BASE_PX / 2, BASE_PX / 2), abs=1.5)
    assert np.sqrt(dark.sum() / np.pi) / PX_PER_UM == pytest.approx(20 * 0.2, rel=0.05)


def test_chance_is_the_generators() -> None:
    how = Augment(**dict.fromkeys(msgspec.structs.asdict(NONE), 0.3))
    behind = Base(image=disc(3.0, (230,) * 3, OTHER), mask=None)
    first, second, other = (crop(rng(seed), cell(), behind, SPEC, how) for seed in (5, 5, 6))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_the_base_is_not_written_to() -> None:
    how = Augment(**dict.fromkeys(msgspec.structs.asdict(NONE), 0.5))
    base, behind = cell(), Base(image=disc(3.0, (230,) * 3, OTHER), mask=None)
    for array in (base.image, base.mask, behind.image):
        assert array is not None
        array.flags.writeable = False
    crop(rng(), base, behind, SPEC, how)


def test_another_background_replaces_all_but_the_cell() -> None:
    """The background's own clear part, by which its white is known, lies under the cell."""
    behind = Base(image=disc(4.5, (GROUND,) * 3, OTHER), mask=None)
    made = crop(rng(1), cell(), behind, SPEC, NONE).astype(int)
    inside, outside = radius() < CELL_UM - 1, radius() > CELL_UM + 1
    assert np.abs(made[inside] - INK).max() <= 3
    assert np.abs(made[outside] - OTHER).max() <= 3


def test_another_background_is_brought_to_the_cells_white() -> None:
    yellow = (GROUND, 200, 100)
    behind = Base(image=disc(4.5, yellow, (GROUND, 100, 50)), mask=None)
    made = crop(rng(1), cell(), behind, SPEC, NONE).astype(int)
    assert np.abs(made[radius() > CELL_UM + 1] - (GROUND, 120, 120)).max() <= 3


def test_a_cell_without_a_mask_keeps_its_background() -> None:
    behind = Base(image=disc(4.5, (GROUND,) * 3, OTHER), mask=None)
    made = crop(rng(1), cell(masked=False), behind, SPEC, NONE).astype(int)
    assert np.abs(made[radius() > CELL_UM + 1] - GROUND).max() <= 3


def test_grey_leaves_one_optical_density() -> None:
    made = crop(rng(2), cell(), None, SPEC, Augment(grey=1.0)).astype(int)
    assert np.ptp(made, axis=2).max() <= 2
    assert made[radius() < CELL_UM - 1].mean() < GROUND - 60


def dark_radius(image: NDArray[np.uint8]) -> float:
    return float(np.sqrt((image[:, :, 1] < 140).sum() / np.pi) * SPEC.crop_um / SPEC.size_px)


def test_scale_and_shift_stay_within_their_strength() -> None:
    radii, shifts = [], []
    for seed in range(40):
        made = crop(rng(seed), cell(), None, SPEC, Augment(scale=0.2, shift_um=1.0))
        y, x = np.nonzero(made[:, :, 1] < 140)
        radii.append(dark_radius(made) / CELL_UM)
        off_px = np.array([x.mean(), y.mean()]) - (SPEC.size_px - 1) / 2
        shifts.append(np.abs(off_px).max() * SPEC.crop_um / SPEC.size_px)
    assert np.exp(-0.23) < min(radii) < 0.9
    assert 1.1 < max(radii) < np.exp(0.23)
    assert 0.5 < max(shifts) < 1.0 * np.sqrt(2) * np.exp(0.2) + 0.1


@pytest.mark.parametrize("name", [name for name in msgspec.structs.asdict(NONE) if name not in ("background", "plain")])
def test_every_strength_does_something(name: str) -> None:
    """`background` is drawn where the other window is chosen, in training; `plain` switches the others off."""
    plain = crop(rng(3), cell(), None, SPEC, NONE).astype(int)
    made = crop(rng(3), cell(), None, SPEC, Augment(**{name: 0.99})).astype(int)
    assert np.abs(made - plain).mean() > 0.1


def test_plain_leaves_all_but_the_geometry() -> None:
    everything = {name: 0.99 for name in msgspec.structs.asdict(NONE) if name not in ("scale", "shift_um", "plain")}
    plain = crop(rng(3), cell(), None, SPEC, NONE)
    assert np.array_equal(crop(rng(3), cell(), None, SPEC, Augment(**everything, plain=1.0)), plain)


strengths = st.fixed_dictionaries(
    {
        "scale": st.floats(0, 0.5),
        "shift_um": st.floats(0, 4),
        "stain": st.floats(0, 0.5),
        "density": st.floats(0, 1),
        "blur_um": st.floats(0, 2),
        **dict.fromkeys(("background", "light", "grey", "coarse", "sharpen", "noise", "jpeg"), st.floats(0, 1)),
    }
)


@settings(max_examples=60, deadline=None)
@given(
    how=strengths,
    seed=st.integers(0, 2**32 - 1),
    level=st.integers(0, 255),
    size=st.sampled_from([32, 64, 80]),
    with_behind=st.booleans(),
)
def test_whatever_the_strengths_a_crop_is_a_crop(
    how: dict[str, float], seed: int, level: int, size: int, with_behind: bool
) -> None:
    """Also of a window that is black or saturated all over."""
    spec = msgspec.structs.replace(SPEC, size_px=size)
    flat = Base(image=np.full((BASE_PX, BASE_PX, 3), level, np.uint8), mask=cell().mask)
    made = crop(rng(seed), flat, cell() if with_behind else None, spec, Augment(**how))
    assert made.dtype == np.uint8
    assert made.shape == (size, size, 3)


def mean_density(image: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(np.log(GROUND / image[radius() < CELL_UM - 1].mean(axis=0)), np.float64)


def test_a_dye_changes_all_channels_that_it_stains_together() -> None:
    """What is drawn in one dye alone stays in its proportions, whatever becomes of the others."""
    eosin = np.rint(GROUND * np.exp(-0.8 * DYES[1])).astype(int).tolist()
    base = Base(image=disc(CELL_UM, (eosin[0], eosin[1], eosin[2]), (GROUND,) * 3), mask=None)
    strengths = [mean_density(crop(rng(seed), base, None, SPEC, Augment(dyes=0.4)).astype(int)) for seed in range(12)]
    for strength in strengths:
        assert strength / np.linalg.norm(strength) == pytest.approx(DYES[1] / np.linalg.norm(DYES[1]), abs=0.03)
    sizes = [float(np.linalg.norm(strength)) for strength in strengths]
    assert max(sizes) > 1.3 * min(sizes)


def test_a_bent_tone_moves_pale_and_dark_apart_or_together() -> None:
    pale = Base(image=disc(CELL_UM, (215, 200, 210), (GROUND,) * 3), mask=None)
    ratios = []
    for seed in range(12):
        both = [mean_density(crop(rng(seed), base, None, SPEC, Augment(tone=0.3)).astype(int))[1] for base in (cell(), pale)]
        ratios.append(both[0] / both[1])
    before = mean_density(disc_image())[1] / np.log(GROUND / 200)
    assert min(ratios) < 0.8 * before < before < 0.9 * max(ratios)


def disc_image() -> NDArray[np.int64]:
    return crop(rng(), cell(), None, SPEC, NONE).astype(int)


@pytest.mark.parametrize("size_px", [64, 128])
def test_lost_resolution_does_not_depend_on_how_many_pixels_the_network_has(size_px: int) -> None:
    """Told in um: at the worst stripes of 4 um survive, and those of 0.7 um lose most of their contrast."""
    spec = msgspec.structs.replace(SPEC, size_px=size_px)
    how = msgspec.structs.replace(NONE, coarse=1.0)

    def contrast(stripe_um: float) -> float:
        x = np.arange(size_px) * spec.crop_um / size_px
        row = np.where(np.sin(2 * np.pi * x / stripe_um) > 0, 200, 100).astype(np.uint8)
        image = np.repeat(np.repeat(row[None, :, None], size_px, 0), 3, 2)
        changed = [appearance(rng(seed), image, spec, how) for seed in range(40)]
        return min(float(each[:, :, 0].std()) / float(image[:, :, 0].std()) for each in changed)

    assert contrast(4.0) > 0.6
    assert contrast(0.7) < 0.45
