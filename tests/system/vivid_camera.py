"""What the v4l2 source does with the kernel's virtual camera. test_v4l2_kernel.py runs this in a machine that has one."""

import fcntl
import json
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from command_line import called

from edgecell import app, clock
from edgecell.errors import FrameCorrupt, FrameTimeout, SourceUnavailable
from edgecell.imagefile import load_image
from edgecell.messages import FrameReport
from edgecell.protocols import Progress
from edgecell.settings import PartSettings, RunSettings, Settings
from edgecell.sources.v4l2 import V4l2Options, V4l2Source
from edgecell.wire import CountsMessage, Heartbeat, Message

NODE = Path("/dev/video0")
VIDIOC_G_CTRL, VIDIOC_S_CTRL = 0xC008561B, 0xC008561C
GAIN, GAIN_AUTOMATIC, DROPPED_PERCENT = 0x00980913, 0x00980912, 0x00F0F040
DISCONNECT, DAMAGED, STREAMON_ERROR, FATAL_ERROR = 0x00F0F041, 0x00F0F042, 0x00F0F045, 0x00F0F046
"""Controls of vivid (kernel sources, drivers/media/test-drivers/vivid/vivid-ctrls.c)."""
BARS = [(191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (191, 0, 0), (0, 0, 191), (0, 0, 0)]
"""Its colour bars of 75 %, RGB, from the left."""


def value_of(number: int) -> int:
    """Of a control."""
    with NODE.open("rb", buffering=0) as node:
        answer = fcntl.ioctl(node, VIDIOC_G_CTRL, struct.pack("Ii", number, 0))
    return int(struct.unpack("Ii", answer)[1])


def control(number: int, value: int) -> None:
    with NODE.open("rb", buffering=0) as node:
        fcntl.ioctl(node, VIDIOC_S_CTRL, struct.pack("Ii", number, value))


def camera(**options: object) -> V4l2Source:
    return V4l2Source(V4l2Options(**{"fourcc": "YUYV", "width": 640, "height": 360, **options}))  # type: ignore[arg-type]


def read_until(source: V4l2Source, deadline_s: float) -> None:
    while time.monotonic() < deadline_s:
        source.read(2)


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    control(DROPPED_PERCENT, 0)
    control(GAIN_AUTOMATIC, 1)


def test_twenty_frames() -> None:
    with camera() as source:
        index = -1
        for _ in range(20):
            before = source._captured_ns
            frame = source.read(5)
            assert frame is not None
            assert frame.index > index, "an emulated machine may be too slow for all of them"
            index = frame.index
            assert before < frame.captured_ns <= clock.monotonic_ns() < frame.captured_ns + 800_000_000
            assert frame.image.shape == (360, 640, 3)
            assert frame.image.dtype == np.uint8
            assert not frame.image.flags.writeable
            assert np.abs(frame.image[300, 40::80].astype(int) - BARS).max() <= 4


@pytest.mark.parametrize("fourcc", ["YUYV", "UYVY", "NV12", "RGB3", "BGR3"])
def test_formats(fourcc: str) -> None:
    with camera(fourcc=fourcc) as source:
        frame = source.read(5)
    assert frame is not None
    assert np.abs(frame.image[300, 40::80].astype(int) - BARS).max() <= 4


@pytest.mark.parametrize("size", [(320, 180), (640, 480), (1280, 720)])
@pytest.mark.parametrize("more", [{}, {"fps": 5, "buffers": 10}])
def test_sizes(size: tuple[int, int], more: dict[str, object]) -> None:
    with camera(width=size[0], height=size[1], **more) as source:
        frame = source.read(5)
    assert frame is not None
    assert frame.image.shape == (size[1], size[0], 3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"fourcc": "MJPG"},
            r"has no MJPG 640x360\. It has YUYV, UYVY, .*: 3840x2160, 1920x1080, 1280x720, 640x480, 640x360, 320x180",
        ),
        ({"width": 800, "height": 600}, r"has no YUYV 800x600\. It has YUYV, UYVY, .*: 3840x2160, "),
        ({"exposure_us": 2000}, "does not take exposure_us = 2000: it has no such control"),
        ({"white_balance_k": 5000}, "does not take white_balance_k = 5000: it has no such control"),
        ({"gain": 5000}, "does not take gain = 5000, it stays at"),
    ],
)
def test_what_it_has_not_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(SourceUnavailable, match=said), camera(**options):
        pass


def test_a_gain_that_is_given_switches_the_automatic_off() -> None:
    with camera(gain=250) as source:
        assert source.read(5) is not None
    assert (value_of(GAIN_AUTOMATIC), value_of(GAIN)) == (0, 250)


def test_attached_names_its_modes_and_gain() -> None:
    (found,) = V4l2Source.attached()
    assert found.name == "vivid"
    assert found.where.startswith("/dev/video0, platform:vivid")
    assert {**found.options, "fps": 0} == {"device": "/dev/video0", "fourcc": "YUYV", "width": 1280, "height": 720, "fps": 0}
    assert found.options["fps"] == 12.5, "the larger ones come slower than ten times a second"
    yuyv = [mode for mode in found.modes if mode.pixel_format == "YUYV"]
    assert [mode.width for mode in yuyv] == [3840, 1920, 1280, 640, 640, 320]
    assert all(mode.usable and mode.fps for mode in yuyv)
    assert [(each.name, each.minimum, each.maximum) for each in found.controls] == [("gain", 0, 255)]


@pytest.mark.parametrize("buffers", [2, 4])
def test_a_frame_is_fresh_after_a_pause(buffers: int) -> None:
    with camera(buffers=buffers) as source:
        index = -1
        for _ in range(4):
            frame = source.read(5)
            assert frame is not None
            assert frame.index > index, "what was let go is a gap"
            assert clock.monotonic_ns() - frame.captured_ns < 800_000_000
            index = frame.index
            time.sleep(1)
        assert index >= 6


def test_a_camera_that_pauses_is_a_time_out() -> None:
    with camera() as source:
        control(DROPPED_PERCENT, 100)
        with suppress(FrameTimeout):
            read_until(source, time.monotonic() + 5)
        begun = time.monotonic()
        with pytest.raises(FrameTimeout, match=r"no frame within 0\.3 s"):
            source.read(0.3)
        assert 0.3 <= time.monotonic() - begun < 2
        control(DROPPED_PERCENT, 0)
        assert source.read(5) is not None


def test_what_the_cable_lost_is_a_gap() -> None:
    """Half of the buffers never come; the kernel counts them."""
    with camera() as source:
        control(DROPPED_PERCENT, 50)
        frames = [source.read(5) for _ in range(20)]
    indices = [frame.index for frame in frames if frame is not None]
    assert indices == sorted(set(indices))
    assert len(indices) == 20
    assert indices[-1] - indices[0] >= 25


def test_a_frame_that_the_kernel_calls_damaged_takes_its_number() -> None:
    with camera() as source:
        first = source.read(5)
        control(DAMAGED, 1)
        with pytest.raises(FrameCorrupt) as caught:
            read_until(source, time.monotonic() + 5)
        later = source.read(5)
    assert first is not None
    assert later is not None
    assert first.index < caught.value.index < later.index


def test_a_stream_that_does_not_start() -> None:
    control(STREAMON_ERROR, 1)
    with pytest.raises(SourceUnavailable, match="gives no picture"), camera():
        pass


def test_in_use() -> None:
    with camera(), pytest.raises(SourceUnavailable, match="close the program that uses it"), camera():
        pass


@pytest.mark.parametrize("event", [FATAL_ERROR, DISCONNECT])
def test_a_camera_that_goes_while_it_is_read(event: int, capfd: pytest.CaptureFixture[str]) -> None:
    with camera() as source:
        timer = threading.Timer(0.5, control, (event, 1))
        timer.start()
        with pytest.raises(SourceUnavailable, match="the camera is gone") as caught:
            read_until(source, time.monotonic() + 5)
        timer.join()
    assert caught.value.fix == "plug it in again: a run goes on by itself"
    assert capfd.readouterr().err == ""


class Onlooker:
    """Takes the camera away after a frame, and stops the run once a later frame was seen and counted as valid again."""

    def __init__(self, event: int) -> None:
        self._event = event
        self._taken = self._later = False
        self.messages: list[Message] = []

    def settled(self, report: FrameReport | None, progress: Callable[[], Progress]) -> None:
        if not self._taken:
            self._taken = True
            control(self._event, 1)
        self._later = bool(self.lost)

    def sent(self, message: Message) -> None:
        self.messages.append(message)
        if self._later and isinstance(message, CountsMessage) and message.valid:
            self._later = False
            signal.raise_signal(signal.SIGTERM)

    @property
    def lost(self) -> list[CountsMessage]:
        return [each for each in self.messages if isinstance(each, CountsMessage) and "camera is gone" in each.invalid_reason]


@pytest.mark.parametrize("event", [FATAL_ERROR, DISCONNECT])
def test_a_run_goes_on_when_its_camera_is_back(event: int) -> None:
    source = PartSettings(part="v4l2", options={"fourcc": "YUYV", "width": 640, "height": 360})
    bus = PartSettings(part="zmq", options={"endpoint": "tcp://127.0.0.1:*"})
    run = RunSettings(window_s=0.2, heartbeat_s=0.1)
    chosen = Settings(models={}, source=source, publisher=bus, run=run, segmenter=PartSettings(part="stain"))
    onlooker = Onlooker(event)
    with app.plan(chosen).runtime(onlooker) as runtime:
        last = runtime.run()
    frames = last.counts.frames
    assert (last.state, last.counts.valid, frames.in_flight) == ("stopped", True, 0)
    assert frames.captured == frames.processed + frames.dropped + frames.gated + frames.failed
    assert onlooker.lost
    assert not any(each.valid for each in onlooker.lost)
    assert "degraded" in {each.state for each in onlooker.messages if isinstance(each, Heartbeat)}


def test_doctor_names_it() -> None:
    ended = called("doctor", "--json")
    assert "vivid" in ended.out
    assert V4l2Source.probe().usable


def test_what_cameras_proposes_is_what_snap_can_take(tmp_path: Path) -> None:
    (document,) = called("cameras", "--json").documents
    (found,) = [each for each in document["cameras"] if each["source"] == "v4l2"]
    (tmp_path / "bench.toml").write_text(found["settings"])
    (snap,) = called("snap", tmp_path / "bench.toml", "-o", tmp_path / "a.png", "--json").documents
    assert (snap["width"], snap["height"]) == (1280, 720)
    assert np.abs(load_image(tmp_path / "a.png")[700, 80::160].astype(int) - BARS).max() <= 4


def test_a_run_ends_with_its_sums(tmp_path: Path) -> None:
    source = '[source]\npart = "v4l2"\nfourcc = "YUYV"\nwidth = 640\nheight = 360\n'
    (tmp_path / "bench.toml").write_text(f'{source}[segmenter]\npart = "stain"\n[models]\n')
    ended = called(
        "run", tmp_path / "bench.toml", "--max-frames", 3, "--json", "--no-journal", "--publish", "tcp://127.0.0.1:*"
    )
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    counts = [each for each in map(json.loads, ended.out.splitlines()) if "frames" in each][-1]
    frames = counts["frames"]
    assert frames["captured"] == sum(frames[each] for each in ("processed", "dropped", "gated", "failed", "in_flight"))
