"""Frames from a GStreamer pipeline: what a Jetson's CSI cameras come by (nvarguscamerasrc), and whatever else GStreamer reads.

OpenCV's wheel has no GStreamer and hides JetPack's OpenCV, which has, so this goes through GStreamer's own Python binding (gi).
Tested with GStreamer 1.22's videotestsrc, multifilesrc and fakesrc; no Jetson was at hand.
"""

from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Annotated, Any

import cv2
import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from typing_extensions import Self

from edgecell import clock
from edgecell.cameras import Camera
from edgecell.errors import FrameCorrupt, FrameTimeout, MissingDependency, SettingsError, SourceUnavailable
from edgecell.messages import Frame
from edgecell.protocols import Probe

TO_RGB = {
    "RGB": None,
    "BGR": cv2.COLOR_BGR2RGB,
    "RGBx": cv2.COLOR_RGBA2RGB,
    "RGBA": cv2.COLOR_RGBA2RGB,
    "BGRx": cv2.COLOR_BGRA2RGB,
    "BGRA": cv2.COLOR_BGRA2RGB,
}
"""By GStreamer's names, which go by the order in memory. On a Jetson nvvidconv gives the last four, never RGB itself."""
CAPS = f"video/x-raw,format={{{','.join(TO_RGB)}}}"
"""Without a feature in brackets this is memory that the CPU reads: NVMM is not."""
OPEN_NS = 10_000_000_000
"""Until the first picture is there; Argus takes a second or two."""
OLDEST_NS = 60_000_000_000
"""A buffer's time further back than this is not on the monotonic clock."""
IN_PASSING = 8
"""Buffers that may be between where they are numbered and where they are read, beside those that the sink keeps."""
INSTALL = (
    "sudo apt install python3-gi gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good, "
    "and make the environment by: python3 -m venv --system-site-packages"
)
ENDING = "end it in: videoconvert ! video/x-raw,format=RGB ! appsink; a Jetson: nvvidconv ! video/x-raw,format=BGRx ! appsink"
CHECK = "check the camera and its cable, and try the pipeline by gst-launch-1.0"


class GstreamerOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """pipeline: as for gst-launch-1.0, with one appsink at its end, which is given RGB, BGR, RGBx, RGBA, BGRx or BGRA. Size,
    rate, exposure and gain are said in it. The sink's caps, max-buffers, drop and sync are set by what follows here.

    live: it goes on whether or not anyone reads, the oldest of `buffers` waiting frames is let go, and its end is a failure;
    false is for files, which wait.
    """

    pipeline: Annotated[str, Meta(min_length=1, max_length=4000)]
    live: bool = True
    buffers: Annotated[int, Meta(ge=1, le=64)] = 2


class GstreamerSource:
    """Frames of a pipeline. One that the sink let go took its index; what was lost before the sink is not known.

    captured_ns is the buffer's time where the pipeline goes by the monotonic clock, as it does with a camera, else the time of
    reading. Pixels are copied once out of GStreamer's memory, and once more where their order is not RGB.
    """

    Options = GstreamerOptions

    def __init__(self, options: GstreamerOptions) -> None:
        self._options = options
        self.source_id = "gstreamer"
        self._gst: Any = None
        self._pipeline: Any = None
        self._sink: Any = None
        self._first: Any = None
        self._arrived: deque[tuple[int, int]] = deque(maxlen=options.buffers + IN_PASSING)
        self._came = self._next = self._captured_ns = 0
        self._failure = ""

    @property
    def live(self) -> bool:
        return self._options.live

    def __enter__(self) -> Self:
        """Raises MissingDependency: GStreamer or an element. SettingsError: no such pipeline. SourceUnavailable: it fails."""
        self._gst = _library()
        self._pipeline = self._parsed()
        self._sink = self._only_sink(self._pipeline)
        self._arrived.clear()
        self._came = self._next = self._captured_ns = 0
        self._failure = ""
        self._set_up_sink(self._sink)
        try:
            self._start(self._pipeline)
            self._first = self._first_sample(self._sink)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        pipeline, self._pipeline, self._sink = self._pipeline, None, None
        self._first = None
        if pipeline is not None:
            pipeline.set_state(self._gst.State.NULL)

    @classmethod
    def probe(cls) -> Probe:
        """Usable if GStreamer can be called; whether a pipeline has its elements shows when it is opened."""
        try:
            gst = _library()
        except MissingDependency as error:
            return Probe(usable=False, version="", missing=f"{error.what}: {error.fix}")
        return Probe(usable=True, version=gst.version_string())

    @classmethod
    def attached(cls) -> Sequence[Camera]:
        """None: a pipeline is the user's, and what it reads too."""
        return ()

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame; None when a pipeline of files has ended. Raises FrameTimeout, FrameCorrupt, SourceUnavailable."""
        if self._sink is None:
            raise SourceUnavailable(f"{self.source_id}: is not open", fix="use it inside a with statement")
        sample, self._first = self._first or self._sink.emit("try-pull-sample", max(0, round(timeout_s * 1e9))), None
        if sample is None:
            self._check_ended(timeout_s)
            return None
        now, buffer = clock.monotonic_ns(), sample.get_buffer()
        index = self._number(self._known_by(buffer))
        image = self._image(sample, buffer, index)
        self._captured_ns = max(self._captured_ns, self._told_ns(sample, buffer, now) or now)
        return Frame(source_id=self.source_id, index=index, captured_ns=self._captured_ns, image=image)

    def _parsed(self) -> Any:
        from gi.repository import GLib

        gst, text = self._gst, self._options.pipeline
        try:
            return gst.parse_launch(text)
        except GLib.Error as error:
            if error.matches(gst.ParseError.quark(), gst.ParseError.NO_SUCH_ELEMENT):
                fix = "see what is there: gst-inspect-1.0; those of a Jetson are in its package nvidia-l4t-gstreamer"
                raise MissingDependency(f"{self.source_id}: {error.message}", fix=fix) from None
            raise SettingsError(f"pipeline: {error.message}: {text}", fix=f"try it by gst-launch-1.0; {ENDING}") from None

    def _only_sink(self, pipeline: Any) -> Any:
        gst, sinks = self._gst, []
        if isinstance(pipeline, gst.Bin):
            every = pipeline.iterate_recurse()
            each = every.next()
            while each[0] == gst.IteratorResult.OK:
                if each[1].get_factory().get_name() == "appsink":
                    sinks.append(each[1])
                each = every.next()
        if len(sinks) != 1:
            what = f"pipeline: has {len(sinks)} appsinks behind a source, not one: {self._options.pipeline}"
            raise SettingsError(what, fix=ENDING)
        return sinks[0]

    def _set_up_sink(self, sink: Any) -> None:
        """It takes what can be read here, keeps so many, and each that comes is numbered on GStreamer's thread."""
        gst = self._gst
        sink.set_property("caps", gst.Caps.from_string(CAPS))
        sink.set_property("max-buffers", self._options.buffers)
        sink.set_property("drop", self._options.live)
        sink.set_property("sync", False)
        sink.get_static_pad("sink").add_probe(gst.PadProbeType.BUFFER, self._note)

    def _note(self, pad: Any, info: Any) -> Any:  # noqa: ARG002 GStreamer gives both
        buffer = info.get_buffer()
        self._arrived.append((self._came, self._known_by(buffer)))
        self._came += 1
        return self._gst.PadProbeReturn.OK

    def _start(self, pipeline: Any) -> None:
        """Only a live source gives nothing before it plays."""
        change, state = self._gst.StateChangeReturn, self._gst.State
        pipeline.set_state(state.PAUSED)
        paused = pipeline.get_state(OPEN_NS)[0]
        if paused in (change.FAILURE, change.ASYNC):
            raise self._unusable(f"gives no picture within {OPEN_NS / 1e9:.0f} s")
        if (paused == change.NO_PREROLL) != self.live:
            told = "no live source" if self.live else "a live source"
            fix = f"set live = {str(not self.live).lower()}"
            raise SettingsError(f"pipeline: has {told}: {self._options.pipeline}", fix=fix)
        pipeline.set_state(state.PLAYING)

    def _first_sample(self, sink: Any) -> Any:
        """A pipeline that plays may yet fail, or give what is no picture."""
        sample = sink.emit("try-pull-sample", OPEN_NS)
        if sample is None:
            raise self._unusable(f"plays, but gives no picture within {OPEN_NS / 1e9:.0f} s or before its end")
        if sample.get_caps() is None:
            raise SettingsError(f"pipeline: what it gives has no format: {self._options.pipeline}", fix=ENDING)
        return sample

    def _unusable(self, otherwise: str) -> SourceUnavailable:
        return SourceUnavailable(f"{self.source_id}: {self._error() or otherwise}", fix=f"{CHECK}; {ENDING}")

    def _check_ended(self, timeout_s: float) -> None:
        """Raises if no sample came for another reason. An element that fails ends the stream too, after it has said so;
        nvarguscamerasrc says nothing. A camera has no end."""
        self._failure = self._failure or self._error()
        if self._failure:
            raise SourceUnavailable(f"{self.source_id}: {self._failure}", fix=f"{CHECK}: a run with a camera goes on by itself")
        if not self._sink.get_property("eos"):
            raise FrameTimeout(f"{self.source_id}: no frame within {timeout_s:g} s", fix=CHECK)
        if self.live:
            raise SourceUnavailable(f"{self.source_id}: the camera's stream has ended", fix=f"{CHECK}: a run goes on by itself")

    def _error(self) -> str:
        """What the element that failed first said, "" if none did."""
        message = self._pipeline.get_bus().pop_filtered(self._gst.MessageType.ERROR)
        if message is None:
            return ""
        error, detail = message.parse_error()
        lines = (detail or "").splitlines()[1:]  # the first is a place in GStreamer's sources
        return " ".join([error.message, *lines])

    def _known_by(self, buffer: Any) -> int:
        """By what a buffer is found again: its time, or, as files may have none, where it lies in memory."""
        time: int = buffer.pts
        return hash(buffer) if time == self._gst.CLOCK_TIME_NONE else time

    def _number(self, key: int) -> int:
        """The index of a buffer: its place among those that came to the sink."""
        index = self._next
        while self._arrived:
            came, other = self._arrived.popleft()
            if other == key:
                index = came
                break
        self._next = index + 1
        return index

    def _image(self, sample: Any, buffer: Any, index: int) -> NDArray[np.uint8]:
        told = sample.get_caps().get_structure(0)
        order, width, height = told.get_string("format"), told.get_int("width")[1], told.get_int("height")[1]
        channels = 3 if len(order) == 3 else 4
        stride, size = -(-width * channels // 4) * 4, buffer.get_size()
        damaged = buffer.get_flags() & self._gst.BufferFlags.CORRUPTED
        if damaged or size != stride * height:
            said = "is damaged" if damaged else f"has {size} bytes, not {stride * height}, as {order} {width}x{height}"
            raise FrameCorrupt(f"{self.source_id}: frame {index} {said}", fix=CHECK, index=index)
        lines = np.frombuffer(buffer.extract_dup(0, size), np.uint8).reshape(height, stride)
        pixels = lines[:, : width * channels].reshape(height, width, channels)
        code = TO_RGB[order]
        image = pixels if code is None else cv2.cvtColor(pixels, code).astype(np.uint8, copy=False)
        image.setflags(write=False)
        return image

    def _told_ns(self, sample: Any, buffer: Any, now: int) -> int | None:
        """When a camera's buffer was made; None for files, and where the pipeline goes by another clock than ours."""
        gst, ticks = self._gst, self._pipeline.get_clock()
        ours = isinstance(ticks, gst.SystemClock) and ticks.get_property("clock-type") == gst.ClockType.MONOTONIC
        if not self.live or not ours:
            return None
        segment = sample.get_segment()
        if segment.format != gst.Format.TIME:
            return None
        running = segment.to_running_time(gst.Format.TIME, buffer.pts)
        told: int = self._pipeline.get_base_time() + running
        return told if now - OLDEST_NS < told <= now else None


def _library() -> Any:
    """GStreamer, without types of its own. Raises MissingDependency."""
    try:
        import gi

        gi.require_version("Gst", "1.0")
        from gi.repository import Gst
    except (ImportError, ValueError) as error:  # ValueError: the binding is there, GStreamer's description is not
        raise MissingDependency(f"GStreamer cannot be imported ({error})", fix=INSTALL) from error
    Gst.init_check(None)  # with python3-gst-1.0 its answer has another form
    if not Gst.is_initialized():
        raise MissingDependency("GStreamer cannot be initialised", fix="see what it says: gst-inspect-1.0 --version")
    return Gst
