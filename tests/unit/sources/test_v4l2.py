"""Cameras under Linux: what is asked of OpenCV, what comes back, and what is said when it does not."""

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from capture_stand_in import CaptureStandIn, always

from edgecell import clock
from edgecell.errors import FrameCorrupt, FrameTimeout, SettingsError, SourceUnavailable
from edgecell.messages import Frame
from edgecell.settings import decode_options, source_from_spec
from edgecell.sources import v4l2
from edgecell.sources.v4l2 import V4l2Options, V4l2Source

Make = Callable[..., CaptureStandIn]


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for /dev, with two nodes."""
    monkeypatch.setattr(v4l2, "DEV", tmp_path)
    for number in (0, 2):
        (tmp_path / f"video{number}").touch()
    return tmp_path


def opened(capture: CaptureStandIn, **options: object) -> V4l2Source:
    def make(path: str, api: int) -> CaptureStandIn:
        capture.path, capture.api = path, api
        return capture

    return V4l2Source(V4l2Options(**options), make)  # type: ignore[arg-type]


def never() -> bool:
    return False


def stripe_of(frame: Frame | None) -> int:
    """Which picture of the stand-in a frame is, by where the stripe stands; number 1 is taken when it is opened."""
    assert frame is not None
    return int((frame.image[0] != 200).any(axis=1).argmax()) // 4


def fail() -> bool:
    raise cv2.error("Error is reported for camera stream")


@pytest.mark.parametrize(("spec", "path"), [("v4l2:2", "video2"), ("v4l2:device=0,width=640,height=480", "video0")])
def test_a_number_is_a_node(dev: Path, spec: str, path: str) -> None:
    source = V4l2Source(decode_options(V4l2Source, source_from_spec(spec)))
    assert source.source_id == f"v4l2:{dev / path}"


def test_a_path_is_taken_as_it_is() -> None:
    source = V4l2Source(decode_options(V4l2Source, source_from_spec("v4l2:/dev/v4l/by-id/usb-scope-video-index0")))
    assert source.source_id == "v4l2:/dev/v4l/by-id/usb-scope-video-index0"


def test_the_camera_is_asked_for_format_size_rate_and_one_buffer(dev: Path) -> None:
    capture = CaptureStandIn()
    with opened(capture, device=2, width=160, height=96, fourcc="YUYV", fps=15):
        assert (capture.path, capture.api) == (str(dev / "video2"), cv2.CAP_V4L2)
        assert capture.props[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc(*"YUYV")
        assert (capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)) == (160, 96)
        assert (capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_BUFFERSIZE)) == (15, 1)
    assert capture.released


def test_a_rate_that_opencv_would_ask_for_as_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="fps"):
        decode_options(V4l2Source, source_from_spec("v4l2:device=0,fps=0.4"))


def test_pictures_are_red_green_blue(dev: Path) -> None:
    with opened(CaptureStandIn()) as source:
        frame = source.read(1)
    assert frame is not None
    assert frame.image.shape == (720, 1280, 3)
    stripe = np.unique(frame.image[(frame.image != 200).any(axis=2)], axis=0)
    assert stripe.tolist() == [[255, 0, 0]]


def test_left_alone_the_camera_chooses(dev: Path) -> None:
    capture = CaptureStandIn()
    with opened(capture) as source:
        frame = source.read(1)
    assert capture.props[cv2.CAP_PROP_AUTO_EXPOSURE] == v4l2.APERTURE_PRIORITY
    assert capture.props[cv2.CAP_PROP_AUTO_WB] == 1
    assert cv2.CAP_PROP_GAIN not in capture.props
    assert frame is not None
    assert frame.exposure_us is None


def test_fixed_exposure_gain_and_white_balance(dev: Path) -> None:
    capture = CaptureStandIn()
    with opened(capture, exposure_us=2000, gain=12, white_balance_k=5000) as source:
        frame = source.read(1)
    assert capture.props[cv2.CAP_PROP_AUTO_EXPOSURE] == v4l2.MANUAL
    assert capture.props[cv2.CAP_PROP_EXPOSURE] == 20
    assert capture.props[cv2.CAP_PROP_GAIN] == 12
    assert (capture.props[cv2.CAP_PROP_AUTO_WB], capture.props[cv2.CAP_PROP_WB_TEMPERATURE]) == (0, 5000)
    assert frame is not None
    assert frame.exposure_us == 2000


@pytest.mark.parametrize(
    ("options", "fixed", "said"),
    [
        ({"exposure_us": 1_000_000}, (), "does not take exposure_us = 1e+06, it stays at 500000"),
        ({"gain": 3}, (cv2.CAP_PROP_GAIN,), "does not take gain = 3."),
        ({"white_balance_k": 4000}, (cv2.CAP_PROP_WB_TEMPERATURE,), "does not take white_balance_k = 4000."),
    ],
)
def test_a_control_that_the_camera_does_not_take(
    dev: Path, options: dict[str, object], fixed: tuple[int, ...], said: str
) -> None:
    capture = CaptureStandIn(fixed=fixed)
    with pytest.raises(SourceUnavailable) as caught, opened(capture, **options):
        pass
    assert said in str(caught.value)
    assert "if it is inactive: v4l2-ctl" in caught.value.fix
    assert "--list-ctrls" in caught.value.fix
    assert capture.released


@pytest.mark.parametrize(
    ("options", "codes", "said"),
    [
        ({"width": 1920, "height": 1080}, ("MJPG",), "has no MJPG 1920x1080, it offers MJPG 640x480 instead"),
        ({"width": 640, "height": 480}, ("YUYV",), "has no MJPG 640x480, it offers YUYV 640x480 instead"),
    ],
)
def test_a_format_that_the_camera_does_not_have(
    dev: Path, options: dict[str, object], codes: tuple[str, ...], said: str
) -> None:
    capture = CaptureStandIn(codes=codes)
    with pytest.raises(SourceUnavailable, match=said) as caught, opened(capture, **options):
        pass
    assert "MJPG or YUYV" in caught.value.fix
    assert "--list-formats-ext" in caught.value.fix
    assert capture.released


def test_a_node_that_is_no_camera_or_in_use(dev: Path) -> None:
    with pytest.raises(SourceUnavailable, match="cannot be opened as a camera"), opened(CaptureStandIn(opened=False)):
        pass


def test_a_camera_that_opens_and_gives_nothing(dev: Path) -> None:
    with pytest.raises(SourceUnavailable, match="gives no picture"), opened(CaptureStandIn(broken=[0])):
        pass


def test_the_time_of_capture_is_the_drivers(dev: Path) -> None:
    earlier = clock.monotonic_ns() - 40_000_000
    with opened(CaptureStandIn(time_ms=lambda: earlier / 1e6)) as source:
        frame = source.read(1)
    assert frame is not None
    assert frame.captured_ns == pytest.approx(earlier, abs=1000)


@pytest.mark.parametrize("told_ms", [0.0, -1.0, 1e15])
def test_a_time_of_another_clock_is_replaced_by_ours(dev: Path, told_ms: float) -> None:
    before = clock.monotonic_ns()
    with opened(CaptureStandIn(time_ms=lambda: told_ms)) as source:
        frame = source.read(1)
    assert frame is not None
    assert before <= frame.captured_ns <= clock.monotonic_ns()


def test_nothing_in_time_is_a_time_out_and_no_frame(dev: Path) -> None:
    capture = CaptureStandIn(waits=[never, never])
    with opened(capture) as source:
        with pytest.raises(FrameTimeout, match=r"no frame within 0\.25 s"):
            source.read(0.25)
        frame = source.read(0)
    assert frame is not None
    assert frame.index == 0
    assert capture.timeouts_ns == [1, 250_000_000, 1]


@pytest.mark.parametrize(("fps", "given", "waited_ns"), [(30, 4, [1, 1, 1, 2_000_000_000]), (1, 3, [1, 1])])
def test_what_waited_longer_than_a_period_is_let_go(dev: Path, fps: float, given: int, waited_ns: list[int]) -> None:
    ages_s = {2: 1.9, 3: 0.9, 4: 0.01}
    capture = CaptureStandIn(waits=[always, always, never], time_ms=lambda: clock.monotonic_ns() / 1e6 - age_ms())

    def age_ms() -> float:
        return ages_s[capture.grabbed] * 1000

    with opened(capture, fps=fps) as source:
        frame = source.read(2)
    assert stripe_of(frame) == given
    assert frame is not None
    assert frame.index == 0
    assert capture.timeouts_ns == waited_ns


def test_without_the_driver_s_time_a_pause_makes_frames_old(dev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = CaptureStandIn(waits=[always, always, always, never])
    now_ns = clock.monotonic_ns()
    monkeypatch.setattr(clock, "monotonic_ns", lambda: now_ns)
    with opened(capture) as source:
        assert stripe_of(source.read(2)) == 2
        now_ns += 1_000_000_000
        assert stripe_of(source.read(2)) == 5


def test_a_camera_whose_frames_always_seem_old_is_read_all_the_same(dev: Path) -> None:
    with opened(CaptureStandIn(time_ms=lambda: clock.monotonic_ns() / 1e6 - 2000)) as source:
        assert stripe_of(source.read(1)) == 2 + v4l2.MOST_BUFFERS


def test_a_damaged_picture_takes_its_number(dev: Path) -> None:
    with opened(CaptureStandIn(broken=[1])) as source:
        with pytest.raises(FrameCorrupt) as caught:
            source.read(1)
        frame = source.read(1)
    assert caught.value.index == 0
    assert frame is not None
    assert frame.index == 1


def test_unplugged_while_waiting(dev: Path) -> None:
    capture = CaptureStandIn(waits=[never, never])
    with opened(capture) as source:
        (dev / "video0").unlink()
        with pytest.raises(SourceUnavailable, match="the camera is gone"):
            source.read(0.1)
    assert capture.level_at_release == cv2.utils.logging.LOG_LEVEL_SILENT


def test_an_error_of_the_driver(dev: Path) -> None:
    with opened(CaptureStandIn(waits=[fail])) as source, pytest.raises(SourceUnavailable, match="the camera is gone"):
        source.read(0.1)


def test_a_closed_source_says_so(dev: Path) -> None:
    with pytest.raises(SourceUnavailable, match="is not open"):
        opened(CaptureStandIn()).read(1)


def test_no_such_camera_names_those_that_are_there(dev: Path) -> None:
    with pytest.raises(SourceUnavailable, match="no such camera") as caught, V4l2Source(V4l2Options(device=99)):
        pass
    assert caught.value.fix == f"use one of {dev}/video0, {dev}/video2"


def test_real_opencv_refuses_a_node_that_is_no_camera(dev: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceUnavailable, match="cannot be opened as a camera"), V4l2Source(V4l2Options(device=0)):
        pass
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every node")
def test_no_permission(dev: Path) -> None:
    (dev / "video0").chmod(0)
    with pytest.raises(SourceUnavailable, match="no permission") as caught, V4l2Source(V4l2Options(device=0)):
        pass
    assert "usermod -aG video" in caught.value.fix


def test_probe_names_what_is_missing(dev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert V4l2Source.probe().usable
    monkeypatch.setattr(v4l2, "_may_use", lambda node: node.name == "video0")
    some = V4l2Source.probe()
    assert (some.usable, some.missing) == (True, f"no permission for {dev}/video2: {v4l2.GROUP_FIX}")
    monkeypatch.setattr(v4l2, "_may_use", lambda node: False)
    assert not V4l2Source.probe().usable
    for node in dev.iterdir():
        node.unlink()
    assert V4l2Source.probe().missing == "no /dev/video*: connect a camera"
