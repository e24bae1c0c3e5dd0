"""What the v4l2 source does with the kernel's virtual camera. test_v4l2_vivid.py runs this in a machine that has one."""

import fcntl
import json
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import called

from edgecell import app, clock
from edgecell.errors import FrameTimeout, SourceUnavailable
from edgecell.messages import FrameReport
from edgecell.protocols import Progress
from edgecell.settings import PartSettings, RunSettings, Settings
from edgecell.sources.v4l2 import V4l2Options, V4l2Source
from edgecell.wire import CountsMessage, Heartbeat, Message

NODE = Path("/dev/video0")
VIDIOC_S_CTRL = 0xC008561C
GAIN_AUTOMATIC, DROPPED_PERCENT = 0x00980912, 0x00F0F040
DISCONNECT, STREAMON_ERROR, FATAL_ERROR = 0x00F0F041, 0x00F0F045, 0x00F0F046
"""Controls of vivid (kernel sources, drivers/media/test-drivers/vivid/vivid-ctrls.c)."""
BARS = [(191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (191, 0, 0), (0, 0, 191), (0, 0, 0)]
"""Its colour bars of 75 %, RGB, from the left."""


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
        for index in range(20):
            before = source._captured_ns
            frame = source.read(5)
            assert frame is not None
            assert frame.index == index
            assert before < frame.captured_ns <= clock.monotonic_ns() < frame.captured_ns + 800_000_000
            assert frame.image.shape == (360, 640, 3)
            assert frame.image.dtype == np.uint8
            assert not frame.image.flags.writeable
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
        ({"fourcc": "MJPG"}, "has no MJPG 640x360, it offers BGR3 640x360 instead"),
        ({"width": 800, "height": 600}, "has no YUYV 800x600, it offers YUYV 640x480 instead"),
        ({"exposure_us": 2000}, "does not take exposure_us = 2000"),
        ({"white_balance_k": 5000}, "does not take white_balance_k = 5000"),
        ({"gain": 250}, "does not take gain = 250, it stays at"),
    ],
)
def test_what_it_has_not_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(SourceUnavailable, match=said), camera(**options):
        pass


def test_gain_where_no_automatic_holds_it() -> None:
    control(GAIN_AUTOMATIC, 0)
    with camera(gain=250) as source:
        assert source.read(5) is not None
        assert source._capture is not None
        assert source._capture.get(cv2.CAP_PROP_GAIN) == 250


@pytest.mark.parametrize("buffers", [1, 4])
def test_a_frame_is_fresh_after_a_pause(buffers: int) -> None:
    with camera(buffers=buffers) as source:
        for index in range(4):
            frame = source.read(5)
            assert frame is not None
            assert frame.index == index
            assert clock.monotonic_ns() - frame.captured_ns < 800_000_000
            time.sleep(1)


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


def test_a_run_ends_with_its_sums() -> None:
    ended = called("run", "--source", "v4l2:device=0,fourcc=YUYV,width=640,height=360", "--max-frames", 3, "--json")
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    counts = [each for each in map(json.loads, ended.out.splitlines()) if "frames" in each][-1]
    frames = counts["frames"]
    assert frames["captured"] == sum(frames[each] for each in ("processed", "dropped", "gated", "failed", "in_flight"))
