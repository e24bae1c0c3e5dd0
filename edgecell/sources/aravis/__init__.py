"""Frames from an industrial camera of any maker (GenICam: GigE Vision, USB3 Vision), by Aravis.

Aravis is a library of the system with a binding by gi, as GStreamer's. Tested with Aravis 0.8.26 and the GigE camera that it
fakes over the loopback network; no real camera was at hand, and nothing here was tried on USB3.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from typing_extensions import Self

from edgecell import clock
from edgecell.blocks import blocks_on
from edgecell.cameras import Camera
from edgecell.errors import FrameCorrupt, FrameTimeout, MissingDependency, SourceUnavailable
from edgecell.messages import Frame
from edgecell.protocols import Probe
from edgecell.sources.aravis.asked import asked
from edgecell.sources.aravis.library import CONNECT, Found, found, in_use, library, version
from edgecell.sources.aravis.pixels import COLOURLESS, FORMATS, rgb

US = 1_000_000
OLDEST_NS = 10_000_000_000
"""A time of arrival further back than this is not true: the wall clock, by which Aravis tells it, was set meanwhile."""
TOLERANCE = 0.1
"""Cameras round times and gains to their own steps."""
DAMAGED = "use jumbo frames on GigE, a better cable or network card, or ask for less fps"
RETURN = "plug it in again: a run goes on by itself"

Pixels = Annotated[int, Meta(ge=16, le=16384)]


class AravisOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """serial: the number on the camera. index: where no serial is given, its place among the cameras sorted by serial.

    What is left out stays as the camera has it: width, height (pixels, from the middle of the sensor), fps (frames a second;
    triggers are turned off), exposure_us (microseconds), gain (the camera's unit), pixel_format (by the camera's name for it;
    one without colour is taken only if it is named here). latest: who is slow gets the newest frame, and the others count as
    lost; else every frame, however late. buffers: frames that may wait before there are losses.
    """

    serial: str = ""
    index: Annotated[int, Meta(ge=0, le=255)] = 0
    width: Pixels | None = None
    height: Pixels | None = None
    pixel_format: str | None = None
    fps: Annotated[float, Meta(ge=0.01, le=1000)] | None = None
    exposure_us: Annotated[float, Meta(gt=0, le=10_000_000)] | None = None
    gain: float | None = None
    latest: bool = True
    buffers: Annotated[int, Meta(ge=2, le=100)] = 10


class AravisSource:
    """Live frames by the camera's own numbers, the first that is read being 0: those that never came, and those that nobody
    took in time, are gaps; one that lacks packets is damaged and has its index.

    captured_ns is the time when the frame's first packet came. Pixels are copied once out of Aravis's memory, and colours are
    made of them.
    """

    Options = AravisOptions
    live = True

    def __init__(self, options: AravisOptions) -> None:
        self._options = options
        self.source_id = f"aravis:{options.serial or options.index}"
        self._refused: type[RuntimeError] = RuntimeError
        self._camera: Any = None
        self._stream: Any = None
        self._listening = 0
        self._lost = False
        self._pixel_format = ""
        self._shape = (0, 0)
        self._exposure_us: float | None = None
        self._index = -1
        self._block: int | None = None
        self._captured_ns = 0

    def __enter__(self) -> Self:
        """Raises MissingDependency without Aravis. SourceUnavailable: no such camera, in use, or it refuses a setting."""
        aravis, self._refused = library()
        chosen = self._chosen(found(aravis))
        self._lost, self._index, self._block, self._captured_ns = False, -1, None, 0
        try:
            self._camera = aravis.Camera.new(chosen.id)
            self._set_up(aravis, self._camera)
            self._start(aravis, self._camera)
        except self._refused as error:
            self._close()
            fix = "close the program that uses it, or unplug it and plug it in again"
            raise SourceUnavailable(f"{self.source_id}: cannot be opened: {error}", fix=fix) from error
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self._close()

    @classmethod
    def probe(cls) -> Probe:
        """Usable if Aravis can be called. Cameras are not looked for: that sends a broadcast into every network."""
        try:
            aravis, _ = library()
        except MissingDependency as error:
            return Probe(usable=False, version="", missing=f"{error.what}: {error.fix}")
        return Probe(usable=True, version=version(aravis))

    @classmethod
    def attached(cls) -> Sequence[Camera]:
        """The cameras that answer, each opened to ask it."""
        try:
            aravis, refused = library()
        except MissingDependency:
            return ()
        return [asked(aravis, refused, each) for each in found(aravis)]

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame; a camera has no last one. Raises FrameTimeout, FrameCorrupt, SourceUnavailable when it is gone."""
        stream = self._stream
        if stream is None:
            raise SourceUnavailable(f"{self.source_id}: is not open", fix="use it inside a with statement")
        buffer = stream.timeout_pop_buffer(round(timeout_s * US))
        if buffer is None:
            if self._lost:
                raise SourceUnavailable(f"{self.source_id}: the camera is gone", fix=RETURN)
            raise FrameTimeout(f"{self.source_id}: no frame within {timeout_s:g} s", fix="check camera and cable")
        while self._options.latest and (newer := stream.try_pop_buffer()) is not None:
            stream.push_buffer(buffer)
            buffer = newer
        try:
            return self._frame(buffer)
        finally:
            stream.push_buffer(buffer)

    def _frame(self, buffer: Any) -> Frame:
        now, age_ns = clock.monotonic_ns(), clock.utc_ns() - buffer.get_system_timestamp()
        before, self._block = self._block, buffer.get_frame_id()
        self._index += blocks_on(before, self._block)
        status = buffer.get_status().value_nick
        image = rgb(buffer.get_data(), self._pixel_format, *self._shape) if status == "success" else None
        if image is None:
            what = f"{self.source_id}: frame {self._index} is damaged: {status.replace('success', 'too short')}"
            raise FrameCorrupt(what, fix=DAMAGED, index=self._index)
        told = now - age_ns if 0 <= age_ns < OLDEST_NS else now
        self._captured_ns = max(self._captured_ns, told)
        return Frame(
            source_id=self.source_id,
            index=self._index,
            captured_ns=self._captured_ns,
            image=image,
            exposure_us=self._exposure_us,
        )

    def _chosen(self, there: Sequence[Found]) -> Found:
        wanted = self._options
        named = [each for each in there if each.serial == wanted.serial] if wanted.serial else there[wanted.index :]
        if not named:
            serials = ", ".join(f"{each.serial} ({each.vendor} {each.model})" for each in there)
            raise SourceUnavailable(f"{self.source_id}: no such camera", fix=f"use serial: {serials}" if serials else CONNECT)
        return named[0]

    def _set_up(self, aravis: Any, camera: Any) -> None:
        if in_use(camera):
            raise SourceUnavailable(f"{self.source_id}: another program uses the camera", fix="close the program that uses it")
        wanted = self._options
        if camera.is_feature_available("TriggerMode"):
            camera.clear_triggers()
        camera.set_acquisition_mode(aravis.AcquisitionMode.CONTINUOUS)
        self._set_format(camera)
        self._set_region(camera)
        if wanted.fps is not None:
            self._set(camera, "fps", "frame_rate", wanted.fps)
        if wanted.exposure_us is not None:
            if camera.is_exposure_auto_available():
                camera.set_exposure_time_auto(aravis.Auto.OFF)
            self._set(camera, "exposure_us", "exposure_time", wanted.exposure_us)
        if wanted.gain is not None:
            if camera.is_gain_auto_available():
                camera.set_gain_auto(aravis.Auto.OFF)
            self._set(camera, "gain", "gain", wanted.gain)
        chooses = camera.is_exposure_auto_available() and camera.get_exposure_time_auto() != aravis.Auto.OFF
        told = camera.is_exposure_time_available() and not chooses
        self._exposure_us = float(camera.get_exposure_time()) if told else None

    def _start(self, aravis: Any, camera: Any) -> None:
        self._listening = camera.get_device().connect("control-lost", self._note_lost)
        self._stream = camera.create_stream(None, None)
        size = camera.get_payload()
        for _ in range(self._options.buffers):
            self._stream.push_buffer(aravis.Buffer.new_allocate(size))
        camera.start_acquisition()

    def _note_lost(self, device: Any) -> None:  # noqa: ARG002 Aravis gives it, on a thread of its own
        self._lost = True

    def _close(self) -> None:
        """Stop and let go, at once, even if an error that is being told still holds the camera. One that is gone is not told
        to stop: its answer would be waited for."""
        camera, self._camera, stream, self._stream = self._camera, None, self._stream, None
        if camera is None:
            return
        if self._listening:
            camera.get_device().disconnect(self._listening)
            self._listening = 0
        if not self._lost:
            with suppress(self._refused):  # it went just now: nothing is left to stop
                if stream is not None:
                    camera.stop_acquisition()
                if camera.is_gv_device() and not in_use(camera):
                    camera.get_device().leave_control()

    def _set_format(self, camera: Any) -> None:
        offered, now = camera.dup_available_pixel_formats_as_strings(), camera.get_pixel_format_as_string()
        usable = [name for name in FORMATS if name in offered]
        wanted = self._options.pixel_format
        if wanted is None:
            wanted = next((name for name in (now, *usable) if name in usable and name != COLOURLESS), None)
        if wanted not in usable:
            what = "has no colour that can be read" if wanted is None else f"has no pixel_format {wanted} that can be read"
            fix = f"set pixel_format to one of {', '.join(usable)}" if usable else f"it has {', '.join(sorted(offered))}"
            raise SourceUnavailable(f"{self.source_id}: {what}", fix=fix)
        camera.set_pixel_format_from_string(wanted)
        self._pixel_format = wanted

    def _set_region(self, camera: Any) -> None:
        """Width and height, around the middle of the sensor, where the optical axis is."""
        wanted = self._options
        _, _, width, height = camera.get_region()
        if wanted.width is not None or wanted.height is not None:
            width, height = wanted.width or width, wanted.height or height
            for option, side, (low, high) in (
                ("width", width, camera.get_width_bounds()),
                ("height", height, camera.get_height_bounds()),
            ):
                if not low <= side <= high:
                    raise self._refusal(option, side, f"give {low} to {high}")
            camera.set_region(0, 0, width, height)  # an offset limits the size
            if camera.is_region_offset_available():
                camera.set_region(*_middle(camera, width, height), width, height)
            agreed = tuple(camera.get_region())[2:]
            if agreed != (width, height):
                fix = f"ask for a size that it has: steps of {camera.get_width_increment()}x{camera.get_height_increment()}"
                raise self._refusal("width, height", f"{width}x{height}, it stays at {agreed[0]}x{agreed[1]}", fix)
        self._shape = (height, width)

    def _set(self, camera: Any, option: str, name: str, value: float) -> None:
        """Set what the user chose. Raises SourceUnavailable with what the camera takes: by itself Aravis does not refuse."""
        available: Callable[[], bool] = getattr(camera, f"is_{name}_available")
        if not available():
            raise SourceUnavailable(f"{self.source_id}: the camera has no {option}", fix=f"leave {option} out")
        low, high = getattr(camera, f"get_{name}_bounds")()
        if not low <= value <= high:
            raise self._refusal(option, f"{value:g}", f"give {low:g} to {high:g}")
        getattr(camera, f"set_{name}")(value)
        taken = getattr(camera, f"get_{name}")()
        if abs(taken - value) > TOLERANCE * max(1.0, abs(value)):
            raise self._refusal(option, f"{value:g}, it stays at {taken:g}", f"leave {option} out or choose another")

    def _refusal(self, option: str, value: object, fix: str) -> SourceUnavailable:
        return SourceUnavailable(f"{self.source_id}: does not take {option} = {value}", fix=fix)


def _middle(camera: Any, width: int, height: int) -> tuple[int, int]:
    """Left and upper edge of a region in the middle of the sensor, on the camera's own steps."""
    steps = camera.get_x_offset_increment(), camera.get_y_offset_increment()
    left, top = (
        max(0, full - side) // 2 // max(1, step) * max(1, step)
        for full, side, step in zip(camera.get_sensor_size(), (width, height), steps, strict=True)
    )
    return left, top
