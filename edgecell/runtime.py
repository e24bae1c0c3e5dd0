"""The live loop: read, detect, classify, tally, publish. The only place with signals, retries and, later, threads.

SIGINT and SIGTERM end the loop after the frame in hand: the tally is finished and published, then `stopped`.
"""

import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from edgecell import clock, pipeline
from edgecell.bundle import CellClass
from edgecell.classify import Classifier
from edgecell.errors import EdgecellError, FrameCorrupt, FrameTimeout, SourceUnavailable
from edgecell.gate import GateState, Limits
from edgecell.ledger import Identity, Ledger, Progress
from edgecell.messages import Frame, FrameReport, Kind
from edgecell.protocols import FrameSource, Publisher, Segmenter
from edgecell.settings import RunSettings
from edgecell.wire import Message, Model, to_wire

LOG = logging.getLogger(__name__)
GLANCE_S = 0.25
"""Longest wait inside the source, so that a signal is answered and the heartbeat keeps its pace while no frame comes."""


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
        self._settings = settings
        self._source, self._segmenter, self._publisher = source, segmenter, publisher
        self._observer = observer
        self._classifiers = classifiers
        self._ledger = Ledger(identity=identity, settings=settings, source_id=source.source_id, classes=classes, models=models)
        self._gate = GateState()
        self._domains: pipeline.Domains = {}
        self._silent_since_ns: int | None = None
        self._stop = False

    def run(self) -> Progress:
        """Until the source ends, settings.max_frames are settled or a signal asks to stop. Raises what ends a run.

        Whatever happens, the counts so far and the last state are published.
        """
        self._ledger.run()
        failure: str | None = "an unexpected error ended the program"
        with self._stop_on_signals():
            try:
                while not self._stop and self._step():
                    self._tell()
                failure = None
            except EdgecellError as error:
                failure = error.what
                raise
            finally:
                counts, heartbeat = self._ledger.end(failure)
                self._send(counts, heartbeat)
        return self._ledger.progress(counts)

    def _step(self) -> bool:
        """One look at the source; False when the run is over."""
        if self._ledger.frames.captured >= (self._settings.max_frames or float("inf")):
            return False
        since_ns = self._silent_since_ns = clock.monotonic_ns() if self._silent_since_ns is None else self._silent_since_ns
        try:
            frame = self._source.read(min(GLANCE_S, self._settings.read_timeout_s))
        except FrameTimeout:
            self._ledger.silent((clock.monotonic_ns() - since_ns) / 1e9)
            return True
        except FrameCorrupt as error:
            LOG.error("frame %d failed: %s", error.index, error)  # noqa: TRY400 the line says it all
            self._arrived(error.index)
            self._ledger.fail()
            self._ledger.silent((clock.monotonic_ns() - since_ns) / 1e9)
            self._observer.settled(None, self._ledger.now)
            return True
        if frame is None:
            self._ledger.drain()
            self._check_end()
            return False
        self._arrived(frame.index)
        self._silent_since_ns = None
        self._ledger.usable()
        self._observer.settled(self._count(frame), self._ledger.now)
        return True

    def _check_end(self) -> None:
        """A source that ended without one frame that could be used counted nothing: that is an error, not a count of zero."""
        frames = self._ledger.frames
        if frames.captured and frames.failed + frames.dropped == frames.captured:
            what = f"none of the {frames.captured} frames of {self._source.source_id} could be used: the lines above say why"
            raise SourceUnavailable(what)

    def _arrived(self, index: int) -> None:
        self._ledger.captured(index + 1)
        self._ledger.arrived(index)

    def _count(self, frame: Frame) -> FrameReport:
        """Detect, classify, tally. On an error the frame is booked as failed before it is raised."""
        try:
            detected, self._gate = pipeline.detect(frame, self._segmenter, Limits(), self._gate, clock.monotonic_ns)
            [report], self._domains = pipeline.classify([detected], self._classifiers, self._domains, clock.monotonic_ns)
        except EdgecellError:
            self._ledger.fail()
            raise
        self._ledger.add(report)
        return report

    def _tell(self) -> None:
        """Publish what is due and serve late joiners. Never waits."""
        self._send(*self._ledger.due())
        self._publisher.serve(0)

    def _send(self, *messages: Message) -> None:
        """All of them are on the bus before anyone looks on: a display that fails must not keep the last state from it."""
        for message in messages:
            self._publisher.publish(*to_wire(message))
        for message in messages:
            self._observer.sent(message)

    @contextmanager
    def _stop_on_signals(self) -> Iterator[None]:
        """The first SIGINT or SIGTERM asks the loop to stop; a second one ends the process as ever."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def ask(_number: int, _frame: FrameType | None) -> None:
            self._stop = True
            self._ledger.drain()
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
