"""Frames from a camera under Linux: USB video class, microscope cameras and whatever else has a /dev/video node.

OpenCV reads the camera (Video4Linux2). Its CAP_PROP_READ_TIMEOUT_MSEC does nothing there and its read waits ten seconds, but
waitAny takes a time once the stream runs (modules/videoio/src/cap_v4l.cpp). Tested with a stand-in, and with the kernel's
virtual camera (vivid) in an emulated machine; no real camera was at hand, and nothing here was tried on MJPG.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal, Protocol

import cv2
import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from typing_extensions import Self

from edgecell import clock
from edgecell.cameras import Camera
from edgecell.errors import FrameCorrupt, FrameTimeout, SourceUnavailable
from edgecell.imagefile import natural
from edgecell.messages import Frame
from edgecell.protocols import Probe

DEV = Path("/dev")
EXPOSURE_UNIT_US = 100
"""V4L2_CID_EXPOSURE_ABSOLUTE counts in units of 100 us (kernel documentation, camera control reference)."""
FULL_AUTO, MANUAL, APERTURE_PRIORITY = 0, 1, 3
"""V4L2_CID_EXPOSURE_AUTO. Cameras of the USB video class have MANUAL and one of the others."""
OLDEST_NS = 60_000_000_000
"""A driver's time of capture further back than this is not on the monotonic clock."""
LATE_NS = 250_000_000
"""A frame that waited in the driver for more than this, and a period, is let go. The driver fills its buffers and stops: after
a second without a read its next frame is a second old, two if it keeps two buffers (vivid never keeps fewer)."""
MOST_BUFFERS = 10
"""MAX_V4L_BUFFERS of OpenCV."""
AT_ONCE_NS = 1
"""OpenCV makes a millisecond of it; 0 would wait for ever."""
GROUP_FIX = "sudo usermod -aG video $USER, then log in again"
Ready = Sequence[int] | NDArray[np.int32]
"""Cameras with a frame: a sequence by OpenCV's stubs, an array in truth."""
Pixels = Annotated[int, Meta(ge=16, le=16384)]


class V4l2Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """device: number of a /dev/video node, or a path (`/dev/v4l/by-id/...` stays the same when cameras are swapped).

    width, height: pixels; a camera that has no such size is refused. fourcc: MJPG is quick over USB and compressed, YUYV is
    whole and slow. fps: frames a second that are asked for, as a whole number to OpenCV; the camera may give others.
    exposure_us: microseconds, None lets the camera choose. gain: in the camera's own unit, None leaves it. white_balance_k:
    kelvin, None lets the camera choose. buffers: frames that wait in the driver; those that have become old are let go.
    """

    device: str | int = 0
    width: Pixels = 1280
    height: Pixels = 720
    fps: Annotated[float, Meta(ge=1, le=1000)] = 30.0
    fourcc: Literal["MJPG", "YUYV"] = "MJPG"
    exposure_us: Annotated[float, Meta(gt=0, le=10_000_000)] | None = None
    gain: float | None = None
    white_balance_k: Annotated[float, Meta(ge=1000, le=20_000)] | None = None
    buffers: Annotated[int, Meta(ge=1, le=10)] = 1


class Capture(Protocol):
    """As much of cv2.VideoCapture as is used here."""

    def isOpened(self) -> bool: ...  # noqa: N802

    def set(self, prop: int, value: float, /) -> bool: ...

    def get(self, prop: int, /) -> float: ...

    def grab(self) -> bool: ...

    def retrieve(self) -> tuple[bool, Any]: ...

    def release(self) -> None: ...

    def waitAny(self, streams: Sequence[Any], timeout_ns: int, /) -> tuple[bool, Ready]: ...  # noqa: N802


class V4l2Source:
    """Live frames, numbered as they are read. Those that the driver lost are not numbered, since OpenCV does not tell of them,
    nor those that waited too long. A frame that the driver flags as damaged passes: OpenCV does not tell of that either.

    captured_ns is the driver's time of capture where that is on the monotonic clock, else the time of reading. open_capture
    stands for cv2.VideoCapture.
    """

    Options = V4l2Options
    live = True

    def __init__(self, options: V4l2Options, open_capture: Callable[[str, int], Capture] = cv2.VideoCapture) -> None:
        self._options, self._open_capture = options, open_capture
        self._path = _path(options.device)
        self.source_id = f"v4l2:{self._path}"
        self._capture: Capture | None = None
        self._exposure_us: float | None = None
        self._index = 0
        self._captured_ns = self._looked_ns = self._fresh_ns = 0

    def __enter__(self) -> Self:
        """Raises SourceUnavailable: no such camera, no permission, in use, or it does not take the settings."""
        _check_node(self._path)
        with _quiet():
            capture = self._open_capture(str(self._path), cv2.CAP_V4L2)
            try:
                self._set_up(capture)
            except BaseException:
                capture.release()
                raise
        self._capture, self._index, self._captured_ns = capture, 0, 0
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        if self._capture is not None:
            with _quiet():
                self._capture.release()
        self._capture = None

    @classmethod
    def probe(cls) -> Probe:
        """Usable if there is a node that may be opened; whether a camera answers behind it shows when it is opened."""
        version = f"OpenCV {cv2.__version__}"
        nodes = _nodes()
        if not nodes:
            return Probe(usable=False, version=version, missing="no /dev/video*: connect a camera")
        closed = [str(node) for node in nodes if not _may_use(node)]
        missing = f"no permission for {', '.join(closed)}: {GROUP_FIX}" if closed else ""
        return Probe(usable=len(closed) < len(nodes), version=version, missing=missing)

    @classmethod
    def attached(cls) -> Sequence[Camera]:
        """A camera for every node that may be one."""
        lacks = {node: "" if _may_use(node) else f"no permission: {GROUP_FIX}" for node in _nodes()}
        return [Camera(name=node.name, where=str(node), options={"device": str(node)}, lacks=lacks[node]) for node in lacks]

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame; a camera has no last one. Raises FrameTimeout, FrameCorrupt, SourceUnavailable when it is gone."""
        capture = self._capture
        if capture is None:
            raise SourceUnavailable(f"{self.source_id}: is not open", fix="use it inside a with statement")
        try:
            ready = self._wait(capture, timeout_s)
            bgr = _bgr(capture, self._options) if ready else None
        except cv2.error as error:
            raise self._gone() from error
        if not ready:
            if not self._path.exists():
                raise self._gone()
            raise FrameTimeout(f"{self.source_id}: no frame within {timeout_s:g} s", fix="check camera and cable")
        index = self._index
        self._index += 1
        if bgr is None:
            raise FrameCorrupt(f"{self.source_id}: frame {index} is damaged", fix="use a shorter USB cable", index=index)
        self._looked_ns = clock.monotonic_ns()
        self._captured_ns = max(self._captured_ns, _told_ns(capture, self._looked_ns) or self._looked_ns)
        image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
        image.setflags(write=False)
        return Frame(
            source_id=self.source_id,
            index=index,
            captured_ns=self._captured_ns,
            image=image,
            exposure_us=self._exposure_us,
        )

    def _wait(self, capture: Capture, timeout_s: float) -> bool:
        """Whether a frame came and is grabbed. Of those that lie ready, the ones that waited too long are let go first."""
        for _ in range(MOST_BUFFERS):
            if not _grabbed(capture, AT_ONCE_NS):
                break
            now = clock.monotonic_ns()
            if now - (_told_ns(capture, now) or self._looked_ns) <= self._fresh_ns:
                return True
            capture.retrieve()  # until then OpenCV grabs no other
        return _grabbed(capture, max(AT_ONCE_NS, round(timeout_s * 1e9)))

    def _set_up(self, capture: Capture) -> None:
        """Format, size and controls, and one frame to see that they hold. The first grab starts the stream."""
        if not capture.isOpened():
            fix = "close the program that uses it, or give another node: some cameras have a second one without pictures"
            raise SourceUnavailable(f"{self._path}: cannot be opened as a camera", fix=fix)
        wanted = self._options
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*wanted.fourcc))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, wanted.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, wanted.height)
        capture.set(cv2.CAP_PROP_FPS, wanted.fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, wanted.buffers)
        self._check_format(capture)
        self._set_controls(capture)
        if not capture.grab() or not capture.retrieve()[0]:
            raise SourceUnavailable(f"{self._path}: opened, but gives no picture", fix="unplug it and plug it in again")
        told_fps = capture.get(cv2.CAP_PROP_FPS)
        self._looked_ns = clock.monotonic_ns()
        self._fresh_ns = LATE_NS + round(1e9 / (told_fps if told_fps > 0 else wanted.fps))

    def _check_format(self, capture: Capture) -> None:
        wanted = self._options
        asked = f"{wanted.fourcc} {wanted.width}x{wanted.height}"
        size = round(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        code = round(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little", signed=True).decode("ascii", "replace")
        offered = f"{code} {size[0]}x{size[1]}"
        if offered != asked:
            fix = f"ask for a size and a fourcc, MJPG or YUYV, that it has: v4l2-ctl -d {self._path} --list-formats-ext"
            raise SourceUnavailable(f"{self._path}: has no {asked}, it offers {offered} instead", fix=fix)

    def _set_controls(self, capture: Capture) -> None:
        wanted = self._options
        exposure, gain, kelvin = wanted.exposure_us, wanted.gain, wanted.white_balance_k
        capture.set(cv2.CAP_PROP_AUTO_WB, float(kelvin is None))
        if exposure is None:
            self._exposure_us = None
            _ = capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, APERTURE_PRIORITY) or capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, FULL_AUTO)
        else:
            capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, MANUAL)
            units = max(1, round(exposure / EXPOSURE_UNIT_US))
            self._insist(capture, cv2.CAP_PROP_EXPOSURE, units, f"exposure_us = {exposure:g}", EXPOSURE_UNIT_US)
            self._exposure_us = capture.get(cv2.CAP_PROP_EXPOSURE) * EXPOSURE_UNIT_US
        if gain is not None:
            self._insist(capture, cv2.CAP_PROP_GAIN, gain, f"gain = {gain:g}", 1)
        if kelvin is not None:
            self._insist(capture, cv2.CAP_PROP_WB_TEMPERATURE, kelvin, f"white_balance_k = {kelvin:g}", 1)

    def _insist(self, capture: Capture, prop: int, value: float, named: str, unit: float) -> None:
        """Set a control that the user chose. Cameras round to their own steps, so a tenth either way is taken for it."""
        taken = capture.set(prop, value)
        found = capture.get(prop)
        if not taken or abs(found - value) > max(1, 0.1 * abs(value)):
            kept = f", it stays at {found * unit:g}" if found >= 0 else ""
            fix = f"leave it out, or see what it takes and if it is inactive: v4l2-ctl -d {self._path} --list-ctrls"
            raise SourceUnavailable(f"{self._path}: does not take {named}{kept}", fix=fix)

    def _gone(self) -> SourceUnavailable:
        return SourceUnavailable(f"{self.source_id}: the camera is gone", fix="plug it in again: a run goes on by itself")


def _path(device: str | int) -> Path:
    return DEV / f"video{device}" if str(device).isdecimal() else Path(str(device))


def _nodes() -> list[Path]:
    return sorted(DEV.glob("video[0-9]*"), key=natural)


def _may_use(node: Path) -> bool:
    return os.access(node, os.R_OK | os.W_OK)


def _check_node(path: Path) -> None:
    if not path.exists():
        there = ", ".join(str(node) for node in _nodes())
        fix = f"use one of {there}" if there else "connect a camera; none is there"
        raise SourceUnavailable(f"{path}: no such camera", fix=fix)
    if not _may_use(path):
        raise SourceUnavailable(f"{path}: no permission to use the camera", fix=GROUP_FIX)


def _grabbed(capture: Capture, timeout_ns: int) -> bool:
    """Whether a frame came in time. Ready is array([0]) then, for camera number 0: as a truth value that is False."""
    _, ready = capture.waitAny([capture], timeout_ns)
    return len(ready) > 0


def _told_ns(capture: Capture, now: int) -> int | None:
    """When the driver captured the frame that was grabbed; None where it goes by another clock than ours."""
    told = round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
    return told if now - OLDEST_NS < told <= now else None


def _bgr(capture: Capture, wanted: V4l2Options) -> NDArray[np.uint8] | None:
    """The frame that was grabbed if it is a whole picture of the size that was agreed: uint8 (height, width, 3), blue first."""
    whole, pixels = capture.retrieve()
    if not whole or not isinstance(pixels, np.ndarray):
        return None
    return pixels if pixels.dtype == np.uint8 and pixels.shape == (wanted.height, wanted.width, 3) else None


@contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV prints warnings of its own when a camera cannot be opened; ours say what to do."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
