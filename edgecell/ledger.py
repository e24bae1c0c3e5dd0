"""The books of one run: where every frame and every cell went, the state of the run, and the messages that say both.

    starting -> running <-> degraded (no frame that can be used for read_timeout_s)
                   |            |
                   +-----+------+
                         v
                     draining -> stopped
                         |
                         +-----> failed (an error that is not the frame's)

Kept by one thread, without I/O. Counts made while no usable frame comes are not valid, those of a run that ends so neither:
silence is no "no cells".
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgecell import clock, tally
from edgecell.bundle import CellClass
from edgecell.errors import SourceUnavailable
from edgecell.messages import Domain, FrameFates, FrameReport, PixelUmSource, Tally
from edgecell.protocols import Progress
from edgecell.settings import RunSettings
from edgecell.wire import CountsMessage, Heartbeat, Latency, Message, Model, State, frames_of

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose counts these are."""

    device_id: str
    run_id: str
    sample_id: str


class Ledger:
    """The books of one run of one sample. source_id: what the log calls the source."""

    def __init__(
        self,
        *,
        identity: Identity,
        settings: RunSettings,
        source_id: str,
        classes: Mapping[str, CellClass],
        models: tuple[Model, ...],
    ) -> None:
        self._identity, self._settings, self._source_id = identity, settings, source_id
        self._classes, self._models = classes, models
        self._total, self._domain = Tally(), Domain()
        self._scale: tuple[float | None, PixelUmSource] = (None, "unknown")
        self._phase: State = "starting"
        self._draining = False
        self._failure = self._trouble = ""
        self._next_index = self._heartbeat_due_ns = 0
        self._sequences = {"counts": 0, "heartbeat": 0}
        self._started_ns = clock.monotonic_ns()
        self._window = _Window.start(self._total)

    @property
    def frames(self) -> FrameFates:
        return self._total.frames

    @property
    def state(self) -> State:
        if self._phase != "running":
            return self._phase
        if self._draining:
            return "draining"
        return "degraded" if self._trouble else "running"

    def run(self) -> None:
        """Frames may come from now on."""
        self._started_ns, self._window = clock.monotonic_ns(), _Window.start(self._total)
        self._phase = "running"

    def drain(self) -> None:
        """No further frame is read. A signal handler may call it at any moment: it assigns, and nothing else."""
        self._draining = True

    def silent(self, silent_s: float) -> None:
        """The source was looked at in vain for so long. After read_timeout_s of that the run is degraded: it is no frame, not a
        frame without cells."""
        if silent_s < self._settings.read_timeout_s:
            return
        if not self._trouble:
            LOG.warning("no usable frame from %s for %.1f s", self._source_id, silent_s)
        self._trouble = f"no usable frame from {self._source_id} for {silent_s:.1f} s"

    def usable(self) -> None:
        """A frame that can be looked at ends a silence."""
        if self._trouble:
            LOG.info("frames from %s again", self._source_id)
        self._trouble = ""

    def end(self, failure: str | None) -> tuple[CountsMessage, Heartbeat]:
        """The last two messages, of a run that failed or (None) stopped. Frames still on their way were given up."""
        self._total = tally.drop(self._total, self.frames.in_flight)
        self._phase, self._failure = ("stopped", "") if failure is None else ("failed", failure)
        return self.counts(), self._heartbeat()

    def captured(self, frames: int) -> None:
        """So many frames were read since the start, those included that the source numbered but never gave."""
        self._total = tally.capture(self._total, frames - self.frames.captured)

    def arrived(self, index: int) -> None:
        """The next captured frame that the source gave; those that it left out are dropped."""
        lost = index - self._next_index
        self._next_index = index + 1
        if lost:
            LOG.warning("%d frames lost before frame %d of %s", lost, index, self._source_id)
            self._total = tally.drop(self._total, lost)

    def fail(self) -> None:
        """A captured frame could not be used."""
        self._total = tally.fail(self._total)

    def add(self, report: FrameReport) -> None:
        """A captured frame was processed or gated."""
        self._total = tally.add(self._total, report, self._classes)
        if report.verdict.accepted:
            self._scale = report.pixel_um, report.pixel_um_source
            self._note_domain(report.domain)
        else:
            LOG.info("frame %d %s gated: %s", report.frame_index, report.label, report.verdict.reason)
        self._window.latencies_ms.append((clock.monotonic_ns() - report.captured_ns) / 1e6)

    def _note_domain(self, domain: Domain) -> None:
        if domain.state != self._domain.state:
            LOG.warning(
                "the slide looks %s: mean confidence %.3f of %d cells", domain.state, domain.mean_confidence, domain.cells
            )
        self._domain = domain

    def check_end(self) -> None:
        """A source that ended without one frame that could be used counted nothing: that is an error, not a count of zero."""
        frames = self.frames
        if frames.captured and frames.failed + frames.dropped == frames.captured:
            what = f"none of the {frames.captured} frames of {self._source_id} could be used: the lines above say why"
            raise SourceUnavailable(what)

    def due(self) -> list[Message]:
        """What is to be published now."""
        now, messages = clock.monotonic_ns(), list[Message]()
        if now - self._window.start_ns >= self._settings.window_s * 1e9:
            messages.append(self.counts())
        if now >= self._heartbeat_due_ns:
            self._heartbeat_due_ns = now + round(self._settings.heartbeat_s * 1e9)
            messages.append(self._heartbeat())
        return messages

    def counts(self) -> CountsMessage:
        """The counts so far, to be published: they close the window and take a sequence number."""
        message = self._counts(self._next("counts"))
        self._window = _Window.start(self._total)
        return message

    def now(self) -> Progress:
        """A look at the counts so far; it closes no window and takes no sequence number."""
        return self.progress(self._counts(self._sequences["counts"]))

    def progress(self, counts: CountsMessage) -> Progress:
        seconds = (clock.monotonic_ns() - self._started_ns) / 1e9
        settled = counts.frames.captured - counts.frames.in_flight
        return Progress(counts=counts, state=self.state, fps=settled / seconds if seconds else 0.0)

    def _next(self, kind: str) -> int:
        sequence = self._sequences[kind]
        self._sequences[kind] += 1
        return sequence

    def _counts(self, sequence: int) -> CountsMessage:
        now, window = clock.monotonic_ns(), self._window
        invalid = self._trouble or self._failure
        return CountsMessage(
            device_id=self._identity.device_id,
            run_id=self._identity.run_id,
            sample_id=self._identity.sample_id,
            sequence=sequence,
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

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(
            device_id=self._identity.device_id,
            run_id=self._identity.run_id,
            sequence=self._next("heartbeat"),
            utc=clock.utc_now(),
            clock_synced=clock.synced(),
            state=self.state,
            reason=self._failure or self._trouble,
            uptime_s=(clock.monotonic_ns() - self._started_ns) / 1e9,
            frames=frames_of(self._total.frames),
        )


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
