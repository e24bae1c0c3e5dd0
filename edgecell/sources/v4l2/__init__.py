"""Frames from a camera under Linux: USB video class, microscope cameras and whatever else has a /dev/video node.

The kernel's interface (Video4Linux2) is called itself, since OpenCV tells neither of frames that were lost nor of damaged ones,
and copies each twice more. Tested with a stand-in for the kernel, and in an emulated machine with the kernel's own virtual
camera (vivid) and its driver for USB cameras; no real camera was at hand.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from typing_extensions import Self

from edgecell import clock
from edgecell.cameras import Camera
from edgecell.errors import FrameCorrupt, FrameTimeout, SourceUnavailable
from edgecell.imagefile import natural
from edgecell.messages import Frame
from edgecell.protocols import Probe
from edgecell.sources.v4l2.asked import camera_at, told_modes, unfit
from edgecell.sources.v4l2.controls import NotTaken, set_controls
from edgecell.sources.v4l2.kernel import Kernel, Linux
from edgecell.sources.v4l2.node import Node
from edgecell.sources.v4l2.pixels import Agreed, rgb
from edgecell.sources.v4l2.stream import Filled, Stream

DEV = Path("/dev")
LATE_NS = 250_000_000
"""A frame that waited in the driver for more than this, and a period, is let go. The driver fills its buffers and stops: after
a second without a read its next frame is a second old."""
FIRST_S, TRIES = 5.0, 5
"""Until the first picture, and how many may be damaged before it: some cameras begin with half a picture."""
OLDEST_NS = 60_000_000_000
"""A driver's time of capture further back than this is not on our clock, whatever it says."""
SEQUENCES = 2**32
GROUP_FIX = "sudo usermod -aG video $USER, then log in again"
Pixels = Annotated[int, Meta(ge=16, le=16384)]


class V4l2Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """device: number of a /dev/video node, or a path (`/dev/v4l/by-id/...` stays the same when cameras are swapped).

    width, height, fourcc: a mode that the camera has (`edgecell cameras`), or it is refused; MJPG is quick over USB and
    compressed, the others are whole and slow. fps: frames a second that are asked for; the camera may give others.
    exposure_us: microseconds, None lets the camera choose. gain: in the camera's own unit, None leaves it. white_balance_k:
    kelvin, None lets the camera choose. buffers: frames that wait in the driver; those that have become old are let go.
    """

    device: str | int = 0
    width: Pixels = 1280
    height: Pixels = 720
    fps: Annotated[float, Meta(ge=0.01, le=1000)] = 30.0
    fourcc: Literal["MJPG", "YUYV", "UYVY", "NV12", "BGR3", "RGB3"] = "MJPG"
    exposure_us: Annotated[float, Meta(gt=0, le=10_000_000)] | None = None
    gain: float | None = None
    white_balance_k: Annotated[float, Meta(ge=1000, le=20_000)] | None = None
    buffers: Annotated[int, Meta(ge=2, le=32)] = 4


class V4l2Source:
    """Live frames by the driver's own numbers, the first that is read being 0: those that it lost, and those that waited too
    long, are gaps.

    captured_ns is the driver's time of capture where that is on the monotonic clock, else the time of reading. A frame's pixels
    are made from the driver's memory in one step: no copy. calls stands for the kernel.
    """

    Options = V4l2Options
    live = True

    def __init__(self, options: V4l2Options, calls: Kernel | None = None) -> None:
        self._options, self._calls = options, calls or Linux()
        self._path = _path(options.device)
        self.source_id = f"v4l2:{self._path}"
        self._open = ExitStack()
        self._stream: Stream | None = None
        self._agreed = Agreed(options.fourcc, options.width, options.height, 0)
        self._exposure_us: float | None = None
        self._index = -1
        self._sequence: int | None = None
        self._captured_ns = self._looked_ns = self._fresh_ns = 0

    def __enter__(self) -> Self:
        """Raises SourceUnavailable: no such camera, no permission, in use, or it does not take the settings."""
        _check_node(self._path)
        with ExitStack() as opened:
            with self._refused("cannot be opened as a camera", "give the path of a camera's node: edgecell cameras"):
                node = opened.enter_context(Node(self._path, self._calls))
                self._set_up(node)
            with self._refused("opened, but gives no picture", "unplug it and plug it in again"):
                self._stream = Stream(node, self._options.buffers)
                opened.callback(self._stop)
                self._see_first(self._stream)
            self._open = opened.pop_all()
        self._index, self._sequence, self._captured_ns = -1, None, 0
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self._open.close()

    @classmethod
    def probe(cls) -> Probe:
        """Usable if there is a node that may be opened; whether a camera answers behind it shows when it is opened."""
        version, nodes = f"Linux {os.uname().release}", _nodes()
        if not nodes:
            return Probe(usable=False, version=version, missing="no /dev/video*: connect a camera")
        closed = [str(node) for node in nodes if not _may_use(node)]
        missing = f"no permission for {', '.join(closed)}: {GROUP_FIX}" if closed else ""
        return Probe(usable=len(closed) < len(nodes), version=version, missing=missing)

    @classmethod
    def attached(cls) -> Sequence[Camera]:
        """The cameras behind all nodes; a camera may have nodes that give no pictures, which are none."""
        return list(_cameras(Linux()))

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame; a camera has no last one. Raises FrameTimeout, FrameCorrupt, SourceUnavailable when it is gone."""
        stream = self._stream
        if stream is None:
            raise SourceUnavailable(f"{self.source_id}: is not open", fix="use it inside a with statement")
        ends_ns = clock.monotonic_ns() + round(timeout_s * 1e9)
        try:
            for chance in range(stream.buffers + 1):
                with stream.taken((ends_ns - clock.monotonic_ns()) / 1e9) as filled:
                    if filled is None:
                        break
                    frame = self._frame(stream, filled, take_old=chance == stream.buffers)
                    if frame is not None:
                        return frame
        except OSError as error:
            raise self._gone(error.strerror or "") from error
        if not self._path.exists():
            raise self._gone()
        raise FrameTimeout(f"{self.source_id}: no frame within {timeout_s:g} s", fix="check camera and cable")

    def _frame(self, stream: Stream, filled: Filled, *, take_old: bool) -> Frame | None:
        """What a picture holds; None if it waited for too long in the driver and old ones are not taken."""
        now = clock.monotonic_ns()
        self._index += self._steps_to(filled.sequence)
        told_ns = _on_our_clock(filled.captured_ns, now)
        if not take_old and now - (told_ns or self._looked_ns) > self._fresh_ns:
            return None
        self._looked_ns = now
        image = None if filled.damaged else rgb(stream.data(filled), self._agreed)
        if image is None:
            fix = "use a shorter USB cable, or another port; ask for less fps or a smaller size"
            raise FrameCorrupt(f"{self.source_id}: frame {self._index} is damaged", fix=fix, index=self._index)
        self._captured_ns = max(self._captured_ns, told_ns or now)
        image.setflags(write=False)
        return Frame(
            source_id=self.source_id,
            index=self._index,
            captured_ns=self._captured_ns,
            image=image,
            exposure_us=self._exposure_us,
        )

    def _steps_to(self, sequence: int) -> int:
        """How many numbers on a picture is from the one before; 1 where the driver does not count, or begins anew."""
        before, self._sequence = self._sequence, sequence
        steps = 1 if before is None else (sequence - before) % SEQUENCES
        return steps if 0 < steps < SEQUENCES // 2 else 1

    def _set_up(self, node: Node) -> None:
        """Format, size, rate and controls."""
        why = unfit(node.capability())
        if why:
            raise SourceUnavailable(f"{self._path}: {why}", fix="see which nodes are cameras: edgecell cameras")
        wanted = self._options
        self._agreed = node.set_format(wanted.fourcc, wanted.width, wanted.height)
        if self._agreed[:3] != (wanted.fourcc, wanted.width, wanted.height):
            what = f"{self._path}: has no {wanted.fourcc} {wanted.width}x{wanted.height}. It has {told_modes(node)}"
            raise SourceUnavailable(what, fix="set fourcc, width and height to one of these")
        period_ns = round(1e9 / node.set_rate(wanted.fps))
        self._fresh_ns = LATE_NS + period_ns
        try:
            self._exposure_us = set_controls(node, wanted.exposure_us, wanted.gain, wanted.white_balance_k)
        except NotTaken as told:
            raise SourceUnavailable(f"{self._path}: {told.what}", fix=told.fix) from None

    def _see_first(self, stream: Stream) -> None:
        """A stream that runs may yet give nothing."""
        why = "they are damaged"
        for _ in range(TRIES):
            with stream.taken(FIRST_S) as filled:
                if filled is None:
                    why = f"none within {FIRST_S:g} s"
                    break
                if not filled.damaged and rgb(stream.data(filled), self._agreed) is not None:
                    self._looked_ns = clock.monotonic_ns()
                    return
        raise SourceUnavailable(f"{self._path}: opened, but gives no picture: {why}", fix="unplug it and plug it in again")

    def _stop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            with suppress(OSError):  # it is gone: nothing is left to stop
                stream.close()

    def _gone(self, why: str = "") -> SourceUnavailable:
        what = f"{self.source_id}: the camera is gone"
        fix = "plug it in again: a run goes on by itself"
        return SourceUnavailable(f"{what}: {why}" if why else what, fix=fix)

    @contextmanager
    def _refused(self, what: str, fix: str) -> Iterator[None]:
        """What a driver says, as ours."""
        known = {
            errno.EBUSY: ("is in use", "close the program that uses it"),
            errno.ENOSPC: ("needs more than its USB bus can carry", "use fourcc = MJPG, a smaller size, or another port"),
        }
        try:
            yield
        except OSError as error:
            what, fix = known.get(error.errno or 0, (f"{what}: {error.strerror}", fix))
            raise SourceUnavailable(f"{self._path}: {what}", fix=fix) from error


def _path(device: str | int) -> Path:
    return DEV / f"video{device}" if str(device).isdecimal() else Path(str(device))


def _nodes() -> list[Path]:
    return sorted(DEV.glob("video[0-9]*"), key=natural)


def _may_use(node: Path) -> bool:
    return os.access(node, os.R_OK | os.W_OK)


def _cameras(calls: Kernel) -> Iterator[Camera]:
    lasting = {path.resolve(): path for path in sorted(DEV.glob("v4l/by-id/*"))}
    for node in _nodes():
        chosen_by = str(lasting.get(node.resolve(), node))
        plain = partial(Camera, name=node.name, where=str(node), options={"device": chosen_by})
        try:
            camera = camera_at(node, chosen_by, calls) if _may_use(node) else plain(lacks=f"no permission: {GROUP_FIX}")
        except OSError as error:
            camera = plain(lacks=f"cannot be asked: {error.strerror}")
        if camera is not None:
            yield camera


def _check_node(path: Path) -> None:
    if not path.exists():
        there = ", ".join(str(node) for node in _nodes())
        fix = f"use one of {there}" if there else "connect a camera; none is there"
        raise SourceUnavailable(f"{path}: no such camera", fix=fix)
    if not _may_use(path):
        raise SourceUnavailable(f"{path}: no permission to use the camera", fix=GROUP_FIX)


def _on_our_clock(told_ns: int | None, now: int) -> int | None:
    """A driver's time of capture, None where it cannot be one."""
    return told_ns if told_ns is not None and now - OLDEST_NS < told_ns <= now else None
