"""What the v4l2 source does with a USB camera behind the kernel's own driver. test_v4l2_kernel.py runs this where that is."""

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from command_line import called
from usb_camera import TERMINAL, UNIT, UsbCamera
from v4l2_stand_in import PICTURES, STRIPES, number_of

from edgecell import clock
from edgecell.errors import FrameCorrupt, SourceUnavailable
from edgecell.messages import Frame
from edgecell.sources.v4l2 import V4l2Options, V4l2Source

NODE = Path("/dev/video0")
PATIENCE_S = 60.0


def appears(there: bool = True) -> None:
    end = time.monotonic() + PATIENCE_S
    while NODE.exists() != there:
        assert time.monotonic() < end, "the kernel does not see it"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def plugged() -> Iterator[UsbCamera]:
    camera = UsbCamera()
    camera.plug()
    appears()
    yield camera
    camera.unplug()


@pytest.fixture
def camera(plugged: UsbCamera) -> UsbCamera:
    plugged.cut = plugged.flagged = ()
    return plugged


def source_of(**options: object) -> V4l2Source:
    return V4l2Source(V4l2Options(**{"width": 640, "height": 480, "fps": 10, **options}))  # type: ignore[arg-type]


def taken(source: V4l2Source) -> Frame:
    frame = source.read(10)
    assert frame is not None
    return frame


def read_on(source: V4l2Source) -> None:
    for _ in range(50):
        source.read(10)


@pytest.mark.parametrize("fourcc", ["MJPG", "YUYV"])
def test_pictures_come_as_they_are_sent(camera: UsbCamera, fourcc: str) -> None:
    with source_of(fourcc=fourcc) as source:
        frames = [taken(source) for _ in range(5)]
        now = clock.monotonic_ns()
    for frame in frames:
        assert np.abs(frame.image[300, 80::160].astype(int) - STRIPES).max() <= 4
        assert 0 < now - frame.captured_ns < 30_000_000_000
    steps = [(number_of(after.image) - number_of(before.image)) % PICTURES for before, after in pairwise(frames)]
    assert steps == [after.index - before.index for before, after in pairwise(frames)], "as many numbers as pictures"


def test_attached_tells_of_its_modes_and_controls_and_not_of_its_second_node(camera: UsbCamera) -> None:
    (found,) = V4l2Source.attached()
    assert found.name == "Software camera"
    assert [(mode.pixel_format, mode.width, mode.height) for mode in found.modes] == [
        ("MJPG", 640, 480),
        ("MJPG", 320, 240),
        ("YUYV", 640, 480),
        ("YUYV", 320, 240),
    ]
    assert all(mode.fps == (30.0, 10.0) and mode.usable for mode in found.modes)
    limits = {each.name: (each.minimum, each.maximum) for each in found.controls}
    assert limits == {"exposure_us": (100, 500_000), "gain": (0, 100), "white_balance_k": (2800, 6500)}
    assert found.options["fourcc"] == "YUYV"


def test_its_second_node_gives_no_pictures(camera: UsbCamera) -> None:
    assert Path("/dev/video1").exists()
    with pytest.raises(SourceUnavailable, match="gives no pictures"), source_of(device=1):
        pass


def test_fixed_exposure_gain_and_white_balance_reach_the_camera(camera: UsbCamera) -> None:
    with source_of(exposure_us=2000, gain=50, white_balance_k=5000) as source:
        frame = taken(source)
    assert frame.exposure_us == 2000
    assert camera.values == {(TERMINAL, 2): 1, (TERMINAL, 4): 20, (UNIT, 4): 50, (UNIT, 10): 5000, (UNIT, 11): 0}
    with source_of() as source:
        assert taken(source).exposure_us is None
    assert (camera.values[TERMINAL, 2], camera.values[UNIT, 11]) == (8, 1), "automatic again"


def test_what_it_does_not_take_is_refused(camera: UsbCamera) -> None:
    with pytest.raises(SourceUnavailable, match="does not take exposure_us = 900000, it stays at") as caught:
        source_of(exposure_us=900_000).__enter__()
    assert "give 100 to 500000" in caught.value.fix
    with pytest.raises(SourceUnavailable, match=r"has no MJPG 800x600\. It has MJPG, YUYV: 640x480, 320x240"):
        source_of(width=800, height=600).__enter__()


def test_a_picture_that_ends_too_early_is_damaged(camera: UsbCamera) -> None:
    with source_of() as source:
        first = taken(source)
        camera.cut = range(camera.number + 1, camera.number + 2)
        with pytest.raises(FrameCorrupt) as caught:
            read_on(source)
        later = taken(source)
    assert first.index < caught.value.index < later.index
    assert later.image.shape == (480, 640, 3)


def test_a_picture_that_the_camera_calls_damaged_never_comes_and_is_a_gap(camera: UsbCamera) -> None:
    with source_of() as source:
        taken(source)
        camera.flagged = bad = range(camera.number + 2, camera.number + 4)
        frames = [taken(source) for _ in range(8)]
    steps = [after.index - before.index for before, after in pairwise(frames)]
    assert max(steps) >= 3
    assert not {number % PICTURES for number in bad} & {number_of(frame.image) for frame in frames}


def test_unplugged_and_plugged_in_again(camera: UsbCamera) -> None:
    with source_of() as source:
        taken(source)
        camera.unplug()
        with pytest.raises(SourceUnavailable, match="the camera is gone"):
            read_on(source)
    appears(False)
    with pytest.raises(SourceUnavailable, match="no such camera"):
        source_of().__enter__()
    camera.plug()
    appears()
    with source_of() as source:
        assert taken(source).index == 0


def test_snap_takes_what_cameras_proposes(camera: UsbCamera, tmp_path: Path) -> None:
    (document,) = called("cameras", "--json").documents
    (found,) = [each for each in document["cameras"] if each["source"] == "v4l2"]
    (tmp_path / "bench.toml").write_text(found["settings"])
    (snap,) = called("snap", tmp_path / "bench.toml", "-o", tmp_path / "a.png", "--wait", 60, "--json").documents
    assert (snap["width"], snap["height"], snap["source"]["fourcc"]) == (640, 480, "YUYV")
