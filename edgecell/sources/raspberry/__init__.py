"""Frames from a camera module of a Raspberry Pi, by picamera2 and libcamera.

picamera2 names the order of colours as the kernel does, from the high byte down: its "RGB888" is blue, green, red in memory
(its issues 191 and 848). So BGR888 is asked for, and what was agreed is looked at. Tested with a stand-in whose signatures are
compared with those of picamera2 0.3.38, and with that itself and libcamera's virtual camera (tests/device); no Raspberry Pi was
at hand.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as Late
from contextlib import contextmanager
from types import TracebackType
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from typing_extensions import Self

from edgecell import clock
from edgecell.cameras import Camera as Attached
from edgecell.errors import FrameCorrupt, FrameTimeout, MissingDependency, SourceUnavailable
from edgecell.messages import Frame
from edgecell.protocols import Probe
from edgecell.sources.raspberry.asked import asked
from edgecell.sources.raspberry.library import LIST, REFUSED, RGB_IN_MEMORY, Camera, Request, library, version, why

LOG = logging.getLogger(__name__)
STREAM = "main"
FIRST_S = 5.0
"""A camera that gave nothing in this time after it was started gives no pictures; libcamera gives up after one second."""
SETTLING = 12
"""Frames until what was asked of a sensor must be in force. Sensors take a control two or three frames late."""
TOLERANCE, LINE_US = 0.1, 50.0
"""Sensors round times to whole lines, of 10 to 40 us, and gains to their own steps."""
GONE_S = 5.0
"""A camera that gave none for so long, and for ten frames, is gone: closed and opened again it may come back."""
OLDEST_NS = 60_000_000_000
"""A sensor's time of capture further back than this is not on the monotonic clock."""
CANCELLED_S = 1.0
Pixels = Annotated[int, Meta(ge=64, le=16384, multiple_of=2)]
Gain = Annotated[float, Meta(gt=0, le=64)]


class PicameraOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """camera: its number in `rpicam-hello --list-cameras`. width, height: pixels, even; a camera without that size is refused.

    frame_duration_us: microseconds from frame to frame, fixed; 33333 is 30 frames a second. exposure_us: microseconds, not
    longer than a frame; None lets the camera choose. gain: analogue, 1 is none; None lets the camera choose. colour_gains: of
    red and of blue, 1 is none; None lets the camera choose, and what a stain looks like then changes with what is in view.
    buffers: frames in flight between sensor and memory; fewer than 3 lose frames.
    """

    camera: Annotated[int, Meta(ge=0, le=15)] = 0
    width: Pixels = 1280
    height: Pixels = 720
    frame_duration_us: Annotated[int, Meta(ge=1000, le=10_000_000)] = 33_333
    exposure_us: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    gain: Gain | None = None
    colour_gains: tuple[Gain, Gain] | None = None
    buffers: Annotated[int, Meta(ge=2, le=16)] = 6


class PicameraSource:
    """Live frames; of those that wait picamera2 keeps the newest. Indices follow the sensor's own times, so frames that were
    lost on the way from the sensor, or let go because nobody read, are gaps.

    captured_ns is the sensor's time where that is on the monotonic clock, else the time of reading. One copy is made of each
    frame, so that its buffer goes back to the camera at once. open_camera stands for picamera2.Picamera2.
    """

    Options = PicameraOptions
    live = True

    def __init__(self, options: PicameraOptions, open_camera: Callable[[int], Camera] | None = None) -> None:
        self._options, self._open_camera = options, open_camera
        self.source_id = f"picamera2:{options.camera}"
        self._camera: Camera | None = None
        self._job: Any = None
        self._index = 0
        self._captured_ns = self._heard_ns = 0
        self._sensor_ns: int | None = None

    def __enter__(self) -> Self:
        """Raises MissingDependency; SourceUnavailable: no such camera, in use, or it does not take the settings."""
        make = self._open_camera or library().Picamera2
        with self._refused("cannot be opened", f"close the program that uses it, or see what is there: {LIST}"):
            self._camera = make(self._options.camera)
        try:
            self._set_up(self._camera)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self._index, self._captured_ns, self._sensor_ns = 0, 0, None
        self._heard_ns = clock.monotonic_ns()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            self._take_back(camera)
            try:
                camera.close()
            except REFUSED as told:  # one that is gone may not stop; whether it is held shows when it is opened again
                LOG.warning("%s: cannot be closed: %s", self.source_id, why(told))

    @classmethod
    def probe(cls) -> Probe:
        """Usable if libcamera knows a camera; whether it gives pictures shows when it is opened."""
        try:
            known = library().Picamera2.global_camera_info
        except MissingDependency as error:
            return Probe(usable=False, version="", missing=f"{error.what}: {error.fix}")
        try:
            cameras = known()
        except REFUSED as error:
            return Probe(usable=False, version=version(), missing=f"libcamera does not answer: {why(error)}")
        missing = "" if cameras else f"no camera: check its cable, then {LIST}"
        return Probe(usable=bool(cameras), version=version(), missing=missing)

    @classmethod
    def attached(cls) -> Sequence[Attached]:
        """The cameras that libcamera knows, each opened to ask it. picamera2 numbers them by their place in its list; what it
        calls Num there is libcamera's number, which it does not take."""
        try:
            make = library().Picamera2
            cameras = make.global_camera_info()
        except (MissingDependency, *REFUSED):
            return ()
        return [asked(make, number, info) for number, info in enumerate(cameras)]

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame; a camera has no last one. Raises FrameTimeout, FrameCorrupt, SourceUnavailable when it is gone."""
        camera = self._camera
        if camera is None:
            raise SourceUnavailable(f"{self.source_id}: is not open", fix="use it inside a with statement")
        with self._refused("the camera is gone", "check its cable: a run goes on by itself"):
            request = self._next(camera, timeout_s)
            if request is None:
                raise self._silent(timeout_s)
            try:
                told, pixels = request.get_metadata(), request.make_array(STREAM)
            finally:
                request.release()
        now = self._heard_ns = clock.monotonic_ns()
        index = self._number(told)
        shape = (self._options.height, self._options.width, 3)
        if pixels.shape != shape or pixels.dtype != np.uint8:
            raise FrameCorrupt(
                f"{self.source_id}: frame {index} is {pixels.shape}, not {shape}", fix="update picamera2", index=index
            )
        self._captured_ns = max(self._captured_ns, _told_ns(told, now) or now)
        pixels.setflags(write=False)
        return Frame(
            source_id=self.source_id,
            index=index,
            captured_ns=self._captured_ns,
            image=pixels,
            exposure_us=told.get("ExposureTime"),
        )

    def _next(self, camera: Camera, timeout_s: float) -> Request | None:
        """The request that picamera2 was asked for; None if it did not come in time, and it is waited for the next time."""
        if self._job is None:
            self._job = camera.capture_request(wait=False)
        try:
            request = camera.wait(self._job, timeout=timeout_s)
        except Late:
            return None
        except BaseException:
            self._job = None
            raise
        self._job = None
        return request

    def _take_back(self, camera: Camera) -> None:
        """End waiting for a request. One that came meanwhile holds a buffer, and goes back."""
        job, self._job = self._job, None
        if job is not None:
            camera.cancel_all_and_flush()
            try:
                camera.wait(job, timeout=CANCELLED_S).release()
            except (CancelledError, Late, *REFUSED):
                return

    def _set_up(self, camera: Camera) -> None:
        """Format, size and controls, and as many frames as it takes to see that they hold."""
        wanted = self._options
        controls = _controls(wanted)
        lacking = sorted(controls.keys() - camera.camera_controls.keys())
        if lacking:
            raise SourceUnavailable(f"{self.source_id}: the camera has no {lacking[0]}", fix=f"use a camera module: {LIST}")
        with self._refused("does not take the settings", f"ask for a size that it has: {LIST}"):
            size = (wanted.width, wanted.height)
            asked = {"format": RGB_IN_MEMORY, "size": size}
            configuration = camera.create_video_configuration(
                asked, buffer_count=wanted.buffers, controls=controls, display=None, encode=None, queue=True
            )
            camera.configure(configuration)
            agreed = camera.stream_configuration(STREAM)
            if (agreed["format"], tuple(agreed["size"])) != (RGB_IN_MEMORY, size):
                offered = f"{agreed['format']} {agreed['size'][0]}x{agreed['size'][1]}"
                raise SourceUnavailable(
                    f"{self.source_id}: has no {RGB_IN_MEMORY} {size[0]}x{size[1]}, it offers {offered} instead",
                    fix=f"ask for a width and a height that it has, by camera modules only: {LIST}",
                )
            camera.start()
            self._settle(camera)

    def _settle(self, camera: Camera) -> None:
        difference = ""
        for _ in range(SETTLING):
            request = self._next(camera, FIRST_S)
            if request is None:
                raise SourceUnavailable(f"{self.source_id}: opened, but gives no picture", fix="check its cable")
            try:
                difference = _difference(self._options, request.get_metadata())
            finally:
                request.release()
            if not difference:
                return
        fix = "leave it out or choose another; an exposure is not longer than frame_duration_us"
        raise SourceUnavailable(f"{self.source_id}: does not take {difference}", fix=fix)

    def _number(self, told: Mapping[str, Any]) -> int:
        """The index of a frame: as many on as the sensor took frames since the last one."""
        sensor_ns = told.get("SensorTimestamp")
        if sensor_ns is not None and self._sensor_ns is not None:
            duration_us = told.get("FrameDuration") or self._options.frame_duration_us
            frames = max(1, round((sensor_ns - self._sensor_ns) / 1000 / duration_us))
            self._index += frames - 1
        self._sensor_ns = sensor_ns
        self._index += 1
        return self._index - 1

    def _silent(self, timeout_s: float) -> FrameTimeout | SourceUnavailable:
        silent_s = (clock.monotonic_ns() - self._heard_ns) / 1e9
        if silent_s > max(GONE_S, self._options.frame_duration_us / 1e5):
            what = f"{self.source_id}: the camera gave no frame for {silent_s:.0f} s"
            return SourceUnavailable(what, fix="check its cable: a run goes on by itself")
        return FrameTimeout(f"{self.source_id}: no frame within {timeout_s:g} s", fix="check the camera's cable")

    @contextmanager
    def _refused(self, what: str, fix: str) -> Iterator[None]:
        """What picamera2 raises, as ours."""
        try:
            yield
        except REFUSED as error:
            raise SourceUnavailable(f"{self.source_id}: {what}: {why(error)}", fix=fix) from error


def _controls(wanted: PicameraOptions) -> dict[str, Any]:
    """By libcamera's names. A value that is given switches off what would choose it."""
    controls: dict[str, Any] = {"FrameDurationLimits": (wanted.frame_duration_us, wanted.frame_duration_us)}
    if wanted.exposure_us is not None:
        controls["ExposureTime"] = wanted.exposure_us
    if wanted.gain is not None:
        controls["AnalogueGain"] = wanted.gain
    if wanted.colour_gains is not None:
        controls |= {"AwbEnable": False, "ColourGains": wanted.colour_gains}
    return controls


def _difference(wanted: PicameraOptions, told: Mapping[str, Any]) -> str:
    """What is not as it was asked for, "" if all is. What the camera does not tell of cannot be known."""
    rows = (
        ("frame_duration_us", wanted.frame_duration_us, "FrameDuration", LINE_US),
        ("exposure_us", wanted.exposure_us, "ExposureTime", LINE_US),
        ("gain", wanted.gain, "AnalogueGain", 0.0),
        ("colour_gains", wanted.colour_gains, "ColourGains", 0.0),
    )
    for name, value, key, either_way in rows:
        found = told.get(key)
        if value is not None and found is not None and not np.allclose(found, value, TOLERANCE, either_way):
            return f"{name} = {value}, it stays at {found}"
    return ""


def _told_ns(told: Mapping[str, Any], now: int) -> int | None:
    """When the sensor began with the frame; None where it goes by another clock than ours."""
    sensor_ns = told.get("SensorTimestamp")
    return sensor_ns if sensor_ns is not None and now - OLDEST_NS < sensor_ns <= now else None
