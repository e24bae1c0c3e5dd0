"""The live loop with stand-ins for camera, segmenter and bus: what it counts, what it says, and when.

Time stands still here but for the stand-ins, and the camera waits until all that it gave is settled, so that the threads take
turns. What they do at the same time is in test_overlap.py.
"""

import signal
import time as real_time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from run_tools import classifying, detecting
from tiny_bundle import CLASSES, tiny_manifest
from typing_extensions import Self

from edgecell import clock
from edgecell.bundle import Bundle
from edgecell.classify import Classifier
from edgecell.errors import EdgecellError, FrameCorrupt, FrameTimeout, InferenceError, SourceUnavailable
from edgecell.ledger import Identity
from edgecell.messages import Cell, Frame, FrameReport, Segmentation
from edgecell.protocols import FrameSource, Observer, Probe, Progress, Publisher, Replayable, Segmenter
from edgecell.runtime import Runtime, loop
from edgecell.runtime.capture import GLANCE_S
from edgecell.runtime.mailbox import Mailbox
from edgecell.runtime.mending import MOST
from edgecell.settings import RunSettings
from edgecell.wire import CountsMessage, Heartbeat, Message, from_wire

PICTURE: NDArray[np.uint8] = np.full((100, 300, 3), 230, np.uint8)
for _x in (50, 150, 250):
    cv2.circle(PICTURE, (_x, 50), 12, (120, 40, 150), -1)


class Clock:
    """Stands in for edgecell.clock: time passes only where someone waits."""

    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wait(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


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
    """A stand-in source that lives through events, then ends its stream."""

    source_id = "camera"
    live = False

    def __init__(self, time: Clock, events: Sequence[Event]) -> None:
        self._time, self._events = time, list(events)

    def read(self, timeout_s: float) -> Frame | None:
        settle()
        while self._events:
            event = self._events.pop(0)
            if isinstance(event, Exception):
                raise event
            if isinstance(event, Frame):
                return event
            if callable(event):
                event()
                continue
            if event > timeout_s:
                self._events.insert(0, event - timeout_s)
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
                mask=np.ones((20, 20), np.uint8),
                excluded="edge" if at == 0 else None,
            )
            for at, kind in enumerate(kinds)
        )
        return Segmentation(cells=cells, pixel_um=0.1, pixel_um_source="settings")


class Bus(Part):
    """A stand-in publisher that keeps what was published, with the time."""

    def __init__(self, time: Clock) -> None:
        self._time = time
        self.messages: list[tuple[int, Message]] = []
        self.served = 0

    def replay_from(self, record: Replayable) -> None: ...

    def outgoing(self, message: Message) -> Message:
        return message

    def publish(self, topic: str, payload: bytes) -> None:
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


class Broken(Part):
    """A stand-in engine that fails."""

    description = "broken engine"

    def infer(self, batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        raise InferenceError("the engine is gone", fix="restart it")


class Bench:
    """A runtime with stand-ins all round, and what they saw."""

    def __init__(self, time: Clock, events: Sequence[Event], *, takes_s: float = 0.0, **settings: object) -> None:
        self.time, self.bus, self.onlooker = time, Bus(time), Onlooker()
        chosen = {"window_s": 1.0, "heartbeat_s": 0.5, "read_timeout_s": 2.0, "batch_wait_ms": 0, **settings}
        self.settings = msgspec.convert(chosen, RunSettings)
        self.source: FrameSource = Camera(time, events)
        self.segmenter: Segmenter = Finder(time, takes_s)
        self.classifiers: dict[str, Classifier] = {}

    def run(self, observer: Observer | None = None) -> Progress:
        publisher: Publisher = self.bus
        manifest = tiny_manifest()
        made = Runtime(
            identity=Identity(device_id="d", run_id="r", sample_id="s"),
            settings=self.settings,
            source=self.source,
            detecting=detecting(self.segmenter),
            classifying=classifying(self.classifiers),
            classes={each.name: each for each in manifest.classes},
            publisher=publisher,
            observer=observer or self.onlooker,
        )
        return made.run()

    @property
    def counts(self) -> list[CountsMessage]:
        return [message for _, message in self.bus.messages if isinstance(message, CountsMessage)]

    @property
    def heartbeats(self) -> list[Heartbeat]:
        return [message for _, message in self.bus.messages if isinstance(message, Heartbeat)]

    def times(self, kind: type[Message]) -> list[float]:
        """Seconds at which messages of a kind were published."""
        return [at / 1e9 for at, message in self.bus.messages if isinstance(message, kind)]


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stand_in = Clock()
    LINE.clear()
    monkeypatch.setattr(loop, "Mailbox", Watched)
    monkeypatch.setattr(clock, "monotonic_ns", stand_in.monotonic_ns)
    return stand_in


def frame(index: int, image: NDArray[np.uint8] = PICTURE) -> Frame:
    return Frame(source_id="camera", index=index, captured_ns=clock.monotonic_ns(), image=image, label=f"frame{index}")


def frames(*indices: int) -> list[Event]:
    return [frame(index) for index in indices]


def corrupt(index: int) -> FrameCorrupt:
    return FrameCorrupt(f"file{index}.jpg: is damaged", fix="copy it again", index=index)


def balanced(message: Message) -> bool:
    fates = message.frames
    return fates.captured == fates.processed + fates.dropped + fates.gated + fates.failed + fates.in_flight


# Counting


def test_every_frame_is_counted_once_and_the_end_is_published(time: Clock) -> None:
    bench = Bench(time, frames(0, 1, 2))
    last = bench.run()
    assert last.state == "stopped"
    assert last.counts == bench.counts[-1]
    assert last.counts.cumulative == {"red_blood_cell": 3, "nucleated": 3}
    assert (last.counts.excluded, last.counts.cells_total) == ({"edge": 3}, 9)
    assert (last.counts.pixel_um, last.counts.pixel_um_source) == (0.1, "settings")
    assert (last.counts.frames.captured, last.counts.frames.processed) == (3, 3)
    assert (bench.heartbeats[-1].state, bench.heartbeats[-1].frames) == ("stopped", last.counts.frames)
    assert bench.onlooker.sent_messages == [message for _, message in bench.bus.messages]
    assert [report.frame_index for report in bench.onlooker.reports if report] == [0, 1, 2]


def test_a_gated_frame_is_told_with_its_reason_and_has_no_cells(time: Clock) -> None:
    bench = Bench(time, [frame(0), frame(1, np.zeros_like(PICTURE)), frame(2, np.full_like(PICTURE, 220))])
    last = bench.run().counts
    assert (last.frames.processed, last.frames.gated) == (1, 2)
    assert last.gated_reasons == {"dark": 1, "empty": 1}
    assert last.cells_total == 3
    assert last.valid


def test_a_jump_of_the_index_is_frames_dropped(time: Clock, caplog: pytest.LogCaptureFixture) -> None:
    last = Bench(time, frames(0, 1, 5)).run().counts
    assert (last.frames.captured, last.frames.processed, last.frames.dropped) == (6, 3, 3)
    assert "3 frames lost before frame 5" in caplog.text


def test_a_corrupt_frame_is_failed_with_its_name_in_the_log(time: Clock, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(time, [frame(0), corrupt(1), frame(2)])
    last = bench.run().counts
    assert (last.frames.captured, last.frames.processed, last.frames.failed) == (3, 2, 1)
    assert last.valid
    assert "frame 1 failed: file1.jpg: is damaged. Fix: copy it again" in caplog.text
    assert bench.onlooker.reports[1] is None


def test_frames_always_balance(time: Clock) -> None:
    """In every message and in every look of a display, whatever happens on the way."""
    dark = np.zeros_like(PICTURE)
    events: list[Event] = [frame(0), corrupt(1), 0.7, frame(4), 3.0, corrupt(6), frame(7, dark), 1.2, frame(8)]
    bench = Bench(time, events, takes_s=0.3, window_s=0.5)
    last = bench.run().counts
    assert (last.frames.captured, last.frames.processed) == (9, 3)
    assert (last.frames.dropped, last.frames.failed, last.frames.gated) == (3, 2, 1)
    assert all(balanced(message) for _, message in bench.bus.messages)
    assert all(balanced(look.counts) for look in bench.onlooker.progress)
    assert sum(message.counts.get("nucleated", 0) for message in bench.counts) == last.cumulative["nucleated"] == 3


def test_it_stops_after_as_many_frames_as_asked_for(time: Clock) -> None:
    bench = Bench(time, frames(*range(9)), max_frames=4)
    assert bench.run().counts.frames.captured == 4
    assert len(bench.onlooker.reports) == 4


# Silence


def test_silence_is_degraded_and_not_valid_but_no_count(time: Clock, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(time, [frame(0), 5.0])
    before = bench.run().counts
    assert before.frames.captured == 1
    silent = [(at, each) for at, each in bench.bus.messages if isinstance(each, CountsMessage) and at > 2.5e9]
    assert len(silent) >= 2
    for _, message in silent:
        assert not message.valid
        assert "no usable frame from camera for" in message.invalid_reason
        assert message.counts == {}
        assert message.cells_total == 3
        assert message.frames.captured == 1
    assert caplog.text.count("no usable frame") == 1


def test_a_silence_shorter_than_the_time_out_changes_nothing(time: Clock) -> None:
    bench = Bench(time, [frame(0), 1.9, frame(1), 1.9, frame(2)])
    bench.run()
    assert {message.state for message in bench.heartbeats} == {"running", "stopped"}
    assert all(message.valid for message in bench.counts)


def test_it_is_degraded_within_a_glance_of_the_time_out(time: Clock) -> None:
    bench = Bench(time, [frame(0), 5.0, frame(1)], heartbeat_s=0.01)
    bench.run()
    first = next(at for at, each in bench.bus.messages if isinstance(each, Heartbeat) and each.state == "degraded")
    assert 2.0 <= first / 1e9 <= 2.0 + GLANCE_S


def test_a_time_out_shorter_than_a_glance_is_kept(time: Clock) -> None:
    bench = Bench(time, [frame(0), 0.2, frame(1)], heartbeat_s=0.01, read_timeout_s=0.1)
    bench.run()
    assert "degraded" in {message.state for message in bench.heartbeats}


def test_the_next_frame_ends_a_silence(time: Clock) -> None:
    bench = Bench(time, [frame(0), 3.0, frame(1), 1.1, frame(2)], takes_s=0.1)
    last = bench.run().counts
    states = [message.state for message in bench.heartbeats]
    assert states.index("degraded") < len(states) - 1 - states[::-1].index("running")
    assert (last.valid, last.invalid_reason, last.frames.processed) == (True, "", 3)
    assert [message.reason for message in bench.heartbeats if message.state == "running"] == [""] * states.count("running")


def test_slow_work_on_a_frame_is_no_silence(time: Clock) -> None:
    bench = Bench(time, frames(0, 1, 2), takes_s=5.0)
    bench.run()
    assert all(message.valid for message in bench.counts)


def test_frames_that_cannot_be_used_are_a_silence_too(time: Clock) -> None:
    events = [frame(0), *(event for index in range(1, 13) for event in (0.2, corrupt(index))), frame(13), 1.1, frame(14)]
    bench = Bench(time, events, heartbeat_s=0.1)
    last = bench.run().counts
    assert "degraded" in {message.state for message in bench.heartbeats}
    assert (last.valid, last.frames.failed) == (True, 12)  # a window without it
    assert not all(message.valid for message in bench.counts)


def test_a_run_that_is_stopped_in_silence_ends_with_counts_that_are_not_valid(time: Clock) -> None:
    """Else a camera that never worked would leave a valid count of no cells behind."""
    bench = Bench(time, [3.0, lambda: signal.raise_signal(signal.SIGTERM), 0.5])
    last = bench.run()
    assert last.state == "stopped"
    assert not last.counts.valid
    assert "no usable frame" in last.counts.invalid_reason
    assert "no usable frame" in bench.heartbeats[-1].reason


# Ends


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_frames_in_hand(time: Clock, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    bench = Bench(time, frames(*range(9)))
    last = bench.run(Acting(1, lambda: signal.raise_signal(number)))
    assert last.state == "stopped"
    assert last.counts.frames.captured == last.counts.frames.processed
    assert last.counts.frames.captured in (2, 3)  # the camera may have been at the next one already
    assert last.counts.valid
    assert signal.getsignal(number) is before


def test_a_second_signal_ends_at_once(time: Clock) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    bench = Bench(time, frames(*range(9)))
    with pytest.raises(KeyboardInterrupt):
        bench.run(Acting(1, twice))
    assert (bench.counts[-1].valid, bench.heartbeats[-1].state) == (False, "failed")
    assert bench.counts[-1].frames.in_flight == 0


@pytest.mark.parametrize("error", [SourceUnavailable("cable pulled", fix="plug it in"), ValueError("a bug")])
def test_an_error_ends_the_run_with_the_counts_so_far(time: Clock, error: Exception) -> None:
    bench = Bench(time, [frame(0), error])
    with pytest.raises(type(error)):
        bench.run()
    last, end = bench.counts[-1], bench.heartbeats[-1]
    assert (last.valid, last.cumulative, end.state) == (False, {"red_blood_cell": 1, "nucleated": 1}, "failed")
    expected = "cable pulled" if isinstance(error, EdgecellError) else "unexpected error"
    assert expected in last.invalid_reason
    assert expected in end.reason


def test_an_engine_that_goes_on_failing_ends_the_run_with_its_frames_failed(time: Clock, tmp_path: Path) -> None:
    bench = Bench(time, frames(*range(9)))
    bundle = Bundle(path=tmp_path, manifest=tiny_manifest(), sha256="0" * 64)
    assert bundle.class_names == CLASSES
    bench.classifiers["nucleated"] = Classifier(Broken(), bundle)
    with pytest.raises(InferenceError):
        bench.run()
    last = bench.counts[-1]
    assert (last.frames.failed, last.frames.processed, last.frames.in_flight, last.cells_total) == (MOST + 1, 0, 0, 0)
    assert last.dropped_reasons == {"run: failed": last.frames.captured - MOST - 1}
    assert not last.valid
    for reason in (last.invalid_reason, bench.heartbeats[-1].reason):
        assert reason.startswith("the engine is gone; classify: the engine is gone; the engine was opened again, 3 of 3 times")
    assert bench.heartbeats[-1].state == "failed"


def test_a_source_without_one_usable_frame_is_an_error(time: Clock) -> None:
    bench = Bench(time, [corrupt(0), corrupt(1)])
    with pytest.raises(SourceUnavailable, match="none of the 2 frames of camera"):
        bench.run()
    assert not bench.counts[-1].valid


def test_an_empty_stream_is_no_error(time: Clock) -> None:
    assert Bench(time, []).run().counts.frames.captured == 0


def test_a_display_that_breaks_cannot_keep_the_last_state_from_the_bus(time: Clock) -> None:
    class Deaf(Onlooker):
        def sent(self, message: Message) -> None:
            raise BrokenPipeError

    bench = Bench(time, frames(0))
    with pytest.raises(BrokenPipeError):
        bench.run(Deaf())
    assert isinstance(bench.bus.messages[-1][1], Heartbeat)
    assert bench.heartbeats[-1].state == "failed"


# Pace


def test_windows_and_heartbeats_keep_their_pace_while_frames_come(time: Clock) -> None:
    bench = Bench(time, [*(event for index in range(40) for event in (0.1, frame(index))), 0.05])
    bench.run()
    assert bench.times(CountsMessage) == pytest.approx([1.0, 2.0, 3.0, 4.0, 4.05])
    assert bench.times(Heartbeat)[:-1] == pytest.approx([0.1 + 0.5 * at for at in range(8)])
    assert [message.sequence for message in bench.counts] == [0, 1, 2, 3, 4]
    assert [message.sequence for message in bench.heartbeats] == list(range(9))
    assert [message.window_s for message in bench.counts] == pytest.approx([1.0] * 4 + [0.05])
    assert [message.counts.get("nucleated", 0) for message in bench.counts] == [10, 10, 10, 10, 0]
    assert [message.cumulative["nucleated"] for message in bench.counts] == [10, 20, 30, 40, 40]


def test_heartbeats_go_on_while_nothing_comes(time: Clock) -> None:
    bench = Bench(time, [10.0])
    bench.run()
    beats = bench.times(Heartbeat)
    assert max(later - earlier for earlier, later in pairwise(beats)) <= 0.5 + GLANCE_S
    assert bench.bus.served >= 10 / GLANCE_S - 1


def test_latency_is_from_capture_to_counts(time: Clock) -> None:
    bench = Bench(time, [lambda: time.wait(1.0)], takes_s=0.04)
    bench.source = Camera(time, [frame(0)])
    latency = bench.run().counts.latency_ms
    assert latency is not None
    assert latency.p50 == pytest.approx(40.0)


def test_a_look_takes_no_sequence_number_and_closes_no_window(time: Clock) -> None:
    bench = Bench(time, frames(*range(5)))
    bench.run()
    assert [look.counts.sequence for look in bench.onlooker.progress] == [0] * 5
    assert [look.counts.counts["nucleated"] for look in bench.onlooker.progress] == [1, 2, 3, 4, 5]
    assert bench.counts[-1].counts["nucleated"] == 5
