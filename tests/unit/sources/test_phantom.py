"""The phantom as a camera: deterministic, any size, paced, and its stage."""

import itertools
import math

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell.errors import FrameTimeout, SourceUnavailable
from edgecell.messages import Frame
from edgecell.sources.phantom import PhantomSource
from edgecell.sources.phantom.options import Options, Stage
from edgecell.sources.phantom.stage import focus_um, position_um

SMALL = Options(width=320, height=200)


def small(**changes: object) -> Options:
    return msgspec.structs.replace(SMALL, **changes)


def frames_of(options: Options, count: int) -> list[Frame]:
    with PhantomSource(options) as source:
        found = [source.read(1.0) for _ in range(count)]
    assert all(frame is not None for frame in found)
    return [frame for frame in found if frame is not None]


def image_of(options: Options) -> NDArray[np.uint8]:
    return frames_of(options, 1)[0].image


def test_the_same_seed_gives_the_same_frames_and_another_does_not() -> None:
    options = SMALL
    one, two = frames_of(options, 3), frames_of(options, 3)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0].image, image_of(small(seed=8)))
    assert not np.array_equal(one[0].image, one[1].image)


@pytest.mark.parametrize(("width", "height", "pixel_um"), [(16, 16, 0.1), (333, 257, 0.1), (200, 300, 0.25), (400, 300, 0.06)])
def test_any_frame_size_and_scale(width: int, height: int, pixel_um: float) -> None:
    image = image_of(Options(width=width, height=height, pixel_um=pixel_um))
    assert image.shape == (height, width, 3)
    assert 100 < image.mean() < 245


def test_a_frame_tells_where_it_stands_but_not_its_scale() -> None:
    assert {frame.slide_um for frame in frames_of(SMALL, 2)} == {None}
    first, second = frames_of(msgspec.structs.replace(SMALL, encoder=True), 2)
    assert first.pixel_um is None
    assert first.slide_um is not None
    assert second.slide_um is not None
    assert second.slide_um[0] - first.slide_um[0] == pytest.approx(32.0)


def test_overlapping_frames_show_the_same_slide() -> None:
    options = small(stage="overlapping", overlap=0.5, noise=0.0, defocus_um=0.0, vignette=0.0)
    first, second = (frame.image.astype(int) for frame in frames_of(options, 2))
    here, there = first[:, 160:], second[:, :160]
    # The slope of the lamp's colour and its flicker stay with the camera.
    assert float(np.abs(here - there).mean()) < 4.0
    assert np.corrcoef(here.ravel(), there.ravel())[0, 1] > 0.995


@pytest.mark.parametrize("stage", ["fields", "overlapping", "hand", "vibrating", "searched"])
def test_the_stage_moves_within_the_slide(stage: Stage) -> None:
    options = Options(stage=stage)
    places = np.array([position_um(options, index) for index in range(0, 2000, 7)])
    assert places.min() > 900.0
    assert len(np.unique(places.round(3), axis=0)) == len(places)


def test_a_hand_pushes_smoothly_and_unevenly() -> None:
    places = np.array([position_um(Options(stage="hand"), index) for index in range(400)])
    steps = np.hypot(*np.diff(places, axis=0).T)
    assert steps.max() < 0.8 * 128.0
    assert np.abs(np.diff(steps)).max() < 10.0
    assert steps.std() > 3.0


def test_a_search_halts_goes_back_and_ends_its_rows() -> None:
    options = Options(stage="searched", overlap=0.5)
    places = np.array([position_um(options, index) for index in range(64)])
    steps = np.diff(places, axis=0)
    assert np.abs(steps[14:18]).max() < 4.0
    assert np.abs(places[20] - places[12]).max() < 4.0
    assert (np.abs(steps[:8, 0]) > 55.0).all()
    assert np.ptp(places[:, 0]) < 4 * 128.0 + 4.0
    assert np.ptp(places[:, 1]) > 50.0


def test_a_pushed_slide_is_smeared_along_its_way() -> None:
    still, smeared = (image_of(small(stage="hand", noise=0.0, exposure=share)).astype(float) for share in (0.0, 0.2))
    across, along = (np.abs(np.diff(smeared, axis=axis)).mean() / np.abs(np.diff(still, axis=axis)).mean() for axis in (0, 1))
    assert along < 0.85 * across
    assert np.array_equal(image_of(small(exposure=0.0)), image_of(small(exposure=0.2)))


def test_whole_fields_do_not_overlap() -> None:
    options = Options()
    places = [position_um(options, index) for index in range(400)]
    for (x0, y0), (x1, y1) in itertools.pairwise(places):
        assert math.isclose(abs(x1 - x0), 128.0) != math.isclose(abs(y1 - y0), 72.0)


def test_focus_wanders_with_the_chosen_rms() -> None:
    heights = np.array([focus_um(Options(defocus_um=0.5), index) for index in range(3000)])
    assert float(np.sqrt((heights**2).mean())) == pytest.approx(0.5, rel=0.15)


def test_defocus_blurs_and_noise_roughens() -> None:
    sharp = image_of(small(noise=0.0, defocus_um=0.0)).astype(float)
    blurred = image_of(small(noise=0.0, defocus_um=5.0)).astype(float)
    noisy = image_of(small(noise=1.0, defocus_um=0.0)).astype(float)
    assert np.abs(np.diff(blurred, axis=1)).mean() < 0.6 * np.abs(np.diff(sharp, axis=1)).mean()
    assert 1.0 < (noisy - sharp).std() < 4.0


def test_vignette_darkens_the_corners() -> None:
    flat, vignetted = (image_of(small(noise=0.0, vignette=v)).astype(float) for v in (0.0, 0.4))
    ratio = vignetted / np.maximum(flat, 1.0)
    assert ratio[:20, :20].mean() < 0.8
    assert ratio[90:110, 150:170].mean() > 0.95


def test_pace() -> None:
    with PhantomSource(small(fps=20.0)) as source:
        times = [frame.captured_ns for _ in range(4) if (frame := source.read(1.0))]
        assert (times[-1] - times[0]) / 1e9 == pytest.approx(0.15, abs=0.06)
        with pytest.raises(FrameTimeout):
            source.read(0.001)
        late = source.read(1.0)
        assert late is not None
        assert late.index == 4


def test_reading_a_closed_source_says_so() -> None:
    with pytest.raises(SourceUnavailable, match="not open"):
        PhantomSource(Options()).read(1.0)
