"""A /dev/video node: what it is, its formats, rates and controls."""

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from typing_extensions import Self

from edgecell.cameras import Mode
from edgecell.sources.v4l2 import kernel
from edgecell.sources.v4l2.kernel import BUF_TYPE_VIDEO_CAPTURE, Kernel
from edgecell.sources.v4l2.pixels import FORMATS, Agreed

Told = TypeVar("Told", kernel.FormatDescription, kernel.FrameSize, kernel.FrameInterval)
NO_SUCH = (errno.EINVAL, errno.ENOTTY)
"""What a driver says after the last of a list, to a control it has not, and to a call it does not know."""
MOST_LISTED = 200
"""Of each list: a driver that never ends one is left there."""


@dataclass(frozen=True, slots=True)
class Range:
    """What a control takes, in its own unit. inactive: another one, such as an automatic, holds it."""

    minimum: int
    maximum: int
    step: int
    inactive: bool


class Node:
    """An open node. Everything raises OSError, as the driver says."""

    def __init__(self, path: Path, calls: Kernel) -> None:
        self.calls, self._path, self.number = calls, path, -1

    def __enter__(self) -> Self:
        self.number = self.calls.open(self._path)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self.calls.close(self.number)

    def capability(self) -> kernel.Capability:
        told = kernel.Capability()
        self.calls.ask(self.number, kernel.QUERYCAP, told)
        return told

    def modes(self) -> list[Mode]:
        """Every format, size and rate that the driver tells of."""
        return [
            Mode(
                pixel_format=name, width=width, height=height, up_to=up_to, fps=self._rates(name, width, height), usable=usable
            )
            for name in self._formats()
            for width, height, up_to in self._sizes(name)
            for usable in [name in FORMATS]
        ]

    def set_format(self, fourcc: str, width: int, height: int) -> Agreed:
        """Ask for a format; the driver may give another."""
        asked = kernel.Format(type=BUF_TYPE_VIDEO_CAPTURE, width=width, height=height, pixelformat=_code(fourcc))
        self.calls.ask(self.number, kernel.S_FMT, asked)
        return Agreed(_fourcc(asked.pixelformat), asked.width, asked.height, asked.bytesperline)

    def set_rate(self, fps: float) -> float:
        """Frames a second that the driver agrees to; `fps` where it cannot be asked."""
        asked = kernel.StreamParameters(type=BUF_TYPE_VIDEO_CAPTURE, interval=(1000, round(fps * 1000)))
        try:
            self.calls.ask(self.number, kernel.S_PARM, asked)
        except OSError as error:
            if error.errno in NO_SUCH:
                return fps
            raise
        return _rate(*asked.interval) or fps

    def limits(self, control: int) -> Range | None:
        """What a control takes; None where there is none that can be set."""
        told = kernel.ControlQuery(id=control)
        try:
            self.calls.ask(self.number, kernel.QUERYCTRL, told)
        except OSError as error:
            if error.errno in NO_SUCH:
                return None
            raise
        if told.flags & (kernel.CTRL_DISABLED | kernel.CTRL_READ_ONLY):
            return None
        return Range(told.minimum, told.maximum, max(1, told.step), bool(told.flags & kernel.CTRL_INACTIVE))

    def value(self, control: int) -> int:
        told = kernel.Control(id=control)
        self.calls.ask(self.number, kernel.G_CTRL, told)
        return int(told.value)

    def set_value(self, control: int, value: int) -> int:
        """The value that is in force after it was asked for; out of range is no error here, but the value before."""
        try:
            self.calls.ask(self.number, kernel.S_CTRL, kernel.Control(id=control, value=value))
        except OSError as error:
            if error.errno not in (errno.ERANGE, errno.EINVAL, errno.EACCES, errno.EBUSY):
                raise
        return self.value(control)

    def _formats(self) -> list[str]:
        return [
            _fourcc(told.pixelformat)
            for told in self._listed(
                kernel.ENUM_FMT, lambda index: kernel.FormatDescription(index=index, type=BUF_TYPE_VIDEO_CAPTURE)
            )
        ]

    def _sizes(self, fourcc: str) -> Iterator[tuple[int, int, bool]]:
        """Width, height, and whether smaller ones are possible too; the largest first."""
        sizes = list(
            self._listed(kernel.ENUM_FRAMESIZES, lambda index: kernel.FrameSize(index=index, pixel_format=_code(fourcc)))
        )
        if sizes and sizes[0].type != kernel.FRMSIZE_DISCRETE:
            _, width, _, _, height, _ = sizes[0].bounds
            yield width, height, True
            return
        for width, height in sorted({(told.discrete[0], told.discrete[1]) for told in sizes}, reverse=True):
            yield width, height, False

    def _rates(self, fourcc: str, width: int, height: int) -> tuple[float, ...]:
        """Frames a second, the fastest first; of a range that one."""
        told = self._listed(
            kernel.ENUM_FRAMEINTERVALS,
            lambda index: kernel.FrameInterval(index=index, pixel_format=_code(fourcc), width=width, height=height),
        )
        rates = {_rate(*each.interval) for each in told}
        return tuple(sorted(rates - {0.0}, reverse=True))

    def _listed(self, call: int, made: Callable[[int], Told]) -> Iterator[Told]:
        """All of what the driver lists by numbers from 0 on."""
        for index in range(MOST_LISTED):
            told = made(index)
            try:
                self.calls.ask(self.number, call, told)
            except OSError as error:
                if error.errno in NO_SUCH:
                    return
                raise
            yield told


def _code(fourcc: str) -> int:
    return int.from_bytes(fourcc.encode("latin-1"), "little")


def _fourcc(code: int) -> str:
    """Four characters; the highest bit only says that the order of bytes is the other one."""
    return (code & 0x7FFFFFFF).to_bytes(4, "little").decode("latin-1")


def _rate(numerator: int, denominator: int) -> float:
    """Frames a second of an interval; 0 if that is none."""
    return round(denominator / numerator, 3) if numerator else 0.0
