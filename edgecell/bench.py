"""Times a run from outside: the frame path is the one of `edgecell run`, with a stopwatch around its parts.

    read | gate, segment, classify, tally | publish
         ^ captured                       ^ settled ^ served: the lap is over

Nothing of the path is written again here: the runtime says when a frame is settled, the pipeline says how long its stages took,
and what is left between those is the tally's and the runtime's own.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from edgecell import app, clock
from edgecell.app import Chosen, Plan
from edgecell.errors import FrameCorrupt, SourceUnavailable
from edgecell.messages import NOTICE, NUCLEATED, Frame, FrameReport
from edgecell.runtime import Progress
from edgecell.settings import PartSettings
from edgecell.wire import Frames, Message, Model

STAGES = ("read", "gate", "segment", "classify", "tally", "publish")
LOOPBACK = PartSettings(part="zmq", options={"endpoint": "tcp://127.0.0.1:*"}, where="bench")
"""The real bus on a free port, so that a bench never meets a running edgecell."""
PRELOAD_BYTES = 1 << 29
"""Most that is kept of frames read in advance: 77 of 1920x1200."""
PRELOAD_TIMEOUT_S = 5.0
MIB = 2**20


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Percentiles (linear interpolation) and mean of one figure over the frames that have it."""

    p50: float
    p95: float
    p99: float
    mean: float


class Threads(msgspec.Struct, frozen=True, kw_only=True):
    """CPU threads in use. engines: each in its own words. The frame path itself is one thread."""

    opencv: int
    engines: tuple[str, ...]


class Outcome(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="bench/1"):
    """What a bench found.

    frames: laps that the figures are of. warmup: laps before, left out. preloaded: frames held in memory, 0 if each was read.
    fps, cells_per_s: of whole laps, reading included. stages_ms: of the frames that reached the stage. classify_ms: the parts
    of that stage, `crops` (cut, normalise, decide) and `engine`. end_to_end_ms: from a frame's capture, as its time stamp says
    it (the phantom's and a camera's lies before the picture is ready), until what is due is published. fates: of all frames of
    the run, warm-up included. machine: by subject, as `edgecell doctor` says it.
    """

    source: str
    sizes_px: tuple[tuple[int, int], ...]
    frames: int
    warmup: int
    preloaded: int
    fps: float
    cells_per_s: float
    cells_per_frame: float
    nucleated_per_frame: float
    classified_per_frame: float
    stages_ms: dict[str, Spread]
    classify_ms: dict[str, Spread]
    end_to_end_ms: Spread
    fates: Frames
    dropped: int
    rss_peak_mib: float
    threads: Threads
    models: tuple[Model, ...]
    machine: dict[str, str] = {}
    notice: str = NOTICE


@dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """One frame, from the first look for it until it is settled and what is due is published. stages_ms: in order."""

    size_px: tuple[int, int]
    cells: int
    nucleated: int
    classified: int
    stages_ms: Mapping[str, float]
    engine_ms: float
    end_to_end_ms: float


class Stopwatch:
    """An observer of the runtime that also hears from the parts it stands around. on_lap: called after each, off the clock."""

    def __init__(self, on_lap: Callable[[], None]) -> None:
        self.laps: list[Lap] = []
        self.preloaded = 0
        self._on_lap = on_lap
        self._read_ns: int | None = None
        self._captured_ns = self._settled_ns = self._engine_ns = 0
        self._frame: Frame | None = None
        self._report: FrameReport | None = None

    def reading(self) -> None:
        """Somebody looks for a frame. Time-outs and unusable frames on the way are part of the read."""
        self._read_ns = self._read_ns or clock.monotonic_ns()

    def captured(self, frame: Frame) -> None:
        self._frame, self._engine_ns = frame, 0
        self._captured_ns = clock.monotonic_ns()

    def inferred(self, nanoseconds: int) -> None:
        self._engine_ns += nanoseconds

    def settled(self, report: FrameReport | None, progress: Callable[[], Progress]) -> None:  # noqa: ARG002 an Observer's
        self._report = report
        self._settled_ns = clock.monotonic_ns()

    def sent(self, message: Message) -> None:
        """What it took shows in `publish`."""

    def served(self) -> None:
        """The runtime's last act before it looks for the next frame."""
        now = clock.monotonic_ns()
        if self._report is None or self._frame is None or self._read_ns is None:
            return
        self.laps.append(self._lap(self._report, self._frame, self._read_ns, now))
        self._report = self._frame = self._read_ns = None
        self._on_lap()

    def _lap(self, report: FrameReport, frame: Frame, read_ns: int, served_ns: int) -> Lap:
        path_ms = {stage: spent / 1e3 for stage, spent in report.stage_us.items()}
        stages_ms = {
            "read": (self._captured_ns - read_ns) / 1e6,
            **path_ms,
            "tally": (self._settled_ns - self._captured_ns) / 1e6 - sum(path_ms.values()),
            "publish": (served_ns - self._settled_ns) / 1e6,
        }
        return Lap(
            size_px=(frame.image.shape[1], frame.image.shape[0]),
            cells=len(report.cells),
            nucleated=sum(cell.kind == NUCLEATED for cell in report.cells),
            classified=sum(answer.probabilities is not None for answer in report.classifications),
            stages_ms=stages_ms,
            engine_ms=self._engine_ns / 1e6,
            end_to_end_ms=(served_ns - frame.captured_ns) / 1e6,
        )


def measure(plan: Plan, *, frames: int, warmup: int, preload: bool, on_lap: Callable[[], None]) -> Outcome:
    """Run `plan` for warmup + frames frames, its publisher exchanged for LOOPBACK; a source that ends starts over.

    Raises what a run raises, and SourceUnavailable when nothing was left to measure.
    """
    watch = Stopwatch(on_lap)
    run = msgspec.structs.replace(plan.settings.run, max_frames=warmup + frames)
    timed = dataclasses.replace(
        plan,
        settings=msgspec.structs.replace(plan.settings, run=run),
        source=_around(plan.source, TimedSource, watch, preload=frames if preload else 0),
        engine=_around(plan.engine, TimedEngine, watch, encoding=plan.engine.part.encoding),
        publisher=_around(app.choose("publisher", LOOPBACK), TimedPublisher, watch),
    )
    with timed.runtime(watch) as runtime:
        last = runtime.run()
    laps = watch.laps[warmup:]
    if not laps:
        what = f"{len(watch.laps)} frames of {plan.source.name} could be used, and the warm-up took them all"
        raise SourceUnavailable(what, fix="give it frames that can be used, or a smaller --warmup")
    seconds = sum(lap.stages_ms["read"] + _after_capture(lap) for lap in laps) / 1e3
    return Outcome(
        source=plan.source.name,
        sizes_px=tuple(sorted({lap.size_px for lap in laps})),
        frames=len(laps),
        warmup=warmup,
        preloaded=watch.preloaded,
        fps=len(laps) / seconds,
        cells_per_s=sum(lap.cells for lap in laps) / seconds,
        cells_per_frame=float(np.mean([lap.cells for lap in laps])),
        nucleated_per_frame=float(np.mean([lap.nucleated for lap in laps])),
        classified_per_frame=float(np.mean([lap.classified for lap in laps])),
        stages_ms=_stages(laps),
        classify_ms=_parts_of_classify(laps),
        end_to_end_ms=spread([lap.end_to_end_ms for lap in laps]),
        fates=last.counts.frames,
        dropped=last.counts.frames.dropped,
        rss_peak_mib=rss_peak_mib(),
        threads=Threads(opencv=cv2.getNumThreads(), engines=tuple(model.engine for model in last.counts.models)),
        models=last.counts.models,
    )


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    p50, p95, p99 = (float(value) for value in np.percentile(values, [50, 95, 99]))
    return Spread(p50=p50, p95=p95, p99=p99, mean=float(np.mean(values)))


def rss_peak_mib() -> float:
    """The most memory this process has held, in MiB; from the kernel, nan where it does not tell. (getrusage would do, but it
    hands a parent's peak on to its children.)"""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return float(status.partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, IndexError):
        return float("nan")


def _after_capture(lap: Lap) -> float:
    return sum(spent for stage, spent in lap.stages_ms.items() if stage != "read")


def _stages(laps: Sequence[Lap]) -> dict[str, Spread]:
    times = {stage: [lap.stages_ms[stage] for lap in laps if stage in lap.stages_ms] for stage in STAGES}
    return {stage: spread(values) for stage, values in times.items() if values}


def _parts_of_classify(laps: Sequence[Lap]) -> dict[str, Spread]:
    """Empty where every frame was gated."""
    both = [(lap.stages_ms["classify"], lap.engine_ms) for lap in laps if "classify" in lap.stages_ms]
    if not both:
        return {}
    return {"crops": spread([whole - engine for whole, engine in both]), "engine": spread([engine for _, engine in both])}


class _Around:
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


class TimedSource(_Around):
    """Starts over when the source ends, and numbers on. preload: frames to read in advance, so that reading costs nothing."""

    preload: int

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


class TimedEngine(_Around):
    def infer(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        start = clock.monotonic_ns()
        answers: Mapping[str, NDArray[np.float32]] = self._inner.infer(batch)
        self.watch.inferred(clock.monotonic_ns() - start)
        return answers


class TimedPublisher(_Around):
    def serve(self, timeout_s: float) -> None:
        self._inner.serve(timeout_s)
        self.watch.served()


def _around(chosen: Chosen, wrapper: type[_Around], watch: Stopwatch, **own: object) -> Chosen:
    """The same choice, made with the stopwatch around it. own: further class attributes."""
    name = f"{wrapper.__name__}Of{chosen.part.__name__}"
    return dataclasses.replace(chosen, part=type(name, (wrapper,), {"part": chosen.part, "watch": watch, **own}))
