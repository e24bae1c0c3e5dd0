"""Frames that nobody could count are refused, anything else goes on."""

from functools import cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell.gate import (
    BLURRED,
    DARK,
    EMPTY,
    LEAST_FRAMES,
    OVEREXPOSED,
    RESTART,
    SCALES,
    SIZES,
    WINDOW,
    GateState,
    Learnt,
    Limits,
    blur_um,
    judge,
    told,
)
from edgecell.messages import Frame, Verdict

Image = NDArray[np.uint8]
WHITE = (255, 255, 255)


PIXEL_UM = 0.1
"""The scale at which the cells of `smear` are red cells."""


def framed(image: Image, pixel_um: float | None = None) -> Frame:
    image.flags.writeable = False
    return Frame(source_id="test", index=0, captured_ns=0, image=image, pixel_um=pixel_um)


def judged(image: Image, state: GateState, pixel_um: float | None = None) -> tuple[Verdict, GateState]:
    return judge(framed(image, pixel_um), Limits(), state)


def verdict(image: Image, limits: Limits | None = None) -> Verdict:
    """Of the first frame of a run."""
    return judge(framed(image), limits or Limits(), GateState())[0]


def scale(pixel_um: float) -> GateState:
    """A run that knows its scale and nothing more."""
    return GateState(learnt={(720, 1280): Learnt(scales_um=(pixel_um,))})


def blurred(image: Image, sigma_um: float) -> Image:
    return cv2.GaussianBlur(image, (0, 0), sigma_um / PIXEL_UM).astype(np.uint8) if sigma_um else image


def noisy(image: Image, sigma: float) -> Image:
    height, width = image.shape[:2]
    return np.asarray(np.clip(image + sigma * grain(1, height, width), 0, 255), dtype=np.uint8)


def point(side: int) -> NDArray[np.float32]:
    kernel = np.zeros((side, side), np.float32)
    kernel[side // 2, side // 2] = 1
    return kernel


def disc(radius_px: float) -> NDArray[np.float32]:
    """Defocus as geometrical optics has it."""
    y, x = np.mgrid[-30:31, -30:31]
    inside = (np.hypot(x, y) <= radius_px).astype(np.float32)
    return np.asarray(inside / inside.sum(), np.float32)


@cache
def grain(seed: int, height: int = 720, width: int = 1280) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((height, width, 3), np.float32)


def blank(level: tuple[int, int, int] = (235, 225, 238), *, noise: float = 0, vignetting: float = 0) -> Image:
    """Clear background, 1280 x 720. vignetting: part of the light that the corners lose."""
    y, x = np.mgrid[:720, :1280]
    light = 1 - vignetting * (((x - 640) / 640) ** 2 + ((y - 360) / 360) ** 2) / 2
    return np.asarray(np.clip(np.asarray(level) * light[..., None] + noise * grain(0), 0, 255), dtype=np.uint8)


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
    values = [judged(noisy(blurred(smear(40), sigma_um), noise), scale(PIXEL_UM))[0].focus for sigma_um in (0, 0.25, 0.5, 1, 2)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.5 * values[0]


@pytest.mark.parametrize("sigma_um", [0.4, 0.6, 0.8])
@pytest.mark.parametrize("pixel_um", [0.07, 0.1, 0.3])
@pytest.mark.parametrize("noise", [0, 4])
def test_blur_is_measured_in_micrometres_at_any_scale(sigma_um: float, pixel_um: float, noise: float) -> None:
    factor = PIXEL_UM / pixel_um
    image = cv2.resize(blurred(smear(40), sigma_um), None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    green = np.ascontiguousarray(noisy(image.astype(np.uint8), noise)[..., 1])
    assert blur_um(green, pixel_um) == pytest.approx(sigma_um, rel=0.2)


@pytest.mark.parametrize("cells", [1, 5, 45])
@pytest.mark.parametrize("stain", [1.0, 0.4])
def test_blur_depends_neither_on_how_many_cells_there_are_nor_on_their_stain(cells: int, stain: float) -> None:
    image = 255 - stain * (255 - blurred(smear(cells), 0.6).astype(np.float32))
    assert blur_um(np.ascontiguousarray(image[..., 1].astype(np.uint8)), PIXEL_UM) == pytest.approx(0.6, rel=0.2)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("cells", [3, 40])
def test_a_sharp_field_passes_and_a_blurred_one_does_not(cells: int, known: bool) -> None:
    state = scale(PIXEL_UM) if known else GateState()
    assert judged(smear(cells), state)[0].accepted
    for kernel in (cv2.GaussianBlur(point(61), (0, 0), 2 / PIXEL_UM), disc(2 / PIXEL_UM)):
        found, _ = judged(cv2.filter2D(smear(cells), -1, kernel).astype(np.uint8), state)
        assert (found.accepted, found.reason) == (False, BLURRED)


def test_a_field_blurred_beyond_recognition_is_blurred_and_not_empty() -> None:
    found, _ = judged(blurred(smear(12), 4), GateState())
    assert found.reason == BLURRED


def test_the_camera_knows_the_scale_better_than_the_run() -> None:
    soft = blurred(smear(40), 0.4)
    assert not judged(soft, scale(0.2))[0].accepted
    assert judged(soft, scale(0.2), pixel_um=PIXEL_UM)[0].accepted


def test_the_run_tightens_the_limit() -> None:
    state = scale(PIXEL_UM)
    soft = blurred(smear(40, seed=9), 0.42)
    assert judged(soft, state)[0].accepted
    for seed in range(LEAST_FRAMES):
        found, state = judged(smear(40, seed=seed), state)
        assert found.accepted
    assert judged(soft, state)[0].reason == BLURRED
    assert judged(blurred(smear(40, seed=9), 0.25), state)[0].accepted


def test_a_soft_lens_teaches_its_own_limit_up_to_the_one_for_all() -> None:
    state = scale(PIXEL_UM)
    for seed in range(LEAST_FRAMES):
        found, state = judged(blurred(smear(40, seed=seed), 0.35), state)
        assert found.accepted
    assert judged(blurred(smear(40), 0.42), state)[0].accepted
    assert not judged(blurred(smear(40), 0.7), state)[0].accepted


def test_refused_frames_teach_nothing_until_the_optics_may_have_been_changed() -> None:
    learnt = Learnt(scales_um=(PIXEL_UM,), blurs_um=(0.1,) * LEAST_FRAMES)
    state, out_of_focus = GateState(learnt={(720, 1280): learnt}), blurred(smear(20), 2)
    for _ in range(RESTART - 1):
        _, state = judged(out_of_focus, state)
    assert state.learnt[720, 1280].blurs_um == learnt.blurs_um
    found, state = judged(out_of_focus, state)
    assert state.learnt[720, 1280] == Learnt()
    assert found.reason == BLURRED
    assert judged(out_of_focus, state)[0].reason == BLURRED


def test_microscopes_of_one_run_are_kept_apart_by_image_size() -> None:
    state = scale(PIXEL_UM)
    for seed in range(LEAST_FRAMES):
        _, state = judged(smear(20, seed=seed), state)
    other = np.ascontiguousarray(blurred(smear(40), 0.42)[:, :900])
    state = told(state, framed(other), PIXEL_UM)
    assert judged(other, state)[0].accepted
    assert set(state.learnt) == {(720, 1280), (720, 900)}


def test_one_frame_with_a_wrong_scale_does_not_have_the_next_ones_refused() -> None:
    """Specks of dust may be taken for red cells: at nine times the scale every border looks blurred."""
    sharp, state = framed(smear(20)), GateState()
    for _ in range(3):
        state = told(state, sharp, PIXEL_UM)
    state = told(state, sharp, 9 * PIXEL_UM)
    assert judged(smear(20), state)[0].accepted
    for _ in range(SCALES):
        state = told(state, sharp, 9 * PIXEL_UM)
    assert state.learnt[720, 1280].pixel_um == 9 * PIXEL_UM, "what most frames say is believed in the end"
    assert len(state.learnt[720, 1280].scales_um) == SCALES


def test_what_is_learnt_stays_small() -> None:
    state = GateState()
    for width in range(200, 200 + 3 * SIZES):
        state = told(state, framed(np.zeros((10, width, 3), np.uint8)), 0.1)
    assert [width for _, width in state.learnt] == list(range(200 + 2 * SIZES, 200 + 3 * SIZES))
    full = Learnt(scales_um=(PIXEL_UM,), blurs_um=(0.1,) * WINDOW)
    _, state = judged(smear(20), GateState(learnt={(720, 1280): full}))
    assert len(state.learnt[720, 1280].blurs_um) == WINDOW


def test_a_refused_frame_of_another_kind_teaches_nothing() -> None:
    state = scale(PIXEL_UM)
    assert judged(blank(), state) == (verdict(blank()), state)


def test_limits_are_the_callers() -> None:
    assert verdict(smear(5), Limits(mean_level=0.95)).reason == DARK
    assert verdict(smear(5), Limits(structure=250)).reason == EMPTY
    assert verdict(blank(WHITE), Limits(saturated_fraction=1.0)).reason == EMPTY


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 2000, 3), (3, 2, 3)])
def test_tiny_and_thin_images_are_measured_too(shape: tuple[int, int, int]) -> None:
    found = verdict(np.full(shape, 200, dtype=np.uint8))
    assert found.reason == EMPTY
    assert found.focus == 0
