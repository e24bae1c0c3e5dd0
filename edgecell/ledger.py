"""The books of one run: where every frame and every cell went, the condition of the run, and the messages that say both.

Kept by one thread, without I/O. For the journal they gather what became of each frame and cell. Counts made while something is
wrong that spoils them are not valid, those of a run that ends so neither: silence is no "no cells". What was wrong at any
moment of a window makes the whole window invalid.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgecell import clock, stoprule, tally
from edgecell.books import Books, Details, recorded, side_by_side
from edgecell.bundle import CellClass
from edgecell.condition import Condition, Troubles
from edgecell.errors import SourceUnavailable
from edgecell.flight import Flight
from edgecell.journal.events import Fate, FrameFate
from edgecell.messages import Domain, FrameFates, FrameReport, Join, PixelUmSource
from edgecell.protocols import Progress
from edgecell.settings import RunSettings
from edgecell.window import Window
from edgecell.wire import CountsMessage, Device, Heartbeat, Message, Model, State, Stop, frames_of

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose counts these are."""

    device_id: str
    run_id: str
    sample_id: str


class Ledger:
    """The books of one run of one sample. source_id: what the log calls the source. books: as an earlier process left them.
    detailed: gather frames and cells for a journal."""

    def __init__(
        self,
        *,
        identity: Identity,
        settings: RunSettings,
        source_id: str,
        classes: Mapping[str, CellClass],
        books: Books | None = None,
        detailed: bool = False,
    ) -> None:
        books = books or Books()
        self._identity, self._settings, self._source_id = identity, settings, source_id
        self._classes = classes
        self._models: tuple[Model, ...] = ()
        self._total, self._domain, self._flight = books.total, books.domain, Flight(books.in_flight)
        self._scale: tuple[float | None, PixelUmSource] = (books.pixel_um, books.pixel_um_source)
        self._detailed, self._closed = detailed, Details()
        self._stop = self._look()
        self._condition = Condition()
        self._heartbeat_due_ns = self._unsent = 0
        self._device: Device | None = None
        self._sequences = dict(books.sequences)
        self._told_before = books.sequences["counts"] - 1
        self._started_ns = clock.monotonic_ns()
        self._window = Window.start(self._total)

    @property
    def frames(self) -> FrameFates:
        return self._total.frames

    @property
    def state(self) -> State:
        return self._condition.state

    @property
    def reason(self) -> str:
        return "; ".join(filter(None, [self._condition.reason, self.enough]))

    @property
    def enough(self) -> str:
        """Why the run is to end by its stop rule, in words; "" while it is not, or where there is none."""
        return stoprule.verdict(self._stop) if self._stop and self._stop.reached else ""

    def run(self, models: tuple[Model, ...]) -> None:
        """Frames may come from now on; those that an earlier process had in flight will not."""
        self._models = models
        self._started_ns, self._window = clock.monotonic_ns(), Window.start(self._total)
        self._condition = self._condition.to("running")
        self._give_up("run: interrupted")

    def drain(self) -> bool:
        """No further frame is read. Whether that is new."""
        if self._condition.phase != "running":
            return False
        self._condition = self._condition.to("draining")
        return True

    def wrong(self, troubles: Troubles) -> None:
        """All that is wrong now. What is new and what is over goes to the log."""
        before = self._condition.troubles
        for topic in troubles.keys() - before.keys():
            LOG.warning("%s", troubles[topic].text)
        for topic in before.keys() - troubles.keys():
            LOG.info("%s: over", topic)
        self._condition = self._condition.with_troubles(troubles)
        self._window.note(troubles)

    def remark(self, text: str) -> None:
        """Something that happened and spoils no count."""
        self._window.remarks[text] = text

    def unsent(self, messages: int) -> None:
        """So many messages of the run could not be sent."""
        self._unsent = messages

    def device(self, seen: Device | None) -> None:
        """What the device tells of itself now."""
        self._device = seen

    def end(self, failure: str | None) -> tuple[CountsMessage, Heartbeat]:
        """The last two messages, of a run that failed or (None) stopped. Frames still on their way were given up."""
        left = "stop: enough is counted" if self.enough else "drain: out of time"
        self._give_up(left if failure is None else "run: failed")
        self._condition = self._condition.to("stopped") if failure is None else self._condition.to("failed", failure)
        return self.counts(), self._heartbeat()

    def unkept(self, failure: str) -> Heartbeat:
        """The last state of a run whose last counts the journal did not take, so that they are not published."""
        self._condition = replace(self._condition, phase="failed", failure=failure)
        return self._heartbeat()

    def captured(self, frames: int) -> None:
        """So many frames were read since the start, those included that the source numbered but never gave."""
        self._flight.add(self.frames.captured, frames - self.frames.captured)
        self._total = tally.capture(self._total, frames - self.frames.captured)

    def lost(self, frames: int, before: int) -> None:
        """The source numbered frames that it never gave, before frame `before`."""
        if frames:
            LOG.warning("%d frames lost before frame %d of %s", frames, before, self._source_id)
            self._drop(FrameFate(before - frames, frames, "dropped", "source: lost"))

    def drop(self, index: int, reason: str) -> None:
        """A captured frame was given up. The first of each reason goes to the log."""
        if reason not in self._total.dropped_reasons:
            LOG.warning("frames of %s are dropped: %s", self._source_id, reason)
        self._drop(FrameFate(index, 1, "dropped", reason))

    def fail(self, index: int, corrupt: str, reason: str = "", label: str = "") -> None:
        """A captured frame could not be used: it was corrupt. reason: one not its own, so the window is not valid."""
        self._total = tally.fail(self._total)
        self._settle(FrameFate(index, 1, "failed", reason or corrupt, label))
        if reason:
            self._window.wrong[reason] = f"a frame failed, {reason}"

    def add(self, report: FrameReport) -> None:
        """A captured frame was processed or gated."""
        self._total = tally.add(self._total, report, self._classes)
        self._stop = self._look()
        if report.verdict.accepted:
            self._scale = report.pixel_um, report.pixel_um_source
            self._note_domain(report.domain)
        else:
            LOG.info("frame %d %s gated: %s", report.frame_index, report.label, report.verdict.reason)
        if report.lost:
            self._note_lost(report)
        if report.joined:
            self._note_joined(report.joined, report.pixel_um)
        fate: Fate = "processed" if report.verdict.accepted else "gated"
        self._settle(FrameFate(report.frame_index, 1, fate, report.verdict.reason, report.label))
        if self._detailed:
            self._window.cells.extend(recorded(report))
        self._window.latencies_ms.append((clock.monotonic_ns() - report.captured_ns) / 1e6)

    def _look(self) -> Stop | None:
        rule = self._settings.stop
        return None if rule is None else stoprule.look(rule, self._total.counts, self._classes)

    def _note_lost(self, report: FrameReport) -> None:
        """One remark a window, however often."""
        self._window.lost.append(report.frame_index)
        lost = len(self._window.lost)
        LOG.info("frame %d lies beside no frame before it: a new region begins", report.frame_index)
        times = "once" if lost == 1 else f"{lost} times"
        self._window.remarks["area"] = (
            f"registration lost {times}, last at frame {report.frame_index}: a new region of the slide begins, "
            "and a cell in it may have been counted before"
        )

    def _note_joined(self, joined: Join, pixel_um: float | None) -> None:
        """So that places that were told before can be laid beside those that are told from now on."""
        text = f"region {joined.young} of the slide is a part of region {joined.old}"
        if pixel_um is not None:
            text += f", its origin {joined.x * pixel_um:.1f} um right and {joined.y * pixel_um:.1f} um below"
        LOG.info("%s", text)
        self._window.remarks[f"region {joined.young}"] = text

    def _give_up(self, reason: str) -> None:
        """All that are on their way."""
        for first, count in self._flight.spans:
            self._drop(FrameFate(first, count, "dropped", reason))

    def _drop(self, fate: FrameFate) -> None:
        self._total = tally.drop(self._total, fate.reason, fate.count)
        self._settle(fate)

    def _settle(self, fate: FrameFate) -> None:
        """Frames in a row without a name that went the same way stand together."""
        self._flight.take(fate.first, fate.count)
        fates = self._window.frames
        if not self._detailed:
            return
        if fates and side_by_side(fates[-1], fate):
            fates[-1] = FrameFate(fates[-1].first, fates[-1].count + fate.count, fate.fate, fate.reason)
        else:
            fates.append(fate)

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

    def due(self, *, hold: bool = False) -> list[Message]:
        """What is to be published now. hold: the window stays open, however long it has been."""
        now, messages = clock.monotonic_ns(), list[Message]()
        if not hold and now - self._window.start_ns >= self._settings.window_s * 1e9:
            messages.append(self.counts())
        if now >= self._heartbeat_due_ns:
            self._heartbeat_due_ns = now + round(self._settings.heartbeat_s * 1e9)
            messages.append(self._heartbeat())
        return messages

    def counts(self) -> CountsMessage:
        """The counts so far, to be published: they close the window and take a sequence number."""
        message = self._counts(self._next("counts"))
        self._closed = Details(frames=tuple(self._window.frames), cells=tuple(self._window.cells))
        self._window = Window.start(self._total)
        return message

    @property
    def closed(self) -> Details:
        """Of the window that the latest counts closed."""
        return self._closed

    @property
    def books(self) -> Books:
        """What is needed to go on from here."""
        return Books(
            total=self._total,
            in_flight=self._flight.spans,
            domain=self._domain,
            pixel_um=self._scale[0],
            pixel_um_source=self._scale[1],
            sequences=dict(self._sequences),
        )

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
        window.note(self._condition.troubles)
        invalid = "; ".join([*filter(None, [self._condition.failure]), *window.wrong.values()])
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
            dropped_reasons=dict(self._total.dropped_reasons),
            latency_ms=window.latency(),
            differential=tally.differential(self._total, self._classes),
            stop=self._stop,
            pixel_um=self._scale[0],
            pixel_um_source=self._scale[1],
            domain=self._domain.state,
            domain_confidence=self._domain.mean_confidence,
            models=self._models,
            valid=not invalid,
            invalid_reason=invalid,
            remarks=tuple(window.remarks.values()),
        )

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(
            device_id=self._identity.device_id,
            run_id=self._identity.run_id,
            sequence=self._next("heartbeat"),
            utc=clock.utc_now(),
            clock_synced=clock.synced(),
            state=self.state,
            reason=self.reason,
            uptime_s=(clock.monotonic_ns() - self._started_ns) / 1e9,
            frames=frames_of(self._total.frames),
            unsent=self._unsent,
            device=self._device,
            counts_sequence=self._told_before,  # a publisher knows of later ones
        )
