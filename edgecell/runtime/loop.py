"""The run, from the thread that called it."""

import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

from edgecell import clock
from edgecell.area import AreaState
from edgecell.books import Books, resumed
from edgecell.bundle import CellClass
from edgecell.condition import Troubles
from edgecell.drift import DriftState, Reference
from edgecell.errors import EdgecellError, JournalError
from edgecell.journal.events import RunEnded
from edgecell.journal.journal import Recorder
from edgecell.keeper import Keeper
from edgecell.ledger import Identity, Ledger
from edgecell.messages import FrameReport
from edgecell.protocols import FrameSource, Observer, Progress, Publisher, Seekable
from edgecell.resume import RunState, from_state
from edgecell.runtime.bus import Bus
from edgecell.runtime.capture import GLANCE_S, Capture
from edgecell.runtime.clockwatch import ClockWatch
from edgecell.runtime.cores import pinned
from edgecell.runtime.detect import Detect
from edgecell.runtime.label import Label
from edgecell.runtime.look import Look
from edgecell.runtime.mailbox import Mailbox
from edgecell.runtime.memory import Memory
from edgecell.runtime.notify import Notifier
from edgecell.runtime.preview import Previews
from edgecell.runtime.stage import Classifying, Detecting, Opener, Stage
from edgecell.runtime.vitals import Vitals
from edgecell.runtime.watchdog import Watchdog
from edgecell.settings import RunSettings
from edgecell.wire import CountsMessage, Device, Message, Model

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
        recorder: Recorder | None = None,
        reference: Reference | None = None,
        telemetry: Callable[[], Device] | None = None,
        preview: bool = False,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """recorder: keeps every window before it is published; one of an earlier process's run makes this one go on with it.
        reference: how the microscope was set up; without it as the run's first fields have it.
        telemetry: looks at the device, on a thread of its own. preview: publish what the camera sees.
        environment: where systemd says how to reach it, and people how many threads OpenCV has."""
        self._observer, self._bus = observer, Bus(publisher, identity.sample_id)
        self._identity, self._settings = identity, settings
        state, books = RunState(), Books()
        if recorder is not None and recorder.programs:
            state = from_state(recorder.state) if recorder.state else state
            again = isinstance(source, Seekable) and not source.live
            books = resumed(state.books, settings, again=again, programs=recorder.programs)
        if settings.counting == "new_area" and state.gate.area is None:
            state = replace(state, gate=replace(state.gate, area=AreaState()))
        if state.gate.drift is None:
            drift = DriftState(reference=reference, given=reference is not None)
            state = replace(state, gate=replace(state.gate, drift=drift))
        self._state, self._in_batch = state, False
        self._ledger = Ledger(
            identity=identity,
            settings=settings,
            source_id=source.source_id,
            classes=classes,
            books=books,
            detailed=recorder is not None,
        )
        self._keeper = Keeper(recorder, self._ledger)
        self._environment, self._notifier, self._clocks = environment, Notifier(environment), ClockWatch()
        self._named: Mailbox[Look] = Mailbox(CAPACITY)
        self._found: Mailbox[Look] = Mailbox(CAPACITY)
        self._seen: Mailbox[Look] = Mailbox(CAPACITY, self._overtaken if source.live else None)
        captured = books.total.frames.captured
        self._capture = Capture(source, settings, Memory(settings.memory_mib), self._seen, self._named, captured)
        self._detect = Detect(self._seen, self._found, state.gate, state.memory)
        self._label = Label(self._found, self._named, settings.batch_wait_ms / 1e3, state.slide)
        self._classifying = Stage("classify", classifying, self._label.work, (self._found, self._named))
        self._detecting = Stage("detect", detecting, self._detect.work, (self._seen, self._found))
        self._capturing = Stage("capture", self._capture.opened, self._capture.work, (self._seen,))
        self._stages = self._classifying, self._detecting, self._capturing
        self._watchdog = Watchdog([stage.pulse for stage in self._stages], settings.hang_s)
        self._vitals, self._previews = Vitals(telemetry), Previews(identity, on=preview)
        self._asked_ns: int | None = None

    def run(self) -> Progress:
        """Until the source ends, settings.max_frames are settled, settings.stop is reached or a signal asks to stop.
        Raises what ends a run.

        Whatever happens once all parts are open, the counts so far and the last state are published, but for counts that the
        journal did not take. No thread is left when it returns or raises, unless a part hangs.
        """
        with pinned(self._environment), self._vitals, self._previews, self._threads() as models:
            self._keeper.start()
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
                    counts = self._end(failure)
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
        while not (self._named.over or self._ledger.enough) and (patience_s := self._patience_s()) > 0:
            look = self._named.get(patience_s)
            self._look_around()
            if look is not None:
                self._settle(look)
            if not self._ledger.enough:  # that is for the last counts to say
                self._tell()
        if self._ledger.enough:  # so that a run's counts depend on no clock: what was read beyond that frame is not counted
            self._capture.stop = True
        self._look_around()
        for stage in reversed(self._stages):
            stage.check()
        if self._capture.ended:
            self._ledger.check_end()

    def _patience_s(self) -> float:
        """How long to wait for the next frame; 0 when the time to finish what was read is over."""
        if self._asked_ns is None:
            return GLANCE_S
        return max(0.0, min(GLANCE_S, DRAIN_S - (clock.monotonic_ns() - self._asked_ns) / 1e9))

    def _look_around(self) -> None:
        """What the others have done in the meantime, and what is wrong."""
        self._ledger.captured(self._capture.captured)
        if (self._capture.ended or self._capture.stop) and self._ledger.drain():
            self._notifier.stopping()
        hanging = self._watchdog.troubles()
        self._ledger.wrong(self._troubles(hanging))
        self._ledger.unsent(self._bus.unsent)
        self._ledger.device(self._vitals.latest)
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
            **self._keeper.troubles,
        }

    def _settle(self, look: Look) -> None:
        """Book one frame, and tell who looks on."""
        if look.index is None:
            return
        self._ledger.lost(look.lost, look.index)
        if look.dropped:
            self._ledger.drop(look.index, look.dropped)
            return
        self._in_batch, before = look.more > 0, self._state
        self._state = RunState(
            gate=look.gate or before.gate,
            slide=look.slide or before.slide,
            memory=before.memory if look.memory is None else look.memory,
        )
        if look.report is not None:
            report: FrameReport | None = self._add(look.report, look.read_ns)
            if look.frame is not None:
                self._keeper.saw(look.report, look.frame.image)
                self._previews.saw(look.report, look.frame.image)
        else:
            report = None
            self._fail(look)
        self._observer.settled(report, self._ledger.now)

    def _fail(self, look: Look) -> None:
        LOG.error("frame %d failed: %s", look.index, look.failed or look.corrupt)
        self._ledger.fail(look.index or 0, look.corrupt.what if look.corrupt else "", look.failed, look.name)

    def _add(self, report: FrameReport, read_ns: int) -> FrameReport:
        """stage_us adds `wait` to the others: since it was read, the time in which nobody worked on the frame."""
        wait_us = (clock.monotonic_ns() - read_ns) / 1e3 - sum(report.stage_us.values())
        report = replace(report, stage_us={"wait": wait_us, **report.stage_us})
        self._ledger.add(report)
        return report

    def _tell(self) -> None:
        """Publish what is due and serve late joiners. Waits for nothing but the journal's disk.

        A window closes between two batches: what the run has told of its slide is known for whole ones only.
        """
        due = self._ledger.due(hold=self._in_batch or self._keeper.waits)
        self._send(*self._keeper.kept(due, self._state_now()))
        if (preview := self._previews.latest()) is not None:
            self._bus.show(preview)
        self._bus.serve()

    def _state_now(self) -> RunState:
        """What is needed to go on after the frames that are settled."""
        return replace(self._state, books=self._ledger.books)

    def _end(self, failure: str | None) -> CountsMessage:
        """The last counts and the last state."""
        counts, heartbeat = self._ledger.end(failure)
        self._tell_systemd()
        read = self._capture.ended or self._capture.captured >= (self._settings.max_frames or float("inf"))
        end = RunEnded(
            run_id=self._identity.run_id,
            utc=clock.utc_now(),
            state="stopped" if failure is None else "failed",
            complete=(read or bool(self._ledger.enough)) and failure is None,
            reason=failure or self._ledger.enough,
        )
        try:
            kept = self._keeper.kept([counts, heartbeat], self._state_now(), end)
        except JournalError as error:
            self._send(self._keeper.placed(self._ledger.unkept(failure or error.what)))
            if failure is None:
                raise
            LOG.error("the last counts are not in the journal, and were not published: %s", error)  # noqa: TRY400 no trace
        else:
            self._send(*kept)
        return counts

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
