"""What the picamera2 source does with picamera2 itself. virtual_picamera2.py runs this in a machine where it finds cameras.

The cameras are libcamera's virtual ones, with libcamera_edits.py: colour bars that move by a pixel from frame to frame.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest
from libcamera_edits import UNPLUGGED

from edgecell import clock
from edgecell.errors import FrameTimeout, SourceUnavailable
from edgecell.messages import Frame
from edgecell.sources import raspberry
from edgecell.sources.raspberry import PicameraOptions, PicameraSource

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SETTINGS = Path(__file__).parents[2] / "deploy/settings/raspberry-pi-5.toml"
PERIOD_US = 200_000
BARS = [(255, 255, 255), (255, 255, 0), (0, 255, 255), (0, 255, 0), (255, 0, 255), (255, 0, 0), (0, 0, 255), (0, 0, 0)]
"""RGB, from the left."""


@pytest.fixture(autouse=True)
def _plugged_in() -> Iterator[None]:
    UNPLUGGED.unlink(missing_ok=True)
    yield
    UNPLUGGED.unlink(missing_ok=True)


def camera(**options: object) -> PicameraSource:
    small = {"width": 160, "height": 96, "frame_duration_us": PERIOD_US}
    return PicameraSource(PicameraOptions(**small | options))  # type: ignore[arg-type]


def read(source: PicameraSource) -> Frame:
    frame = source.read(10)
    assert frame is not None
    return frame


def test_eight_frames_have_no_gap_and_the_sensor_s_times() -> None:
    """At a pace that an emulated machine on a busy one keeps."""
    start, period_us = clock.monotonic_ns(), 500_000
    with camera(frame_duration_us=period_us) as source:
        frames = [read(source) for _ in range(8)]
    assert [frame.index for frame in frames] == list(range(8))
    times = [frame.captured_ns for frame in frames]
    assert start < times[0] < times[-1] < clock.monotonic_ns()
    assert np.diff(times) == pytest.approx(np.full(7, period_us * 1000), rel=0.2)


@pytest.mark.parametrize(("width", "height"), [(160, 96), (640, 480), (1920, 1080)])
def test_red_green_blue_in_memory(width: int, height: int) -> None:
    with camera(width=width, height=height, frame_duration_us=500_000) as source:
        image = read(source).image
    assert image.shape == (height, width, 3)
    assert not image.flags.writeable
    middles = image[height // 2, width // 16 :: width // 8]
    assert [tuple(pixel) for pixel in middles.tolist()] == BARS


def test_exposure_gain_and_colour_gains_are_in_force_from_the_first_frame_on() -> None:
    with camera(exposure_us=2500, gain=3, colour_gains=(1.9, 1.2)) as source:
        assert [read(source).exposure_us for _ in range(3)] == [2500] * 3


def test_the_settings_that_ship_for_a_raspberry_pi() -> None:
    """At a slower pace, as an emulated machine is slow."""
    options = tomllib.loads(SETTINGS.read_text(encoding="utf-8"))["source"]
    assert options.pop("part") == "picamera2"
    with PicameraSource(msgspec.convert(options | {"frame_duration_us": 500_000}, PicameraOptions)) as source:
        frame = read(source)
    assert frame.image.shape == (1080, 1920, 3)
    assert frame.exposure_us == options["exposure_us"]


def test_left_alone_the_camera_chooses() -> None:
    with camera() as source:
        assert read(source).exposure_us == 9980


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": 800, "height": 600}, "has no BGR888 800x600, it offers BGR888 1920x1080 instead"),
        ({"exposure_us": 300_000}, "does not take exposure_us = 300000, it stays at 200000"),
        ({"gain": 40}, "does not take gain = 40, it stays at 16"),
        ({"camera": 5}, "picamera2:5: cannot be opened: No camera number 5 found"),
    ],
)
def test_what_it_has_not_is_refused_and_the_camera_is_free_again(options: dict[str, object], said: str) -> None:
    with pytest.raises(SourceUnavailable, match=said), camera(**options):
        pass
    with camera() as source:
        assert read(source).index == 0


def test_who_is_slow_gets_a_fresh_frame_and_the_others_are_gaps() -> None:
    with camera() as source:
        assert read(source).index == 0
        time.sleep(2)
        late = read(source)
        assert late.index >= 7
        assert clock.monotonic_ns() - late.captured_ns < 2 * PERIOD_US * 1000


def test_no_frame_in_time_and_the_next_read_waits_for_the_same_one() -> None:
    with camera(frame_duration_us=1_000_000) as source:
        assert read(source).index == 0
        with pytest.raises(FrameTimeout, match=r"no frame within 0\.05 s"):
            source.read(0.05)
        assert read(source).index == 1


def test_it_closes_while_a_frame_is_waited_for_and_opens_again() -> None:
    for _ in range(3):
        with camera(frame_duration_us=1_000_000) as source, pytest.raises(FrameTimeout):
            source.read(0.05)
        assert source._camera is None


def test_unplugged_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raspberry, "GONE_S", 2.0)
    source = camera()
    with source:
        read(source)
        UNPLUGGED.touch()
        with pytest.raises(SourceUnavailable, match="the camera gave no frame for"):
            read_on(source)
    with pytest.raises(SourceUnavailable, match="opened, but gives no picture"), source:
        pass
    UNPLUGGED.unlink()
    with source:
        assert [read(source).index for _ in range(2)] == [0, 1]


def read_on(source: PicameraSource) -> None:
    """Through time-outs, for half a minute."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with suppress(FrameTimeout):
            source.read(0.2)


def test_a_camera_that_is_in_use() -> None:
    """In this program: libcamera locks its virtual cameras against no other."""
    with camera() as source:
        with pytest.raises(SourceUnavailable, match=r"cannot be opened: .*busy"), camera():
            pass
        assert "busy" in PicameraSource.attached()[0].lacks
        assert read(source) is not None
    with camera() as source:
        assert read(source).index == 0


def test_attached_cameras_are_chosen_by_what_is_said_of_them() -> None:
    """picamera2 numbers them by their names, backwards, and not as libcamera does."""
    assert PicameraSource.probe().usable
    there = PicameraSource.attached()
    assert [each.where for each in there] == ["/base/virtual1", "/base/virtual0"]
    for each in there:
        assert {control.name for control in each.controls} == {"frame_duration_us", "exposure_us", "gain"}
        with PicameraSource(PicameraOptions(**{**each.options, "width": 160, "height": 96})) as source:  # type: ignore[arg-type]
            assert source._camera is not None
            assert source._camera.camera_properties["Model"] == each.name


def test_a_run_of_five_frames_adds_up() -> None:
    source = f"picamera2:width=640,height=480,frame_duration_us={PERIOD_US}"
    command = [sys.executable, "-m", "edgecell", "run", "--source", source, "--max-frames", "5", "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stderr
    frames = [each for each in map(json.loads, ended.stdout.splitlines()) if "frames" in each][-1]["frames"]
    assert frames["captured"] == sum(frames[each] for each in ("processed", "dropped", "gated", "failed", "in_flight")) >= 5
