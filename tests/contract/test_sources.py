"""What every frame source must do, run over every entry of the table. A new source adds one line to MAKERS.

Cameras run with a stand-in for their library, or are emulated by it, and have no end, so that as many frames are read as the
others give.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import fake_gige
import msgspec
import numpy as np
import pytest
import system_gi
from basler_emulation import emulated
from picamera2_stand_in import Picamera2
from v4l2_stand_in import Camera as V4l2Camera

from edgecell import plugins
from edgecell.cameras import Camera
from edgecell.messages import Frame
from edgecell.protocols import FrameSource, Probe, Seekable
from edgecell.sources import TABLE

FRAMES = 4
V4L2_NODE = os.environ.get("EDGECELL_TEST_V4L2")
"""A camera that is read in place of the stand-in for the kernel."""
REAL_PICAMERA2 = os.environ.get("EDGECELL_TEST_PICAMERA2") == "real"
"""No stand-in for it: tests/device/virtual_picamera2.py runs these tests where there is a camera that it finds."""
Settings = Mapping[str, object]


def phantom_settings(tmp_path: Path) -> Settings:
    return {"width": 160, "height": 96, "frames": FRAMES}


def images_settings(tmp_path: Path) -> Settings:
    rng = np.random.default_rng(1)
    for number in range(FRAMES):
        cv2.imwrite(str(tmp_path / f"field{number}.png"), rng.integers(0, 255, (40, 60, 3), dtype=np.uint8))
    return {"path": tmp_path}


def v4l2_settings(tmp_path: Path) -> Settings:
    if V4L2_NODE:
        return {"device": V4L2_NODE, "fourcc": "YUYV", "width": 640, "height": 480, "fps": 10}
    node = tmp_path / "video0"
    node.touch()
    return {"device": str(node), "width": 160, "height": 96}


def gstreamer_settings(tmp_path: Path) -> Settings:
    images_settings(tmp_path)
    files = f"multifilesrc location={tmp_path}/field%d.png caps=image/png,framerate=30/1"
    return {"pipeline": f"{files} ! pngdec ! videoconvert ! video/x-raw,format=RGB ! appsink", "live": False}


def picamera2_settings(tmp_path: Path) -> Settings:
    slow = {"frame_duration_us": 300_000} if REAL_PICAMERA2 else {}
    return {"width": 160, "height": 96, "exposure_us": 2000, "gain": 2, "colour_gains": [1.8, 1.4], **slow}


def basler_settings(tmp_path: Path) -> Settings:
    return {**emulated(tmp_path), "latest": False}


def aravis_settings(tmp_path: Path) -> Settings:
    return {"width": 160, "height": 96, "fps": 50, "pixel_format": "BayerRG8", "latest": False}


MAKERS: Mapping[str, Callable[[Path], Settings]] = {
    "aravis": aravis_settings,
    "gstreamer": gstreamer_settings,
    "phantom": phantom_settings,
    "images": images_settings,
    "picamera2": picamera2_settings,
    "v4l2": v4l2_settings,
    "basler": basler_settings,
}
STAND_INS: dict[str, Callable[[], object]] = {"picamera2": lambda: Picamera2, "v4l2": V4l2Camera}
if REAL_PICAMERA2:
    del STAND_INS["picamera2"]
if V4L2_NODE:
    del STAND_INS["v4l2"]
CAMERAS = {"aravis", "basler", "picamera2", "v4l2"}
MOVING = {"aravis", *(["v4l2"] if V4L2_NODE else [])}
"""What these show goes on when nobody looks."""


@pytest.fixture(scope="module")
def fake_camera() -> Iterator[fake_gige.FakeCamera]:
    with fake_gige.attached() as camera:
        yield camera


@pytest.fixture(params=sorted(TABLE))
def part(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, type[Any]]:
    name = str(request.param)
    if name == "basler":
        pytest.importorskip("pypylon")
        monkeypatch.setenv("PYLON_CAMEMU", "1")
    if name == "aravis":
        request.getfixturevalue("fake_camera")
        fake_gige.look_once(monkeypatch)
    return name, plugins.load("source", TABLE, name)


@pytest.fixture
def source(part: tuple[str, type[Any]], tmp_path: Path) -> FrameSource:
    name, kind = part
    if name == "gstreamer":
        system_gi.gst()
    options = msgspec.convert(MAKERS[name](tmp_path), kind.Options)
    made: FrameSource = kind(options, STAND_INS[name]()) if name in STAND_INS else kind(options)
    return made


PATIENCE_S = 60.0
"""A camera may be a program beside, which a busy machine lets wait."""


def everything(source: FrameSource) -> list[Frame]:
    frames: list[Frame] = []
    while len(frames) < FRAMES and (frame := source.read(PATIENCE_S)) is not None:
        frames.append(frame)
    return frames


def test_options_are_a_strict_frozen_struct(part: tuple[str, type[Any]]) -> None:
    _, kind = part
    assert issubclass(kind.Options, msgspec.Struct)
    assert kind.Options.__struct_config__.frozen
    assert kind.Options.__struct_config__.forbid_unknown_fields


def test_probe_answers_without_opening(part: tuple[str, type[Any]]) -> None:
    probe = part[1].probe()
    assert isinstance(probe, Probe)
    assert probe.usable or probe.missing


def test_whoever_is_attached_says_how_to_choose_it(part: tuple[str, type[Any]]) -> None:
    name, kind = part
    for camera in kind.attached():
        assert isinstance(camera, Camera)
        assert camera.name
        assert camera.where
        options = msgspec.convert(camera.options, kind.Options)
        assert isinstance(kind(options), kind)
        assert all(mode.width > 0 and mode.height > 0 for mode in camera.modes)
        assert all(control.name in kind.Options.__struct_fields__ for control in camera.controls)
    assert name not in ("aravis", "basler") or kind.attached()


def test_frames_are_whole_locked_and_numbered(source: FrameSource) -> None:
    with source:
        frames = everything(source)
    assert [frame.index for frame in frames] == list(range(FRAMES))
    for frame in frames:
        assert frame.source_id == source.source_id
        assert frame.image.dtype == np.uint8
        assert frame.image.ndim == 3
        assert frame.image.shape[2] == 3
        assert not frame.image.flags.writeable
    times = [frame.captured_ns for frame in frames]
    assert times == sorted(times)


def test_a_frame_outlives_the_next_read(source: FrameSource) -> None:
    with source:
        first = source.read(PATIENCE_S)
        assert first is not None
        kept = first.image.copy()
        everything(source)
    assert np.array_equal(first.image, kept)


def test_the_end_stays_the_end(part: tuple[str, type[Any]], source: FrameSource) -> None:
    if part[0] in CAMERAS:
        pytest.skip("a camera has no end")
    with source:
        everything(source)
        assert source.read(1.0) is None
        assert source.read(0.0) is None


def test_opening_again_starts_again(part: tuple[str, type[Any]], source: FrameSource) -> None:
    with source:
        first = everything(source)
    with source:
        again = everything(source)
    assert [frame.index for frame in again] == [frame.index for frame in first]
    pairs = zip(first, again, strict=True)
    assert part[0] in MOVING or all(np.array_equal(one.image, other.image) for one, other in pairs)


@pytest.mark.parametrize("first", range(FRAMES + 1))
def test_a_source_that_can_start_anywhere_gives_the_same_frames_from_there(source: FrameSource, first: int) -> None:
    if not isinstance(source, Seekable):
        pytest.skip("a camera gives what it sees")
    same = source.fingerprint()
    with source:
        whole = everything(source)
    source.start_at(first)
    with source:
        rest = everything(source)
    assert [frame.index for frame in rest] == list(range(first, FRAMES))
    for one, other in zip(rest, whole[first:], strict=True):
        assert (one.label, one.slide_um) == (other.label, other.slide_um)
        assert np.array_equal(one.image, other.image)
    assert source.fingerprint() == same
