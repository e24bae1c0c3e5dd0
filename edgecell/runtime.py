"""The live loop. The only place with threads, queues, signals and retries.

    capture thread      mailbox      detect thread      mailbox      calling thread
    source.read ---------[ ]---------> gate, segment -----[ ]-------> classify, tally, publish

Frames keep their order, and none is dropped here: who has the next item while the mailbox is full waits. The source lives on
the capture thread and the segmenter on the detect thread: entered, used and closed there. Engines, publisher, observer, books
and signals stay with the calling thread, which must be the main one. So what is counted does not depend on who is faster.

A frame is captured when it has been read, and those that the source left out before it with it; until it is settled it is in
flight: in a mailbox or in work. An error travels in the order of the frames: those before it are counted, its own has failed,
those behind it are given up (dropped).

SIGINT and SIGTERM end the reading: the frames that were read are counted and published, then `stopped`.
"""

import logging
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Generic, TypeVar

from edgecell import clock, pipeline
from edgecell.bundle import CellClass
from edgecell.classify import Classifier
from edgecell.errors import EdgecellError, FrameCorrupt, FrameTimeout
from edgecell.gate import GateState, Limits
from edgecell.ledger import Identity, Ledger
from edgecell.messages import Detected, FrameReport, Kind, Look
from edgecell.protocols import FrameSource, Observer, Part, Progress, Publisher, Segmenter
from edgecell.settings import RunSettings
from edgecell.wire import Message, Model, to_wire

LOG = logging.getLogger(__name__)
GLANCE_S = 0.25
"""Longest wait inside the source and at a mailbox, so that a signal is answered and the heartbeat keeps its pace while no
frame comes."""
CAPACITY = 1
"""Items that wait in a mailbox. Each one more is a frame's time more from capture to counts."""
JOIN_S = 5.0
"""Longest wait for a thread to finish what it has in hand after an error."""

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Items on their way from one thread to another, in order and without loss: while it is full, `put` waits."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._closed = False

    @property
    def over(self) -> bool:
        """Closed and empty: nothing will come any more."""
        with self._changed:
            return self._closed and not self._items

    def put(self, item: Item) -> bool:
        """Wait for room. False: it was closed, and nobody will take the item."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._capacity)
            if not self._closed:
                self._items.append(item)
                self._changed.notify_all()
            return not self._closed

    def get(self, timeout_s: float) -> Item | None:
        """The oldest item; None when none came within timeout_s or it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._items, timeout_s)
            if not self._items:
                return None
            self._changed.notify_all()
            return self._items.popleft()

    def close(self) -> None:
        """Nothing goes in any more; what is in it can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class _Stage:
    """A thread that enters a part, works, and closes the part. closes: mailboxes to close when the work ends.

    A daemon, for a driver that never comes back from a call must not keep the process from ending.
    """

    def __init__(self, name: str, part: Part, work: Callable[[], None], closes: tuple[Mailbox[Look], ...]) -> None:
        self._part, self._work, self._closes = part, work, closes
        self._entering = threading.Event()
        self._entered = False
        self._thread = threading.Thread(target=self._live, name=f"edgecell {name}", daemon=True)
        self.error: BaseException | None = None
        self._fault: BaseException | None = None

    def start(self) -> None:
        """Returns once the part is entered. Raises what that raised."""
        self._thread.start()
        self._entering.wait()
        if not self._entered:
            self.check_part()

    def check(self) -> None:
        """Raise what ended the work, if it was an error."""
        if self.error is not None:
            raise self.error

    def check_part(self) -> None:
        """Raise what entering or closing the part raised."""
        if self._fault is not None:
            raise self._fault

    def join(self) -> None:
        if self._thread.ident is None:
            return
        self._thread.join(JOIN_S)
        if self._thread.is_alive():
            LOG.error("the thread %r hangs: left behind after %g s", self._thread.name, JOIN_S)

    def _live(self) -> None:
        try:
            with self._part:
                self._entered = True
                self._entering.set()
                self._do()
        except BaseException as error:  # noqa: BLE001 raised again by `check_part`
            self._fault = error
        finally:
            self._entering.set()

    def _do(self) -> None:
        """The error is there before the end of the mailbox tells of it, and closing the part keeps nobody waiting."""
        try:
            self._work()
        except BaseException as error:
            self.error = error
            raise
        finally:
            for mailbox in self._closes:
                mailbox.close()


class Runtime:
    """One run of one sample. Source and segmenter are entered and closed by `run`; the other parts are open already."""

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
        self._slide = pipeline.SlideState()
        self._ledger = Ledger(identity=identity, settings=settings, source_id=source.source_id, classes=classes, models=models)
        self._seen: Mailbox[Look] = Mailbox(CAPACITY)
        self._found: Mailbox[Look] = Mailbox(CAPACITY)
        self._capturing = _Stage("capture", source, self._capture, (self._seen,))
        self._detecting = _Stage("detect", segmenter, self._detect, (self._seen, self._found))
        self._captured = 0
        self._ended = self._stop = False

    def run(self) -> Progress:
        """Until the source ends, settings.max_frames are settled or a signal asks to stop. Raises what ends a run.

        Whatever happens once segmenter and source are entered, the counts so far and the last state are published. No thread
        is left when it returns or raises, unless a part hangs.
        """
        with self._threads():
            self._ledger.run()
            failure: str | None = "an unexpected error ended the program"
            with self._stop_on_signals():
                try:
                    self._loop()
                    failure = None
                except EdgecellError as error:
                    failure = error.what
                    raise
                finally:
                    self._look_back()
                    counts, heartbeat = self._ledger.end(failure)
                    self._send(counts, heartbeat)
            return self._ledger.progress(counts)

    @contextmanager
    def _threads(self) -> Iterator[None]:
        """Segmenter and source entered, the camera last, and both at work; at the end both have left."""
        stages = self._detecting, self._capturing
        try:
            for stage in stages:
                stage.start()
            yield
        finally:
            self._stop = True
            self._seen.close()
            self._found.close()
            for stage in stages:
                stage.join()
        for stage in stages:
            stage.check_part()

    # On the capture thread

    def _capture(self) -> None:
        silent_s = 0.0
        while not self._stop and self._captured < (self._settings.max_frames or float("inf")):
            look = self._look(silent_s)
            if look is None:
                self._ended = True
                return
            silent_s = look.silent_s
            if not self._seen.put(look):
                return

    def _look(self, silent_s: float) -> Look | None:
        """One look at the source, after silent_s of looks in vain; None at the end of its stream."""
        start_ns = clock.monotonic_ns()
        frame, corrupt = None, None
        try:
            frame = self._source.read(min(GLANCE_S, self._settings.read_timeout_s))
            if frame is None:
                return None
        except FrameTimeout:
            pass
        except FrameCorrupt as error:
            corrupt = error
        given = frame or corrupt
        if given is not None:
            self._captured = max(self._captured, given.index + 1)
        now = clock.monotonic_ns()
        return Look(read_ns=now, silent_s=0.0 if frame else silent_s + (now - start_ns) / 1e9, frame=frame, corrupt=corrupt)

    # On the detect thread

    def _detect(self) -> None:
        gate = GateState()
        while not self._seen.over:
            look = self._seen.get(GLANCE_S)
            if look is not None and look.frame is not None:
                detected, gate = pipeline.detect(look.frame, self._segmenter, Limits(), gate, clock.monotonic_ns)
                look = replace(look, detected=detected)
            if look is not None and not self._found.put(look):
                return

    # On the calling thread

    def _loop(self) -> None:
        while not self._found.over:
            look = self._found.get(GLANCE_S)
            self._look_back()
            if look is not None:
                self._settle(look)
            self._tell()
        self._look_back()
        if self._detecting.error is not None:
            self._ledger.fail()
        self._detecting.check()
        self._capturing.check()
        if self._ended:
            self._ledger.check_end()

    def _look_back(self) -> None:
        """What the capture thread has done in the meantime."""
        self._ledger.captured(self._captured)
        if self._ended:
            self._ledger.drain()

    def _settle(self, look: Look) -> None:
        if look.detected is not None:
            self._ledger.arrived(look.detected.frame.index)
            self._ledger.usable()
            self._observer.settled(self._count(look.detected, look.read_ns), self._ledger.now)
        elif look.corrupt is not None:
            LOG.error("frame %d failed: %s", look.corrupt.index, look.corrupt)
            self._ledger.arrived(look.corrupt.index)
            self._ledger.fail()
            self._ledger.silent(look.silent_s)
            self._observer.settled(None, self._ledger.now)
        else:
            self._ledger.silent(look.silent_s)

    def _count(self, detected: Detected, read_ns: int) -> FrameReport:
        """Classify, tally. On an error the frame is booked as failed before it is raised.

        stage_us adds `wait` to the others: since it was read, the time in which nobody worked on the frame.
        """
        wait_us = (clock.monotonic_ns() - read_ns) / 1e3 - sum(detected.stage_us.values())
        detected = replace(detected, stage_us={"wait": wait_us, **detected.stage_us})
        try:
            [report], self._slide = pipeline.classify([detected], self._classifiers, self._slide, clock.monotonic_ns)
        except BaseException:
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
            self._publisher.publish(*to_wire(self._publisher.outgoing(message)))
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
