"""GStreamer pipelines, run by GStreamer itself: test pictures, files, failing elements, buffers of the wrong size.

No Jetson is needed; what its camera's elements are is only asked for.
"""

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import system_gi

from edgecell import clock
from edgecell.errors import FrameCorrupt, FrameTimeout, MissingDependency, SettingsError, SourceUnavailable
from edgecell.messages import Frame
from edgecell.settings import decode_options, source_from_spec
from edgecell.sources import gstreamer
from edgecell.sources.gstreamer import TO_RGB, GstreamerOptions, GstreamerSource

RAW = "video/x-raw,width=64,height=48,framerate=100/1"
LIVE = f"videotestsrc is-live=true ! {RAW}"
RED = "videotestsrc pattern=solid-color foreground-color=0xffc81000 num-buffers=2"
NVMM = "video/x-raw(memory:NVMM),width=1920,height=1080,framerate=30/1"
JETSON = f"nvarguscamerasrc ! {NVMM} ! nvvidconv ! video/x-raw,format=BGRx ! appsink"
PATIENCE_NS = 20_000_000_000


@pytest.fixture
def gst() -> Any:
    return system_gi.gst()


def source(pipeline: str, **options: Any) -> GstreamerSource:
    return GstreamerSource(GstreamerOptions(pipeline=pipeline, **options))


def read(opened: GstreamerSource) -> Frame:
    frame = opened.read(5.0)
    assert frame is not None
    return frame


def until(opened: GstreamerSource, index: int) -> None:
    """Wait until the camera is so far."""
    end = clock.monotonic_ns() + PATIENCE_NS
    while opened._came <= index and clock.monotonic_ns() < end:
        clock.sleep(0.005)
    assert opened._came > index


def test_a_pipeline_may_stand_on_the_command_line() -> None:
    text = f"videotestsrc is-live=true ! {RAW},format=RGB ! appsink"
    options = decode_options(GstreamerSource, source_from_spec(f"gstreamer:{text}"))
    assert options == GstreamerOptions(pipeline=text)


@pytest.mark.parametrize("order", TO_RGB)
@pytest.mark.parametrize("width", [64, 65])
def test_every_order_of_colours_becomes_red_green_blue(gst: Any, order: str, width: int) -> None:
    """Of an odd width a line of three bytes a pixel is padded to four."""
    with source(f"{RED} ! video/x-raw,format={order},width={width},height=48 ! appsink", live=False) as opened:
        image = read(opened).image
    assert image.shape == (48, width, 3)
    assert not image.flags.writeable
    assert np.unique(image.reshape(-1, 3), axis=0).tolist() == [[0xC8, 0x10, 0x00]]


def test_other_formats_are_refused_with_the_end_that_a_pipeline_needs(gst: Any) -> None:
    with pytest.raises(SourceUnavailable, match="not-negotiated") as caught, source(f"{LIVE},format=NV12 ! appsink"):
        pass
    assert "videoconvert ! video/x-raw,format=RGB ! appsink" in caught.value.fix
    assert "nvvidconv ! video/x-raw,format=BGRx ! appsink" in caught.value.fix


@pytest.mark.parametrize("rate", [",framerate=30/1", ""])
def test_files_wait_and_end(gst: Any, tmp_path: Path, rate: str) -> None:
    """Without a rate they have no times."""
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"field{number}.png"), np.full((48, 64, 3), number, np.uint8))
    text = f"multifilesrc location={tmp_path}/field%d.png caps=image/png{rate} ! pngdec ! videoconvert ! appsink"
    with source(text, live=False, buffers=1) as opened:
        frames = [read(opened) for _ in range(12)]
        assert opened.read(5.0) is None
        assert opened.read(0.0) is None
    assert [frame.index for frame in frames] == list(range(12))
    assert [int(frame.image[0, 0, 0]) for frame in frames] == list(range(12))


def test_a_camera_goes_on_and_what_it_let_go_is_a_gap(gst: Any) -> None:
    with source(f"{LIVE},format=RGB ! appsink", buffers=3) as opened:
        assert opened.live
        assert read(opened).index == 0  # it was waited for when the pipeline was opened
        until(opened, 10)
        newest = opened._came - 1
        waiting = [read(opened).index for _ in range(3)]
        after = read(opened).index
    assert waiting[0] >= newest - 3
    assert waiting[0] > 1
    assert waiting == sorted(set(waiting))
    assert after > waiting[-1]


def test_one_that_is_read_in_time_has_no_gaps_and_the_camera_s_times(gst: Any) -> None:
    start = clock.monotonic_ns()
    with source(f"videotestsrc is-live=true ! {RAW.replace('100/1', '25/1')},format=RGB ! appsink", buffers=8) as opened:
        frames = [read(opened) for _ in range(6)]
    assert [frame.index for frame in frames] == list(range(6))
    times = [frame.captured_ns for frame in frames]
    assert start < times[0] <= times[-1] < clock.monotonic_ns()
    assert all(later - one == pytest.approx(40_000_000, abs=2) for one, later in pairwise(times[1:]))


def test_no_frame_in_time(gst: Any) -> None:
    with source("videotestsrc is-live=true ! video/x-raw,format=RGB,framerate=1/1 ! appsink") as opened:
        read(opened)
        with pytest.raises(FrameTimeout, match=r"no frame within 0.01 s"):
            opened.read(0.01)


def test_an_element_that_fails_is_a_camera_that_is_gone_and_may_come_back(gst: Any) -> None:
    opened = source(f"{LIVE},format=RGB ! identity error-after=4 ! appsink", buffers=8)
    for _ in range(2):
        with opened:
            assert [read(opened).index for _ in range(3)] == [0, 1, 2]
            for _ in range(2):
                with pytest.raises(SourceUnavailable, match="Failed after iterations as requested"):
                    opened.read(5.0)


def test_a_camera_whose_stream_ends_without_a_word_is_gone_and_may_come_back(gst: Any) -> None:
    """As nvarguscamerasrc's does. A run would have ended as if all was well."""
    opened = source(f"{LIVE.replace('is-live', 'num-buffers=3 is-live')},format=RGB ! appsink", buffers=8)
    for _ in range(2):
        with opened:
            assert [read(opened).index for _ in range(3)] == [0, 1, 2]
            with pytest.raises(SourceUnavailable, match="the camera's stream has ended"):
                opened.read(5.0)


def test_a_device_that_is_not_there(gst: Any) -> None:
    if gst.ElementFactory.find("v4l2src") is None:
        pytest.skip("no element v4l2src")
    with pytest.raises(SourceUnavailable, match=r"/dev/video99.*No such file"), source("v4l2src device=/dev/video99 ! appsink"):
        pass


def test_buffers_of_another_size_are_damaged_and_take_their_index(gst: Any, tmp_path: Path) -> None:
    for number, size in enumerate((9216, 9215, 9217, 9216)):
        (tmp_path / f"{number}.raw").write_bytes(bytes(size))
    caps = "video/x-raw,format=RGB,width=64,height=48,framerate=30/1"
    with source(f'multifilesrc location={tmp_path}/%d.raw caps="{caps}" ! appsink', live=False) as opened:
        assert read(opened).index == 0
        for index, size in ((1, 9215), (2, 9217)):
            with pytest.raises(FrameCorrupt, match=f"frame {index} has {size} bytes, not 9216, as RGB 64x48") as caught:
                opened.read(5.0)
            assert caught.value.index == index
        assert read(opened).index == 3
        assert opened.read(5.0) is None


class Marked(GstreamerSource):
    """Its camera marks every buffer as damaged, as the kernel's drivers do when data were lost on the cable."""

    def _note(self, pad: Any, info: Any) -> Any:
        info.get_buffer().set_flags(self._gst.BufferFlags.CORRUPTED)
        return super()._note(pad, info)


def test_buffers_that_are_marked_are_damaged(gst: Any) -> None:
    marked = Marked(GstreamerOptions(pipeline=f"{LIVE},format=RGB ! appsink"))
    with marked, pytest.raises(FrameCorrupt, match="frame 0 is damaged") as caught:
        marked.read(5.0)
    assert caught.value.index == 0


def test_a_pipeline_that_gives_nothing(gst: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gstreamer, "OPEN_NS", 20_000_000)
    with pytest.raises(SourceUnavailable, match="gives no picture within"), source("appsrc ! appsink", live=False):
        pass
    with (
        pytest.raises(SourceUnavailable, match="plays, but gives no picture within"),
        source("appsrc is-live=true ! appsink"),
    ):
        pass


def test_data_without_a_format(gst: Any) -> None:
    with pytest.raises(SettingsError, match="has no format"), source("fakesrc num-buffers=2 ! appsink", live=False):
        pass


def test_a_pipeline_without_a_picture(gst: Any) -> None:
    with (
        pytest.raises(SourceUnavailable, match="gives no picture"),
        source(f"videotestsrc num-buffers=0 ! {RAW},format=RGB ! appsink", live=False),
    ):
        pass


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        ("appsink", "has 0 appsinks behind a source"),
        ("videotestsrc ! fakesink", "has 0 appsinks"),
        ("videotestsrc ! appsink videotestsrc ! appsink", "has 2 appsinks"),
        ("videotestsrc ! ! appsink", "syntax error"),
        ("videotestsrc width=3 ! appsink", 'no property "width"'),
    ],
)
def test_what_is_no_such_pipeline(gst: Any, pipeline: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught, source(pipeline):
        pass
    assert "appsink" in caught.value.fix


@pytest.mark.parametrize(("text", "live"), [(LIVE, False), (LIVE.replace(" is-live=true", ""), True)])
def test_live_is_as_the_pipeline_is(gst: Any, text: str, live: bool) -> None:
    with pytest.raises(SettingsError) as caught, source(f"{text},format=RGB ! appsink", live=live):
        pass
    assert caught.value.fix == f"set live = {str(not live).lower()}"


def test_an_element_that_is_missing_is_named(gst: Any) -> None:
    if gst.ElementFactory.find("nvarguscamerasrc") is not None:
        pytest.skip("a Jetson has it")
    with pytest.raises(MissingDependency, match='no element "nvarguscamerasrc"') as caught, source(JETSON):
        pass
    assert "nvidia-l4t-gstreamer" in caught.value.fix


def test_without_the_binding_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gi", None)
    with pytest.raises(MissingDependency) as caught, source("videotestsrc ! appsink"):
        pass
    assert "apt install python3-gi" in caught.value.fix
    probe = GstreamerSource.probe()
    assert not probe.usable
    assert "--system-site-packages" in probe.missing


def test_with_it_the_version_is_told(gst: Any) -> None:
    probe = GstreamerSource.probe()
    assert probe.usable
    assert probe.version.startswith("GStreamer 1.")


def test_reading_what_is_not_open() -> None:
    with pytest.raises(SourceUnavailable, match="is not open"):
        source("videotestsrc ! appsink").read(0.1)
