"""The live loop: read, detect, classify, tally, publish. The only place with signals, retries and, later, threads.

    starting -> running <-> degraded (no frame that can be used for read_timeout_s)
                   |            |
                   +-----+------+
                         v
                     draining -> stopped
                         |
                         +-----> failed (an error that is not the frame's)

SIGINT and SIGTERM end the loop after the frame in hand: the tally is finished and published, then `stopped`. Counts sent while
no usable frame comes are not valid, those of a run that ends so neither: silence is no "no cells".
"""

import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

import numpy as np

from edgecell import clock, pipeline, tally
from edgecell.bundle import CellClass
from edgecell.classify import Classifier
from edgecell.errors import EdgecellError, FrameCorrupt, FrameTimeout, SourceUnavailable
from edgecell.gate import GateState, Limits
from edgecell.messages import Domain, Frame, FrameReport, Kind, PixelUmSource, Tally
from edgecell.protocols import FrameSource, Publisher, Segmenter
from edgecell.settings import RunSettings
from edgecell.wire import CountsMessage, Heartbeat, Latency, Message, Model, State, frames_of, to_wire

LOG = logging.getLogger(__name__)
GLANCE_S = 0.25
"""Longest wait inside the source, so that a signal is answered and the heartbeat keeps its pace while no frame comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose counts these are."""

    device_id: str
    run_id: str
    sample_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a display may show after every frame. fps: frames settled a second, over the run."""

    counts: CountsMessage
    state: State
    fps: float


class Observer(Protocol):
    """Who looks on from inside the process, on the runtime's thread: it must be quick."""

    def settled(self, report: FrameReport | None, progress: Callable[[], Progress]) -> None:
        """After every frame: its report, None for a failed one, and a function that makes the progress on demand."""

    def sent(self, message: Message) -> None:
        """After every message to the bus."""


class Runtime:
    """One run of one sample. All parts are open; the caller closes them."""

    def __init__(
        self,
        *,
        identity: Identity,
        settings: RunSettings,
        source: FrameSource,
        segmenter: Segmenter,
        classifiers: Mapping[Kind, Classifier],
        classes: Mapping[str, CellClass],
        models: tuple[Model, ...],
        publisher: Publisher,
        observer: Observer,
    ) -> None:
        self._identity, self._settings = identity, settings
        self._source, self._segmenter, self._publisher = source, segmenter, publisher
        self._observer = observer
        self._classifiers, self._classes, self._models = classifiers, classes, models
        self._total = Tally()
        self._gate, self._domain = GateState(), Domain()
        self._domains: pipeline.Domains = {}
        self._state: State = "starting"
        self._reason = ""
        self._next_index = 0
        self._silent_since_ns: int | None = None
        self._trouble = ""
        self._stop = False
        self._started_ns = clock.monotonic_ns()
        self._sequences = {"counts": 0, "heartbeat": 0}
        self._window = _Window.start(self._total)
        self._heartbeat_due_ns = 0
        self._scale: tuple[float | None, PixelUmSource] = (None, "unknown")

    def run(self) -> Progress:
        """Until the source ends, settings.max_frames are settled or a signal asks to stop. Raises what ends a run.

        Whatever happens, the counts so far and the last state are published.
        """
        self._state = "running"
        end: tuple[State, str] = "failed", "an unexpected error ended the program"
        with self._stop_on_signals():
            try:
                while not self._stop and self._step():
                    self._tell()
                end = "stopped", self._trouble
            except EdgecellError as error:
                end = "failed", error.what
                raise
            finally:
                self._state, self._reason = end
                counts = self._counts(final=True)
                self._send(counts, self._heartbeat())
        return self._progress(counts)

    def _step(self) -> bool:
        """One look at the source; False when the run is over."""
        if self._total.frames.captured >= (self._settings.max_frames or float("inf")):
            return False
        since_ns = self._silent_since_ns = clock.monotonic_ns() if self._silent_since_ns is None else self._silent_since_ns
        try:
            frame = self._source.read(min(GLANCE_S, self._settings.read_timeout_s))
        except FrameTimeout:
            self._silence(since_ns)
            return True
        except FrameCorrupt as error:
            LOG.error("frame %d failed: %s", error.index, error)  # noqa: TRY400 the line says it all
            self._arrived(error.index)
            self._total = tally.fail(self._total)
            self._silence(since_ns)
            self._observer.settled(None, self._now)
            return True
        if frame is None:
            self._state = "draining"
            self._check_end()
            return False
        self._arrived(frame.index)
        self._usable()
        self._observer.settled(self._count(frame), self._now)
        return True

    def _check_end(self) -> None:
        """A source that ended without one frame that could be used counted nothing: that is an error, not a count of zero."""
        frames = self._total.frames
        if frames.captured and frames.failed + frames.dropped == frames.captured:
            what = f"none of the {frames.captured} frames of {self._source.source_id} could be used: the lines above say why"
            raise SourceUnavailable(what)

    def _silence(self, since_ns: int) -> None:
        """No usable frame. After read_timeout_s of that the run is degraded: it is no frame, not a frame without cells."""
        silent_s = (clock.monotonic_ns() - since_ns) / 1e9
        if silent_s < self._settings.read_timeout_s:
            return
        if not self._trouble:
            LOG.warning("no usable frame from %s for %.1f s", self._source.source_id, silent_s)
        self._trouble = f"no usable frame from {self._source.source_id} for {silent_s:.1f} s"
        if not self._stop:
            self._state, self._reason = "degraded", self._trouble

    def _usable(self) -> None:
        """A frame that can be looked at ends a silence."""
        self._silent_since_ns = None
        if not self._trouble:
            return
        LOG.info("frames from %s again", self._source.source_id)
        self._trouble = ""
        if not self._stop:
            self._state, self._reason = "running", ""

    def _arrived(self, index: int) -> None:
        """Book a frame, and as dropped those that the source numbered but never gave."""
        lost = index - self._next_index
        self._next_index = index + 1
        self._total = tally.capture(self._total, lost + 1)
        if lost:
            LOG.warning("%d frames lost before frame %d of %s", lost, index, self._source.source_id)
            self._total = tally.drop(self._total, lost)

    def _count(self, frame: Frame) -> FrameReport:
        """Detect, classify, tally. On an error the frame is booked as failed before it is raised."""
        try:
            detected, self._gate = pipeline.detect(frame, self._segmenter, Limits(), self._gate, clock.monotonic_ns)
            [report], self._domains = pipeline.classify([detected], self._classifiers, self._domains, clock.monotonic_ns)
        except EdgecellError:
            self._total = tally.fail(self._total)
            raise
        self._total = tally.add(self._total, report, self._classes)
        if report.verdict.accepted:
            self._scale = report.pixel_um, report.pixel_um_source
            self._note_domain(report.domain)
        else:
            LOG.info("frame %d %s gated: %s", frame.index, frame.label, report.verdict.reason)
        self._window.latencies_ms.append((clock.monotonic_ns() - frame.captured_ns) / 1e6)
        return report

    def _note_domain(self, domain: Domain) -> None:
        if domain.state != self._domain.state:
            LOG.warning(
                "the slide looks %s: mean confidence %.3f of %d cells", domain.state, domain.mean_confidence, domain.cells
            )
        self._domain = domain

    def _tell(self) -> None:
        """Publish what is due and serve late joiners. Never waits."""
        now = clock.monotonic_ns()
        if now - self._window.start_ns >= self._settings.window_s * 1e9:
            self._send(self._counts(final=True))
        if now >= self._heartbeat_due_ns:
            self._heartbeat_due_ns = now + round(self._settings.heartbeat_s * 1e9)
            self._send(self._heartbeat())
        self._publisher.serve(0)

    def _send(self, *messages: Message) -> None:
        """All of them are on the bus before anyone looks on: a display that fails must not keep the last state from it."""
        for message in messages:
            self._publisher.publish(*to_wire(message))
        for message in messages:
            self._observer.sent(message)

    def _next(self, kind: str) -> int:
        sequence = self._sequences[kind]
        self._sequences[kind] += 1
        return sequence

    def _counts(self, *, final: bool) -> CountsMessage:
        """The counts so far. final: they close the window, take a sequence number and are published."""
        now, window = clock.monotonic_ns(), self._window
        invalid = self._trouble or (self._reason if self._state == "failed" else "")
        message = CountsMessage(
            device_id=self._identity.device_id,
            run_id=self._identity.run_id,
            sample_id=self._identity.sample_id,
            sequence=self._next("counts") if final else self._sequences["counts"],
            window_start_utc=window.start_utc,
            clock_synced=clock.synced(),
            window_s=(now - window.start_ns) / 1e9,
            counts=tally.window_counts(self._total, window.before),
            cumulative=dict(self._total.counts),
            unsure=self._total.unsure,
            excluded={str(reason): count for reason, count in self._total.excluded.items()},
            cells_total=self._total.cells_total,
            counting=self._settings.counting,
            frames=frames_of(self._total.frames),
            gated_reasons=dict(self._total.gated_reasons),
            latency_ms=window.latency(),
            differential=tally.differential(self._total, self._classes),
            pixel_um=self._scale[0],
            pixel_um_source=self._scale[1],
            domain=self._domain.state,
            domain_confidence=self._domain.mean_confidence,
            models=self._models,
            valid=not invalid,
            invalid_reason=invalid,
        )
        if final:
            self._window = _Window.start(self._total)
        return message

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(
            device_id=self._identity.device_id,
            run_id=self._identity.run_id,
            sequence=self._next("heartbeat"),
            utc=clock.utc_now(),
            clock_synced=clock.synced(),
            state=self._state,
            reason=self._reason,
            uptime_s=(clock.monotonic_ns() - self._started_ns) / 1e9,
            frames=frames_of(self._total.frames),
        )

    def _now(self) -> Progress:
        return self._progress(self._counts(final=False))

    def _progress(self, counts: CountsMessage) -> Progress:
        seconds = (clock.monotonic_ns() - self._started_ns) / 1e9
        settled = counts.frames.captured - counts.frames.in_flight
        return Progress(counts=counts, state=self._state, fps=settled / seconds if seconds else 0.0)

    @contextmanager
    def _stop_on_signals(self) -> Iterator[None]:
        """The first SIGINT or SIGTERM asks the loop to stop; a second one ends the process as ever."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def ask(_number: int, _frame: FrameType | None) -> None:
            self._stop, self._state = True, "draining"
            restore()

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        for number in before:
            signal.signal(number, ask)
        try:
            yield
        finally:
            restore()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """The time since the last counts message. latencies_ms grows by one float a frame and starts anew with each window."""

    start_ns: int
    start_utc: str
    before: Tally
    latencies_ms: list[float]

    @classmethod
    def start(cls, before: Tally) -> "_Window":
        return cls(start_ns=clock.monotonic_ns(), start_utc=clock.utc_now(), before=before, latencies_ms=[])

    def latency(self) -> Latency | None:
        if not self.latencies_ms:
            return None
        p50, p95, p99 = (float(value) for value in np.percentile(self.latencies_ms, [50, 95, 99]))
        return Latency(p50=p50, p95=p95, p99=p99)
