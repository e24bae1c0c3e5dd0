"""As much of the kernel's Video4Linux2 interface as is used here, by the names of linux/videodev2.h, and the calls to it.

What is not named in a structure is room that the kernel's has too, so that sizes, which the numbers of the calls hold, agree.
"""

import ctypes
import fcntl
import mmap
import os
import select
from ctypes import c_char, c_int32, c_long, c_ubyte, c_uint32
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

VIDEO_CAPTURE, VIDEO_OUTPUT, VIDEO_CAPTURE_MPLANE, VIDEO_M2M, STREAMING = 0x1, 0x2, 0x1000, 0x8000, 0x04000000
BUF_TYPE_VIDEO_CAPTURE, MEMORY_MMAP = 1, 1
FRMSIZE_DISCRETE = 1
BUF_FLAG_ERROR, TIMESTAMP_MASK, TIMESTAMP_MONOTONIC = 0x40, 0xE000, 0x2000
CTRL_DISABLED, CTRL_READ_ONLY, CTRL_INACTIVE = 0x1, 0x4, 0x10
EXPOSURE_AUTO, EXPOSURE_ABSOLUTE = 0x009A0901, 0x009A0902
AUTO_WHITE_BALANCE, AUTOGAIN, GAIN, WHITE_BALANCE_TEMPERATURE = 0x0098090C, 0x00980912, 0x00980913, 0x0098091A


class Capability(ctypes.Structure):
    _fields_ = (
        ("driver", c_char * 16),
        ("card", c_char * 32),
        ("bus_info", c_char * 32),
        ("version", c_uint32),
        ("capabilities", c_uint32),
        ("device_caps", c_uint32),
        ("reserved", c_uint32 * 3),
    )


class FormatDescription(ctypes.Structure):
    _fields_ = (
        ("index", c_uint32),
        ("type", c_uint32),
        ("flags", c_uint32),
        ("description", c_char * 32),
        ("pixelformat", c_uint32),
        ("reserved", c_uint32 * 4),
    )


class FrameSize(ctypes.Structure):
    """width, height: of a discrete size. bounds: of a stepwise one, which begins with the same bytes: smallest, largest and
    step of the width, then of the height."""

    class _Size(ctypes.Union):
        _fields_ = (("discrete", c_uint32 * 2), ("bounds", c_uint32 * 6))

    _anonymous_ = ("size",)
    _fields_ = (
        ("index", c_uint32),
        ("pixel_format", c_uint32),
        ("type", c_uint32),
        ("size", _Size),
        ("reserved", c_uint32 * 2),
    )


class FrameInterval(ctypes.Structure):
    """interval: numerator and denominator in seconds, of a discrete one, or of the shortest of many."""

    _fields_ = (
        ("index", c_uint32),
        ("pixel_format", c_uint32),
        ("width", c_uint32),
        ("height", c_uint32),
        ("type", c_uint32),
        ("interval", c_uint32 * 2),
        ("more", c_uint32 * 4),
        ("reserved", c_uint32 * 2),
    )


class Format(ctypes.Structure):
    """Of pictures in one plane: struct v4l2_pix_format, in the room of its union, which begins at a multiple of a pointer."""

    _fields_ = (
        ("type", c_uint32),
        ("pad", c_ubyte * (ctypes.sizeof(ctypes.c_void_p) - 4)),
        ("width", c_uint32),
        ("height", c_uint32),
        ("pixelformat", c_uint32),
        ("field", c_uint32),
        ("bytesperline", c_uint32),
        ("sizeimage", c_uint32),
        ("more", c_ubyte * (200 - 24)),
    )


class StreamParameters(ctypes.Structure):
    _fields_ = (
        ("type", c_uint32),
        ("capability", c_uint32),
        ("capturemode", c_uint32),
        ("interval", c_uint32 * 2),
        ("more", c_ubyte * (200 - 16)),
    )


class BufferRequest(ctypes.Structure):
    _fields_ = (
        ("count", c_uint32),
        ("type", c_uint32),
        ("memory", c_uint32),
        ("capabilities", c_uint32),
        ("flags", c_ubyte),
        ("reserved", c_ubyte * 3),
    )


class Buffer(ctypes.Structure):
    """seconds, microseconds: when the first byte was captured."""

    _fields_ = (
        ("index", c_uint32),
        ("type", c_uint32),
        ("bytesused", c_uint32),
        ("flags", c_uint32),
        ("field", c_uint32),
        ("seconds", c_long),
        ("microseconds", c_long),
        ("timecode", c_uint32 * 4),
        ("sequence", c_uint32),
        ("memory", c_uint32),
        ("offset", ctypes.c_ulong),
        ("length", c_uint32),
        ("reserved2", c_uint32),
        ("request_fd", c_int32),
    )


class ControlQuery(ctypes.Structure):
    _fields_ = (
        ("id", c_uint32),
        ("type", c_uint32),
        ("name", c_char * 32),
        ("minimum", c_int32),
        ("maximum", c_int32),
        ("step", c_int32),
        ("default_value", c_int32),
        ("flags", c_uint32),
        ("reserved", c_uint32 * 2),
    )


class Control(ctypes.Structure):
    _fields_ = (("id", c_uint32), ("value", c_int32))


class Number(ctypes.Structure):
    """A plain int."""

    _fields_ = (("value", c_int32),)


def _call(number: int, value: type[ctypes.Structure], *, writes: bool = True, reads: bool = True) -> int:
    """_IOC of asm-generic/ioctl.h: what the call does with its argument, how long that is, and its number under 'V'."""
    return (reads << 31) | (writes << 30) | (ctypes.sizeof(value) << 16) | (ord("V") << 8) | number


QUERYCAP = _call(0, Capability, writes=False)
ENUM_FMT = _call(2, FormatDescription)
S_FMT = _call(5, Format)
REQBUFS = _call(8, BufferRequest)
QUERYBUF = _call(9, Buffer)
QBUF = _call(15, Buffer)
DQBUF = _call(17, Buffer)
STREAMON = _call(18, Number, reads=False)
STREAMOFF = _call(19, Number, reads=False)
S_PARM = _call(22, StreamParameters)
G_CTRL = _call(27, Control)
S_CTRL = _call(28, Control)
QUERYCTRL = _call(36, ControlQuery)
ENUM_FRAMESIZES = _call(74, FrameSize)
ENUM_FRAMEINTERVALS = _call(75, FrameInterval)


class Kernel(Protocol):
    """The calls. All raise OSError."""

    def open(self, path: Path) -> int: ...

    def ask(self, node: int, call: int, value: ctypes.Structure) -> None:
        """The kernel reads and fills `value`."""

    def mapped(self, node: int, length: int, offset: int) -> NDArray[np.uint8]:
        """A buffer, uint8 (length,), shared with the driver until the array is gone."""

    def wait(self, node: int, timeout_s: float) -> bool:
        """Whether there is a buffer to take, or an error to be told of."""

    def close(self, node: int) -> None: ...


class Linux:
    def open(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def ask(self, node: int, call: int, value: ctypes.Structure) -> None:
        fcntl.ioctl(node, call, value)

    def mapped(self, node: int, length: int, offset: int) -> NDArray[np.uint8]:
        return np.frombuffer(mmap.mmap(node, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=offset), np.uint8)

    def wait(self, node: int, timeout_s: float) -> bool:
        looking = select.poll()
        looking.register(node, select.POLLIN)
        return bool(looking.poll(max(0.0, timeout_s) * 1000))

    def close(self, node: int) -> None:
        os.close(node)
