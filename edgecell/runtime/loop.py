"""The run, from the thread that called it."""

import logging
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

from edgecell import clock
from edgecell.bundle import CellClass
from edgecell.condition import Troubles
from edgecell.errors import EdgecellError
from edgecell.gate import GateState
from edgecell.ledger import Identity, Ledger
from edgecell.messages import FrameReport
from edgecell.pipeline import SlideState
from edgecell.protocols import FrameSource, Observer, Progress, Publisher
from edgecell.runtime.bus import Bus
from edgecell.runtime.capture import GLANCE_S, Capture
from edgecell.runtime.clockwatch import ClockWatch
from edgecell.runtime.detect import Detect
from edgecell.runtime.label import Label
from edgecell.runtime.look import Look
from edgecell.runtime.mailbox import Mailbox
from edgecell.runtime.memory import Memory
from edgecell.runtime.notify import Notifier
from edgecell.runtime.stage import Classifying, Detecting, Opener, Stage
from edgecell.runtime.watchdog import Watchdog
from edgecell.settings import RunSettings
from edgecell.wire import Message, Model

LOG = logging.getLogger(__name__)
CAPACITY = 1
"""Frames that wait in a mailbox. Each one more is a frame's time more from capture to counts."""
DRAIN_S = 0.8
"""After a signal: longest that frames that were read are still worked on."""
LEAVE_S = 0.2
"""After that: longest that the threads are waited for. With the bus's linger, half a second, all is over within two seconds."""
JOIN_S = 5.0
"""Longest wait for the threads to finish what they have in hand where no signal hurries."""


class Runtime:
    """One run of one sample. Source, segmenter and engines are opened and closed by `run`; the publisher is open already."""

    def __init__(
        self,
        *,
        identity: Identity,
        settings: RunSettings,
        source: FrameSource,
        detecting: Opener[Detecting],
        classifying: Opener[Classifying],
        classes: Mapping[str, CellClass],
        publisher: Publisher,
        observer: Observer,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """environment: where systemd says how to reach it."""
        self._observer, self._bus = observer, Bus(publisher)
        self._ledger = Ledger(identity=identity, settings=settings, source_id=source.source_id, classes=classes)
        self._notifier, self._clocks = Notifier(environment), ClockWatch()
        self._named: Mailbox[Look] = Mailbox(CAPACITY)
        self._found: Mailbox[Look] = Mailbox(CAPACITY)
        self._seen: Mailbox[Look] = Mailbox(CAPACITY, self._overtaken if source.live else None)
        self._capture = Capture(source, settings, Memory(settings.memory_mib), self._seen, self._named)
        self._detect = Detect(self._seen, self._found, GateState())
        self._label = Label(self._found, self._named, settings.batch_wait_ms / 1e3, SlideState())
        self._classifying = Stage("classify", classifying, self._label.work, (self._found, self._named))
        self._detecting = Stage("detect", detecting, self._detect.work, (self._seen, self._found))
        self._capturing = Stage("capture", self._capture.opened, self._capture.work, (self._seen,))
        self._stages = self._classifying, self._detecting, self._capturing
        self._watchdog = Watchdog([stage.pulse for stage in self._stages], settings.hang_s)
        self._asked_ns: int | None = None

    def run(self) -> Progress:
        """Until the source ends, settings.max_frames are settled or a signal asks to stop. Raises what ends a run.

        Whatever happens once all parts are open, the counts so far and the last state are published. No thread is left when it
        returns or raises, unless a part hangs.
        """
        with self._threads() as models:
            self._ledger.run(models)
            self._notifier.ready()
            failure: str | None = "an unexpected error ended the program"
            with self._stop_on_signals():
                try:
                    self._loop()
                    failure = None
                except EdgecellError as error:
                    failure = error.what
                    raise
                finally:
                    self._look_around()
                    counts, heartbeat = self._ledger.end(failure)
                    self._tell_systemd()
                    self._send(counts, heartbeat)
            return self._ledger.progress(counts)

    @contextmanager
    def _threads(self) -> Iterator[tuple[Model, ...]]:
        """Engines open first, the camera last, and all at work; at the end all have left. Gives the models of the run."""
        try:
            classifying, detecting = self._classifying.start(), self._detecting.start()
            self._capturing.start()
            yield (*classifying.models, *detecting.models)
        finally:
            self._capture.stop = True
            for mailbox in (self._seen, self._found, self._named):
                mailbox.close()
            leave_ns = clock.monotonic_ns() + round((JOIN_S if self._asked_ns is None else LEAVE_S) * 1e9)
            for stage in reversed(self._stages):
                stage.join(max(0.01, (leave_ns - clock.monotonic_ns()) / 1e9))
        for stage in self._stages:
            stage.check_part()

    def _overtaken(self, look: Look) -> None:
        """On the capture thread: a frame that gave way to a newer one. Who is behind is the last one that others wait for."""
        behind = "tally" if self._named.full else "classify" if self._found.full else "detect"
        self._named.push(look if look.corrupt else look.without(f"{behind}: behind"))

    # On the calling thread

    def _loop(self) -> None:
        while not self._named.over and not self._is_late():
            look = self._named.get(GLANCE_S)
            self._look_around()
            if look is not None:
                self._settle(look)
            self._tell()
        self._look_around()
        for stage in reversed(self._stages):
            stage.check()
        if self._capture.ended:
            self._ledger.check_end()

    def _is_late(self) -> bool:
        """The time to finish what was read is over."""
        return self._asked_ns is not None and clock.monotonic_ns() - self._asked_ns > DRAIN_S * 1e9

    def _look_around(self) -> None:
        """What the others have done in the meantime, and what is wrong."""
        self._ledger.captured(self._capture.captured)
        if (self._capture.ended or self._capture.stop) and self._ledger.drain():
            self._notifier.stopping()
        hanging = self._watchdog.troubles()
        self._ledger.wrong(self._troubles(hanging))
        self._ledger.unsent(self._bus.unsent)
        step = self._clocks.stepped()
        if step:
            self._ledger.remark(step)
        if not hanging:
            self._notifier.alive()
        self._tell_systemd()

    def _tell_systemd(self) -> None:
        self._notifier.status(": ".join(filter(None, [self._ledger.state, self._ledger.reason])))

    def _troubles(self, hanging: Troubles) -> Troubles:
        return {
            **hanging,
            **self._capture.troubles,
            **self._detect.troubles,
            **self._label.troubles,
            **self._bus.troubles,
        }

    def _settle(self, look: Look) -> None:
        """Book one frame, and tell who looks on."""
        if look.index is None:
            return
        self._ledger.lost(look.lost, look.index)
        if look.dropped:
            self._ledger.drop(look.dropped)
            return
        if look.report is not None:
            report: FrameReport | None = self._add(look.report, look.read_ns)
        else:
            report = None
            self._fail(look)
        self._observer.settled(report, self._ledger.now)

    def _fail(self, look: Look) -> None:
        LOG.error("frame %d failed: %s", look.index, look.failed or look.corrupt)
        self._ledger.fail(look.failed)

    def _add(self, report: FrameReport, read_ns: int) -> FrameReport:
        """stage_us adds `wait` to the others: since it was read, the time in which nobody worked on the frame."""
        wait_us = (clock.monotonic_ns() - read_ns) / 1e3 - sum(report.stage_us.values())
        report = replace(report, stage_us={"wait": wait_us, **report.stage_us})
        self._ledger.add(report)
        return report

    def _tell(self) -> None:
        """Publish what is due and serve late joiners. Never waits."""
        self._send(*self._ledger.due())
        self._bus.serve()

    def _send(self, *messages: Message) -> None:
        """All of them are on the bus before anyone looks on: a display that fails must not keep the last state from it."""
        for message in messages:
            self._bus.publish(message)
        for message in messages:
            self._observer.sent(message)

    @contextmanager
    def _stop_on_signals(self) -> Iterator[None]:
        """The first SIGINT or SIGTERM asks the loop to stop; a second one ends the process as ever."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def ask(_number: int, _frame: FrameType | None) -> None:
            self._capture.stop = True
            self._asked_ns = clock.monotonic_ns()
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
