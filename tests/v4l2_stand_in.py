"""A stand-in for the kernel at a camera's node, which no test machine has: its answers, structure by structure."""

import ctypes
import errno
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell import clock
from edgecell.sources.v4l2 import kernel

Image = NDArray[np.uint8]
SIZES = ((1280, 720), (640, 480), (160, 96))
STRIPES = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 100, 10))
"""RGB, from the left."""
LEVEL_STEP = 8
"""Of the square in the upper left corner, from picture to picture."""
PICTURES = 25


def picture(number: int, width: int, height: int) -> Image:
    """RGB, with a grey square that tells the number."""
    image = np.zeros((height, width, 3), np.uint8)
    for place, colour in enumerate(STRIPES):
        image[:, place * width // 4 : (place + 1) * width // 4] = colour
    image[:32, :32] = 20 + LEVEL_STEP * number
    return image


def number_of(image: Image) -> int:
    return round((float(image[4:28, 4:28].mean()) - 20) / LEVEL_STEP)


class Camera:
    """What a camera does when it is asked.

    modes: fourcc -> sizes. controls: id -> (lowest, highest, now). faults: sequence -> what is done to that frame: "lost",
    "damaged" (as the driver says), "short" (only bytes are missing), "none" (nothing comes in time), or an errno. age_ns: how
    old a frame is by its time when it is taken. clocked: its times are on the monotonic clock. fails: call -> errno.
    """

    def __init__(
        self,
        *,
        modes: Mapping[str, Sequence[tuple[int, int]]] | None = None,
        controls: Mapping[int, tuple[int, int, int]] | None = None,
        faults: Mapping[int, str | int] | None = None,
        age_ns: Callable[[int], int] = lambda sequence: 1_000_000,
        clocked: bool = True,
        capabilities: int = kernel.VIDEO_CAPTURE | kernel.STREAMING,
        fails: Mapping[int, int] | None = None,
        padding: int = 0,
        first_sequence: int = 0,
    ) -> None:
        self.modes = {"MJPG": SIZES, "YUYV": SIZES, "RG10": SIZES[:1]} if modes is None else modes
        self.controls = dict(controls or {})
        self.faults, self.fails = dict(faults or {}), dict(fails or {})
        self.age_ns, self.clocked, self.capabilities, self.padding = age_ns, clocked, capabilities, padding
        self.first = self.sequence = first_sequence
        self.opened = self.streaming = 0
        self.waited_s: list[float] = []
        self.asked: list[int] = []
        self.queued: list[int] = []
        self.fourcc, self.size, self.rate = next(iter(self.modes), "MJPG"), SIZES[1], (1, 30)
        self.memory: list[Image] = []
        self.mappings: list[weakref.ref[Image]] = []

    def open(self, path: Path) -> int:
        self.opened += 1
        return 70 + self.opened

    def close(self, node: int) -> None:
        self.opened -= 1

    def mapped(self, node: int, length: int, offset: int) -> Image:
        assert length == self.memory[offset].size
        shown = self.memory[offset].view()
        shown.setflags(write=False)
        self.mappings.append(weakref.ref(shown))
        return shown

    def wait(self, node: int, timeout_s: float) -> bool:
        assert self.streaming
        assert self.queued, "every buffer is held: no picture can come"
        self.waited_s.append(timeout_s)
        while self.faults.get(self.sequence) == "lost":
            self.sequence += 1
        if self.faults.get(self.sequence) == "none":
            del self.faults[self.sequence]
            return False
        return True

    def ask(self, node: int, call: int, value: Any) -> None:
        self.asked.append(call)
        assert ctypes.sizeof(value) == call >> 16 & 0x3FFF
        if call in self.fails:
            raise OSError(self.fails[call], "told to fail")
        answers: Mapping[int, Callable[[Any], None]] = {
            kernel.QUERYCAP: self._capability,
            kernel.ENUM_FMT: self._format,
            kernel.ENUM_FRAMESIZES: self._frame_size,
            kernel.ENUM_FRAMEINTERVALS: self._frame_interval,
            kernel.S_FMT: self._set_format,
            kernel.S_PARM: self._set_rate,
            kernel.QUERYCTRL: self._query_control,
            kernel.G_CTRL: self._control,
            kernel.S_CTRL: self._set_control,
            kernel.REQBUFS: self._request,
            kernel.QUERYBUF: self._query_buffer,
            kernel.QBUF: self._queue,
            kernel.DQBUF: self._dequeue,
            kernel.STREAMON: self._stream_on,
            kernel.STREAMOFF: self._stream_off,
        }
        answers[call](value)

    def _capability(self, value: kernel.Capability) -> None:
        value.driver, value.card, value.bus_info = b"stand-in", b"Stand-in camera", b"usb-0000:00:14.0-1"
        value.capabilities, value.device_caps = 0x80000000 | kernel.VIDEO_OUTPUT | self.capabilities, self.capabilities

    def _format(self, value: kernel.FormatDescription) -> None:
        value.pixelformat = _code(_nth(list(self.modes), value.index))

    def _frame_size(self, value: kernel.FrameSize) -> None:
        value.type = kernel.FRMSIZE_DISCRETE
        value.discrete[:] = _nth(self.modes[_name(value.pixel_format)], value.index)

    def _frame_interval(self, value: kernel.FrameInterval) -> None:
        assert (value.width, value.height) in self.modes[_name(value.pixel_format)]
        value.type = 1
        value.interval[:] = _nth([(1, 30), (1, 15), (1001, 30000)], value.index)

    def _set_format(self, value: kernel.Format) -> None:
        """What it has not becomes what it has, as drivers do."""
        fourcc, size = _name(value.pixelformat), (value.width, value.height)
        self.fourcc = fourcc if fourcc in self.modes else next(iter(self.modes))
        self.size = size if size in self.modes[self.fourcc] else self.modes[self.fourcc][0]
        value.pixelformat, (value.width, value.height) = _code(self.fourcc), self.size
        value.bytesperline = self.stride
        value.sizeimage = self.stride * self.size[1] * 2

    @property
    def stride(self) -> int:
        bytes_of = {"MJPG": 0, "NV12": 1, "BGR3": 3, "RGB3": 3}.get(self.fourcc, 2)
        return bytes_of * self.size[0] + (self.padding if bytes_of else 0)

    def _set_rate(self, value: kernel.StreamParameters) -> None:
        self.rate = tuple(value.interval)

    def _query_control(self, value: kernel.ControlQuery) -> None:
        value.minimum, value.maximum, _ = self._held(value.id)
        value.step = 1

    def _control(self, value: kernel.Control) -> None:
        value.value = self._held(value.id)[2]

    def _set_control(self, value: kernel.Control) -> None:
        lowest, highest, _ = self._held(value.id)
        if not lowest <= value.value <= highest or (value.id == kernel.EXPOSURE_AUTO and value.value not in (1, highest)):
            raise OSError(errno.ERANGE, "out of range")
        self.controls[value.id] = lowest, highest, value.value

    def _held(self, control: int) -> tuple[int, int, int]:
        if control not in self.controls:
            raise OSError(errno.EINVAL, "no such control")
        return self.controls[control]

    @property
    def mapped_now(self) -> int:
        """Buffers that somebody can still see: the kernel would keep the camera for them."""
        return sum(each() is not None for each in self.mappings)

    def _request(self, value: kernel.BufferRequest) -> None:
        value.count = max(value.count, 2)
        self.memory = [np.zeros(self.size[0] * self.size[1] * 4, np.uint8) for _ in range(value.count)]

    def _query_buffer(self, value: kernel.Buffer) -> None:
        value.length, value.offset = self.memory[value.index].size, value.index

    def _queue(self, value: kernel.Buffer) -> None:
        assert value.index not in self.queued
        self.queued.append(value.index)

    def _dequeue(self, value: kernel.Buffer) -> None:
        fault = self.faults.get(self.sequence)
        if isinstance(fault, int):
            raise OSError(fault, "told to fail")
        value.index = self.queued.pop(0)
        value.sequence, self.sequence = self.sequence % 2**32, self.sequence + 1
        raw = self._encoded(picture(value.sequence % PICTURES, *self.size))
        self.memory[value.index][: raw.size] = raw
        value.bytesused = raw.size - (64 if fault == "short" else 0)
        value.flags = kernel.BUF_FLAG_ERROR if fault == "damaged" else 0
        value.flags |= kernel.TIMESTAMP_MONOTONIC if self.clocked else 0
        told_ns = clock.monotonic_ns() - self.age_ns(value.sequence)
        value.seconds, value.microseconds = told_ns // 10**9, told_ns % 10**9 // 1000

    def _stream_on(self, value: kernel.Number) -> None:
        self.streaming += 1
        self.sequence = self.first

    def _stream_off(self, value: kernel.Number) -> None:
        self.streaming -= 1
        self.queued.clear()

    def _encoded(self, image: Image) -> Image:
        """RGB as the camera would send it, with lines as long as its stride."""
        height, width = image.shape[:2]
        if self.fourcc == "MJPG":
            bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
            return np.append(cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, 95))[1].ravel(), np.zeros(32, np.uint8))
        if self.fourcc in ("RGB3", "BGR3"):
            lines = (image if self.fourcc == "RGB3" else image[:, :, ::-1]).reshape(height, width * 3)
        else:
            lines = self._yuv(image)
        return np.pad(lines, ((0, 0), (0, self.stride - lines.shape[1]))).ravel()

    def _yuv(self, image: Image) -> Image:
        """ITU-R BT.601, 16 to 235; colour differences of pairs, or of squares of four."""
        red, green, blue = (image[:, :, channel].astype(float) for channel in range(3))
        luma = 16 + (65.738 * red + 129.057 * green + 25.064 * blue) / 256
        first = 128 + (-37.945 * red - 74.494 * green + 112.439 * blue) / 256
        second = 128 + (112.439 * red - 94.154 * green - 18.285 * blue) / 256
        y, u, v = (np.rint(each).astype(np.uint8) for each in (luma, first, second))
        height, width = y.shape
        if self.fourcc == "NV12":
            return np.concatenate((y, np.stack((u[::2, ::2], v[::2, ::2]), -1).reshape(height // 2, width)))
        mixed = np.stack((y[:, ::2], u[:, ::2], y[:, 1::2], v[:, ::2]), -1)
        return (mixed if self.fourcc == "YUYV" else mixed[..., [1, 0, 3, 2]]).reshape(height, width * 2)


def _nth(items: Sequence[Any], index: int) -> Any:
    if index >= len(items):
        raise OSError(errno.EINVAL, "no more")
    return items[index]


def _code(fourcc: str) -> int:
    return int.from_bytes(fourcc.encode(), "little")


def _name(code: int) -> str:
    return code.to_bytes(4, "little").decode()
