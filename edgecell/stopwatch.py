"""Times a run from outside: looks on as an observer, and stands around the source and the publisher.

    read | wait | correct, gate, segment | wait | classify | wait | tally | publish
         ^ captured                                                   ^ settled ^ served: the lap is over

Laps overlap: while one frame is classified, the next is detected and the one after it read. Nothing of the frame path is
written again here: the runtime says when a frame is settled and how long it waited between threads, the pipeline says how long
its stages took, and what is left between those is the tally's and the runtime's own. A source that is always ready (preloaded
frames, files) keeps every mailbox full, so its frames wait as long as they can; those of a camera slower than the frame path
hardly do.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import cv2
from typing_extensions import Self

from edgecell import clock
from edgecell.errors import FrameCorrupt
from edgecell.messages import NUCLEATED, Frame, FrameReport
from edgecell.protocols import Progress
from edgecell.wire import Message

STAGES = ("read", "wait", "correct", "gate", "segment", "drift", "classify", "tally", "publish")
PRELOAD_BYTES = 1 << 29
"""Most that is kept of frames read in advance: 77 of 1920x1200."""
PRELOAD_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """One frame, from the first look for it until it is settled and what is due is published. stages_ms: in order; from `wait`
    on they add up to the time since it was read. began_ns, over_ns: monotonic clock at both ends."""

    size_px: tuple[int, int]
    cells: int
    nucleated: int
    classified: int
    stages_ms: Mapping[str, float]
    engine_ms: float
    end_to_end_ms: float
    began_ns: int
    over_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """A frame on its way."""

    size_px: tuple[int, int]
    began_ns: int
    read_ns: int


class Stopwatch:
    """An observer of the runtime that also hears from the parts it stands around: on the capture thread from the source, on the
    calling thread from the others.

    opencv_threads: OpenCV's, while the run is on.
    on_lap: called after each on the calling thread; what it does takes the frame path's time, so it must be quick.
    """

    def __init__(self, on_lap: Callable[[Lap], None]) -> None:
        self.laps: list[Lap] = []
        self.preloaded = self.opencv_threads = 0
        self._on_lap = on_lap
        self._began_ns: int | None = None
        self._on_way: dict[int, _Read] = {}
        self._settled_ns = 0
        self._report: FrameReport | None = None

    def reading(self) -> None:
        """Somebody looks for a frame. Time-outs and unusable frames on the way are part of the read."""
        self.opencv_threads = self.opencv_threads or cv2.getNumThreads()
        self._began_ns = self._began_ns or clock.monotonic_ns()

    def captured(self, frame: Frame) -> None:
        now, size_px = clock.monotonic_ns(), (frame.image.shape[1], frame.image.shape[0])
        self._on_way[frame.index] = _Read(size_px=size_px, began_ns=self._began_ns or now, read_ns=now)
        self._began_ns = None

    def settled(self, report: FrameReport | None, progress: Callable[[], Progress]) -> None:  # noqa: ARG002 an Observer's
        self._report = report
        self._settled_ns = clock.monotonic_ns()

    def sent(self, message: Message) -> None:
        """What it took shows in `publish`."""

    def served(self) -> None:
        """The runtime's last act before it takes the next frame."""
        now, report = clock.monotonic_ns(), self._report
        if report is None:
            return
        self.laps.append(self._lap(report, self._on_way.pop(report.frame_index), now))
        self._report = None
        self._on_lap(self.laps[-1])

    def _lap(self, report: FrameReport, read: _Read, served_ns: int) -> Lap:
        path_ms = {stage: spent / 1e3 for stage, spent in report.stage_us.items()}
        stages_ms = {
            "read": (read.read_ns - read.began_ns) / 1e6,
            **path_ms,
            "tally": (self._settled_ns - read.read_ns) / 1e6 - sum(path_ms.values()),
            "publish": (served_ns - self._settled_ns) / 1e6,
        }
        return Lap(
            size_px=read.size_px,
            cells=len(report.cells),
            nucleated=sum(cell.kind == NUCLEATED for cell in report.cells),
            classified=sum(answer.probabilities is not None for answer in report.classifications),
            stages_ms=stages_ms,
            engine_ms=report.engine_us / 1e3,
            end_to_end_ms=(served_ns - report.captured_ns) / 1e6,
            began_ns=read.began_ns,
            over_ns=served_ns,
        )


class Around:
    """A part with a stopwatch around it; what is not timed is the part's own."""

    part: type[Any]
    watch: Stopwatch

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._inner: Any = self.part(*arguments, **named)

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self._inner.__exit__(kind, error, trace)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class TimedSource(Around):
    """Starts over when the source ends, and numbers on. preload: frames to read in advance, so that reading costs nothing."""

    preload: int

    @property
    def live(self) -> bool:
        """What is kept waits for its reader."""
        return bool(self._inner.live) and not self.preload

    def __enter__(self) -> Self:
        super().__enter__()
        self._first = self._next_index = 0
        self._kept: list[Frame] = []
        kept_bytes = 0
        while len(self._kept) < self.preload and kept_bytes < PRELOAD_BYTES:
            try:
                frame: Frame | None = self._inner.read(PRELOAD_TIMEOUT_S)
            except FrameCorrupt:
                continue
            if frame is None:
                break
            self._kept.append(frame)
            kept_bytes += frame.image.nbytes
        self.watch.preloaded = len(self._kept)
        return self

    def read(self, timeout_s: float) -> Frame | None:
        self.watch.reading()
        frame = self._again() if self._kept else self._fresh(timeout_s)
        if frame is not None:
            self._next_index = frame.index + 1
            self.watch.captured(frame)
        return frame

    def _again(self) -> Frame:
        index = self._next_index
        return dataclasses.replace(self._kept[index % len(self._kept)], index=index, captured_ns=clock.monotonic_ns())

    def _fresh(self, timeout_s: float) -> Frame | None:
        try:
            frame: Frame | None = self._inner.read(timeout_s)
            if frame is None and self._next_index > self._first:
                self._first = self._next_index
                self._inner.__exit__(None, None, None)
                self._inner.__enter__()
                frame = self._inner.read(timeout_s)
        except FrameCorrupt as error:
            error.index += self._first
            self._next_index = error.index + 1
            raise
        return frame if frame is None else dataclasses.replace(frame, index=frame.index + self._first)


class TimedPublisher(Around):
    def serve(self, timeout_s: float) -> None:
        self._inner.serve(timeout_s)
        self.watch.served()
