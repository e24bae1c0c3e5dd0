"""Frames that nobody could count are refused, anything else goes on."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell.gate import DARK, EMPTY, OVEREXPOSED, Limits, judge
from edgecell.messages import Frame, Verdict

Image = NDArray[np.uint8]
WHITE = (255, 255, 255)


def verdict(image: Image, limits: Limits | None = None) -> Verdict:
    image.flags.writeable = False
    return judge(Frame(source_id="test", index=0, captured_ns=0, image=image), limits or Limits())


def blank(level: tuple[int, int, int] = (235, 225, 238), *, noise: float = 0, vignetting: float = 0) -> Image:
    """Clear background, 1280 x 720. vignetting: part of the light that the corners lose."""
    y, x = np.mgrid[:720, :1280]
    light = 1 - vignetting * (((x - 640) / 640) ** 2 + ((y - 360) / 360) ** 2) / 2
    grain = np.random.default_rng(0).normal(0, noise, (720, 1280, 3)) if noise else 0
    return np.asarray(np.clip(np.asarray(level) * light[..., None] + grain, 0, 255), dtype=np.uint8)


def smear(cells: int, level: tuple[int, int, int] = (235, 225, 238), *, seed: int = 0) -> Image:
    """Pink discs of 70 px on a clear background."""
    image = blank(level, noise=0 if level == WHITE else 2)
    for x, y in np.random.default_rng(seed).integers(40, 680, (cells, 2)).tolist():
        cv2.circle(image, (x, y), 35, (205, 160, 165), -1, cv2.LINE_AA)
    return image


@pytest.mark.parametrize("cells", [1, 40])
def test_a_field_with_cells_is_accepted(cells: int) -> None:
    found = verdict(smear(cells))
    assert (found.accepted, found.reason) == (True, "")
    assert found.mean_level == pytest.approx(0.9, abs=0.05)
    assert found.focus > 0


def test_a_clear_background_at_the_top_of_the_scale_is_fine() -> None:
    found = verdict(smear(5, WHITE))
    assert found.accepted
    assert found.saturated_fraction > 0.9


def test_a_faint_small_platelet_is_enough() -> None:
    image = blank(noise=2)
    cv2.circle(image, (700, 300), 10, (190, 170, 205), -1)
    assert verdict(image).accepted


@pytest.mark.parametrize(("noise", "vignetting"), [(0, 0), (4, 0), (4, 0.35)])
@pytest.mark.parametrize("quality", [100, 75])
def test_an_empty_field_is_refused(noise: float, vignetting: float, quality: int) -> None:
    image = blank(noise=noise, vignetting=vignetting)
    _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    found = verdict(np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), dtype=np.uint8))
    assert (found.accepted, found.reason) == (False, EMPTY)


def test_the_lamp_is_off() -> None:
    found = verdict(blank((6, 5, 7), noise=3))
    assert (found.accepted, found.reason) == (False, DARK)
    assert found.mean_level < 0.05


def test_overexposed() -> None:
    found = verdict(blank(WHITE))
    assert (found.accepted, found.reason) == (False, OVEREXPOSED)
    assert (found.mean_level, found.saturated_fraction) == pytest.approx((1.0, 1.0))


def test_one_clipped_channel_is_no_saturation() -> None:
    assert verdict(blank((255, 200, 255))).saturated_fraction == 0


def test_half_a_clipped_frame_is_measured_as_half() -> None:
    image = blank((100, 100, 100))
    image[:360] = 255
    assert verdict(image).saturated_fraction == 0.5


@pytest.mark.parametrize("noise", [0, 4])
def test_focus_falls_with_every_step_of_blur(noise: float) -> None:
    grain = np.random.default_rng(1).normal(0, noise, (720, 1280, 3)) if noise else 0
    sharp = smear(40)
    values = []
    for sigma in (0, 2, 4, 8):
        blurred = cv2.GaussianBlur(sharp, (0, 0), sigma) if sigma else sharp
        values.append(verdict(np.clip(blurred + grain, 0, 255).astype(np.uint8)).focus)
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.5 * values[0]


def test_focus_depends_little_on_how_many_cells_there_are() -> None:
    few, many = verdict(smear(15)).focus, verdict(smear(45)).focus
    assert 0.5 < few / many < 2


def test_limits_are_the_callers() -> None:
    assert verdict(smear(5), Limits(mean_level=0.95)).reason == DARK
    assert verdict(smear(5), Limits(structure=250)).reason == EMPTY
    assert verdict(blank(WHITE), Limits(saturated_fraction=1.0)).reason == EMPTY


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 2000, 3), (3, 2, 3)])
def test_tiny_and_thin_images_are_measured_too(shape: tuple[int, int, int]) -> None:
    found = verdict(np.full(shape, 200, dtype=np.uint8))
    assert found.reason == EMPTY
    assert found.focus == 0
