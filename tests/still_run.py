"""A run with stand-ins all round, for which time passes only where one of them waits.

The camera waits until all that it gave is settled, so that the threads take turns, and what is published when can be told.
"""

import time as real_time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from run_tools import classifying, detecting
from tiny_bundle import tiny_manifest
from typing_extensions import Self

from edgecell import clock
from edgecell.cameras import Camera as Attached
from edgecell.classify import Classifier
from edgecell.errors import FrameCorrupt, FrameTimeout, PublishError, SourceUnavailable
from edgecell.journal.journal import Recorder
from edgecell.ledger import Identity
from edgecell.messages import Cell, Frame, FrameReport, Segmentation
from edgecell.protocols import FrameSource, Observer, Probe, Progress, Publisher, Replayable, Segmenter
from edgecell.runtime import Runtime, loop
from edgecell.runtime.look import Look
from edgecell.runtime.mailbox import Mailbox
from edgecell.settings import RunSettings
from edgecell.wire import CountsMessage, Heartbeat, Message, from_wire

PICTURE: NDArray[np.uint8] = np.full((100, 300, 3), 230, np.uint8)
for _x in (50, 150, 250):
    cv2.circle(PICTURE, (_x, 50), 12, (120, 40, 150), -1)


class Clock:
    """Stands in for edgecell.clock: time passes only where someone waits. set_by_ns: how far the wall clock was set."""

    def __init__(self) -> None:
        self.now_ns = self.set_by_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def utc_ns(self) -> int:
        return self.now_ns + self.set_by_ns

    def wait(self, seconds: float) -> None:
        self.now_ns += max(0, round(seconds * 1e9))


def standing(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """From now on, for the test."""
    stand_in = Clock()
    LINE.clear()
    monkeypatch.setattr(loop, "Mailbox", Watched)
    monkeypatch.setattr(clock, "monotonic_ns", stand_in.monotonic_ns)
    monkeypatch.setattr(clock, "utc_ns", stand_in.utc_ns)
    monkeypatch.setattr(clock, "sleep", stand_in.wait)
    return stand_in


LINE: "list[Watched]" = []
"""The mailboxes of the latest runtime, from camera to calling thread."""


class Watched(Mailbox[Any]):
    """A mailbox that knows whether all that went in has been dealt with. It wakes nobody for nothing."""

    def __init__(self, capacity: int, on_drop: Callable[[Any], None] | None = None) -> None:
        super().__init__(capacity, on_drop)
        self._accepted, self._taken, self._done = 0, 0, -1
        LINE.append(self)

    def put(self, item: object) -> bool:
        self._accepted += 1
        return super().put(item)

    def push(self, item: object) -> bool:
        self._accepted += 1
        return super().push(item)

    def get(self, timeout_s: float) -> Any:
        if timeout_s:  # else it looks for company for what it has not dealt with yet
            self._done = self._taken
        item = super().get(60 if timeout_s else 0)
        self._taken += item is not None
        return item

    @property
    def is_quiet(self) -> bool:
        """Its reader waits for what comes next, or has left."""
        return self._closed or self._done == self._accepted


def settle() -> None:
    """Wait for everyone downstream, from the detect thread to the calling one."""
    for mailbox in reversed(LINE):
        while not mailbox.is_quiet:
            real_time.sleep(0.0002)


class Part:
    """What stand-in parts share."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    @classmethod
    def probe(cls) -> Probe:
        return Probe(usable=True, version="stand-in")


Event = Frame | Exception | Callable[[], object] | float
"""A frame, an error to raise, something to do, or seconds of silence."""


class Camera(Part):
    """A stand-in source that lives through events, then ends its stream. refusals: how often it cannot be opened again."""

    source_id = "camera"

    def __init__(self, time: Clock, events: Sequence[Event], *, live: bool = False, refusals: int = 0) -> None:
        self._time, self.events, self.live, self._refusals = time, list(events), live, refusals
        self.opened_ns: list[int] = []
        self.closed = 0

    def __enter__(self) -> Self:
        self.opened_ns.append(self._time.now_ns)
        if len(self.opened_ns) > 1 and self._refusals:
            settle()
            self._refusals -= 1
            raise SourceUnavailable("no such camera", fix="plug it in")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self.closed += 1

    @classmethod
    def attached(cls) -> Sequence[Attached]:
        return ()

    def read(self, timeout_s: float) -> Frame | None:
        settle()
        while self.events:
            event = self.events.pop(0)
            if isinstance(event, Exception):
                raise event
            if isinstance(event, Frame):
                return event
            if callable(event):
                event()
                continue
            if event > timeout_s:
                self.events.insert(0, event - timeout_s)
                self._time.wait(timeout_s)
                raise FrameTimeout("no frame yet")
            self._time.wait(event)
        return None


class Finder(Part):
    """A stand-in segmenter: two red cells, one at the edge, and a nucleated one; `takes_s` for each frame."""

    kinds: tuple[str, ...] = ("nucleated", "red_blood_cell")

    def __init__(self, time: Clock, takes_s: float) -> None:
        self._time, self._takes_s = time, takes_s

    def segment(self, frame: Frame) -> Segmentation:
        self._time.wait(self._takes_s)
        kinds = ("red_blood_cell", "red_blood_cell", "nucleated")
        cells = tuple(
            Cell(
                frame_index=frame.index,
                cell_index=at,
                kind=kind,
                box_px=(40 + 100 * at, 40, 60 + 100 * at, 60),
                centre_px=(50 + 100 * at, 50),
                excluded="edge" if at == 0 else None,
            )
            for at, kind in enumerate(kinds)
        )
        return Segmentation(cells=cells, pixel_um=0.1, pixel_um_source="settings")


class Bus(Part):
    """A stand-in publisher that keeps what was published, with the time. lost: whether its port is."""

    def __init__(self, time: Clock) -> None:
        self._time = time
        self.messages: list[tuple[int, Message]] = []
        self.served = self.opened = 0
        self.lost = False

    def __enter__(self) -> Self:
        self.opened += 1
        if self.lost:
            raise PublishError("cannot listen on the port: it is in use")
        return self

    def replay_from(self, record: Replayable) -> None: ...

    def conceal(self, sample_id: str) -> None: ...

    def outgoing(self, message: Message) -> Message:
        return message

    def publish(self, topic: str, payload: bytes) -> None:
        if self.lost:
            raise PublishError("the port is gone")
        message = from_wire(payload)
        assert message.__struct_config__.tag == topic
        self.messages.append((self._time.now_ns, message))

    def serve(self, timeout_s: float) -> None:
        assert timeout_s == 0
        self.served += 1


class Onlooker:
    """A stand-in display that asks for the progress after every frame."""

    def __init__(self) -> None:
        self.reports: list[FrameReport | None] = []
        self.progress: list[Progress] = []
        self.sent_messages: list[Message] = []

    def settled(self, report: FrameReport | None, progress: Callable[[], Progress]) -> None:
        self.reports.append(report)
        self.progress.append(progress())

    def sent(self, message: Message) -> None:
        self.sent_messages.append(message)


class Acting(Onlooker):
    """A stand-in display that does something after one of the frames."""

    def __init__(self, index: int, act: Callable[[], object]) -> None:
        super().__init__()
        self._index, self._act = index, act

    def settled(self, report: FrameReport | None, progress: Callable[[], Progress]) -> None:
        super().settled(report, progress)
        if report is not None and report.frame_index == self._index:
            self._act()


class Bench:
    """A runtime with stand-ins all round, and what they saw."""

    def __init__(self, time: Clock, events: Sequence[Event], *, takes_s: float = 0.0, **settings: Any) -> None:
        self.time, self.bus, self.onlooker = time, Bus(time), Onlooker()
        chosen = {"window_s": 1.0, "heartbeat_s": 0.5, "read_timeout_s": 2.0, "batch_wait_ms": 0, **settings}
        self.settings = msgspec.convert(chosen, RunSettings)
        self.source: FrameSource = Camera(time, events)
        self.segmenter: Segmenter = Finder(time, takes_s)
        self.classifiers: dict[str, Classifier] = {}
        self.environment: dict[str, str] = {}
        self.recorder: Recorder | None = None
        self.reopened = 0
        self.reopen = self._reopen

    def run(self, observer: Observer | None = None) -> Progress:
        publisher: Publisher = self.bus
        manifest = tiny_manifest()
        made = Runtime(
            identity=Identity(device_id="d", run_id=self.recorder.run_id if self.recorder else "r", sample_id="s"),
            settings=self.settings,
            source=self.source,
            detecting=detecting(self.segmenter, self.reopen),
            classifying=classifying(self.classifiers, self.reopen),
            classes={each.name: each for each in manifest.classes},
            publisher=publisher,
            observer=observer or self.onlooker,
            recorder=self.recorder,
            environment=self.environment,
        )
        return made.run()

    def nudge(self) -> None:
        """Let the calling thread look around, as it does four times a second where time passes; back when it has."""
        named = LINE[0]
        named.push(Look(read_ns=clock.monotonic_ns()))
        while not named.is_quiet:
            real_time.sleep(0.0002)

    def _reopen(self) -> None:
        self.reopened += 1

    @property
    def counts(self) -> list[CountsMessage]:
        return [message for _, message in self.bus.messages if isinstance(message, CountsMessage)]

    @property
    def heartbeats(self) -> list[Heartbeat]:
        return [message for _, message in self.bus.messages if isinstance(message, Heartbeat)]

    def times(self, kind: type[Message]) -> list[float]:
        """Seconds at which messages of a kind were published."""
        return [at / 1e9 for at, message in self.bus.messages if isinstance(message, kind)]


def frame(index: int, image: NDArray[np.uint8] = PICTURE) -> Frame:
    return Frame(source_id="camera", index=index, captured_ns=clock.monotonic_ns(), image=image, label=f"frame{index}")


def frames(*indices: int) -> list[Event]:
    return [frame(index) for index in indices]


def fresh(*indices: int) -> list[Event]:
    """Frames of a live camera: no two are the same."""
    pictures = []
    for index in indices:
        picture = PICTURE.copy()
        picture[0, 0] = index
        pictures.append(frame(index, picture))
    return list(pictures)


def corrupt(index: int) -> FrameCorrupt:
    return FrameCorrupt(f"file{index}.jpg: is damaged", fix="copy it again", index=index)


def balanced(message: Message) -> bool:
    fates = message.frames
    return fates.captured == fates.processed + fates.dropped + fates.gated + fates.failed + fates.in_flight
