"""The buffers that a driver fills with pictures."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgecell.sources.v4l2 import kernel
from edgecell.sources.v4l2.kernel import BUF_TYPE_VIDEO_CAPTURE, MEMORY_MMAP
from edgecell.sources.v4l2.node import Node


class Filled(NamedTuple):
    """A picture in the driver's memory: the first `bytes_used` of a buffer.

    sequence: the driver's number for it; those that it lost have numbers too. captured_ns: by the monotonic clock, None where
    the driver goes by another. damaged: the driver says that something is missing.
    """

    buffer: int
    bytes_used: int
    sequence: int
    captured_ns: int | None
    damaged: bool


class Stream:
    """A running stream of a node whose format is set. Everything raises OSError, as the driver says."""

    def __init__(self, node: Node, buffers: int) -> None:
        """buffers: as many as are asked for; the driver may need more."""
        self._node = node
        asked = kernel.BufferRequest(count=buffers, type=BUF_TYPE_VIDEO_CAPTURE, memory=MEMORY_MMAP)
        self._ask(kernel.REQBUFS, asked)
        self._memory = [self._mapped(index) for index in range(asked.count)]
        for index in range(asked.count):
            self._ask(kernel.QBUF, _buffer(index))
        self._ask(kernel.STREAMON, kernel.Number(value=BUF_TYPE_VIDEO_CAPTURE))

    @property
    def buffers(self) -> int:
        return len(self._memory)

    def close(self) -> None:
        """The driver holds the camera for us as long as any of its memory is mapped."""
        self._memory.clear()
        self._ask(kernel.STREAMOFF, kernel.Number(value=BUF_TYPE_VIDEO_CAPTURE))

    def data(self, filled: Filled) -> NDArray[np.uint8]:
        """uint8 (bytes,), the driver's own memory. Give it no name: kept in an error's traceback, it would keep the camera."""
        return self._memory[filled.buffer][: filled.bytes_used]

    @contextmanager
    def taken(self, timeout_s: float) -> Iterator[Filled | None]:
        """The next picture, given back on leaving; None if none came in time."""
        buffer = _buffer(0)
        if not self._node.calls.wait(self._node.number, timeout_s) or not self._dequeued(buffer):
            yield None
            return
        try:
            yield Filled(
                buffer=buffer.index,
                bytes_used=buffer.bytesused,
                sequence=buffer.sequence,
                captured_ns=_captured_ns(buffer),
                damaged=bool(buffer.flags & kernel.BUF_FLAG_ERROR),
            )
        finally:
            self._ask(kernel.QBUF, _buffer(buffer.index))

    def _dequeued(self, buffer: kernel.Buffer) -> bool:
        try:
            self._ask(kernel.DQBUF, buffer)
        except OSError as error:
            if error.errno == errno.EAGAIN:  # it was wanted, and gone before it could be taken
                return False
            raise
        return True

    def _mapped(self, index: int) -> NDArray[np.uint8]:
        told = _buffer(index)
        self._ask(kernel.QUERYBUF, told)
        return self._node.calls.mapped(self._node.number, told.length, told.offset)

    def _ask(self, call: int, value: kernel.Buffer | kernel.BufferRequest | kernel.Number) -> None:
        self._node.calls.ask(self._node.number, call, value)


def _buffer(index: int) -> kernel.Buffer:
    return kernel.Buffer(index=index, type=BUF_TYPE_VIDEO_CAPTURE, memory=MEMORY_MMAP)


def _captured_ns(buffer: kernel.Buffer) -> int | None:
    if buffer.flags & kernel.TIMESTAMP_MASK != kernel.TIMESTAMP_MONOTONIC:
        return None
    return int(buffer.seconds) * 1_000_000_000 + int(buffer.microseconds) * 1000
