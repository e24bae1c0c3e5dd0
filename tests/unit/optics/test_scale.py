"""Scale: told, measured and pooled, or honestly unknown."""

import numpy as np
import pytest

from edgecell.optics.scale import RED_CELL_UM, SAME_OPTICS, WIDEST_SPREAD, WINDOW, PixelScale


def test_settings_win_over_optics() -> None:
    scale = PixelScale(0.2)
    assert scale.told(0.1) == (0.2, "settings")
    assert PixelScale().told(0.1) == (0.1, "optics")
    assert PixelScale().told(None) == (None, "unknown")


def test_red_cells_are_the_ruler() -> None:
    pixel_um, source = PixelScale().pooled([70.0, 72.0, 74.0, 71.0])
    assert source == "estimated"
    assert pixel_um == pytest.approx(RED_CELL_UM / 71.5)


def test_no_red_cells_is_unknown() -> None:
    assert PixelScale().pooled([]) == (None, "unknown")
    assert PixelScale().pooled([70.0]) == (None, "unknown")


def test_a_frame_without_cells_has_the_scale_of_its_run() -> None:
    scale = PixelScale()
    scale.pooled([72.0] * 10)
    pixel_um, source = scale.pooled([])
    assert source == "estimated"
    assert pixel_um == pytest.approx(0.1)


@pytest.mark.parametrize("diameters", [[1000.0] * 9, [3.0] * 9, [20.0, 21.0, 60.0, 61.0, 140.0, 150.0]])
def test_implausible_or_scattered_is_unknown(diameters: list[float]) -> None:
    assert PixelScale().pooled(diameters) == (None, "unknown")


def test_pooling_beats_one_frame() -> None:
    rng = np.random.default_rng(0)
    scale = PixelScale()
    last = [scale.pooled(rng.normal(72, 9, 4).tolist()).pixel_um for _ in range(40)][-1]
    assert last == pytest.approx(0.1, rel=0.02)


def test_frames_of_another_objective_are_not_mixed_in() -> None:
    scale = PixelScale()
    for _ in range(20):
        scale.pooled([72.0] * 8)
    assert scale.pooled([36.0] * 8).pixel_um == pytest.approx(0.2)
    assert scale.pooled([72.0] * 8).pixel_um == pytest.approx(0.1)


def test_firm_needs_many_alike() -> None:
    scale = PixelScale()
    assert scale.firm() is None
    scale.pooled([72.0] * 29)
    assert scale.firm() is None
    scale.pooled([72.0] * 5)
    assert scale.firm() == pytest.approx(0.1)
    for _ in range(5):
        scale.pooled([36.0] * 8)
    assert scale.firm() is None


def test_the_pool_is_that_of_the_latest_frames_however_it_is_kept() -> None:
    """Frames of two objectives, more than are kept, many diameters equal: as if all were put together anew for each."""
    rng, scale, frames = np.random.default_rng(3), PixelScale(), list[list[float]]()
    for index in range(2 * WINDOW + 7):
        size = 72 if index % 5 else 36
        own = rng.normal(size, 4, rng.integers(0, 9)).round(1).tolist()
        alike = [each for each in frames[-WINDOW:] if not own or abs(np.median(each) / np.median(own) - 1) <= SAME_OPTICS]
        low, middle, high = np.percentile(np.concatenate([[0.0] * 0, *alike, own]), [25, 50, 75]) if alike or own else [1.0] * 3
        found = scale.pooled(own).pixel_um
        if found is not None:
            assert found == RED_CELL_UM / middle
            assert (high - low) / 2 / middle <= WIDEST_SPREAD
        frames += [own] if own else []
    assert found is not None
