"""Capture, detect and classify at the same time: order, ends and errors while frames are on their way between the threads.

The stand-ins wait for each other by events, never for a time to pass.
"""

import dataclasses
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import write_fields
from run_tools import classifying, detecting
from tiny_bundle import make_tiny_bundle, tiny_manifest
from typing_extensions import Self

from edgecell import app, clock, pipeline, tally
from edgecell.bundle import Bundle
from edgecell.cameras import Camera as Attached
from edgecell.classify import Classifier
from edgecell.engines.onnxrt import OnnxRuntimeEngine
from edgecell.errors import FrameTimeout, InferenceError, SourceUnavailable
from edgecell.gate import GateState, Limits
from edgecell.ledger import Identity
from edgecell.messages import Cell, Detected, Frame, FrameReport, Segmentation, Tally
from edgecell.protocols import Probe, Progress, Replayable
from edgecell.runtime import Runtime, loop
from edgecell.runtime.label import MOST_FRAMES
from edgecell.runtime.loop import CAPACITY
from edgecell.runtime.mailbox import Mailbox
from edgecell.runtime.mending import MOST
from edgecell.settings import PartSettings, RunSettings, Settings
from edgecell.wire import CountsMessage, Heartbeat, Message, frames_of, from_wire

PATIENCE_S = 30.0
ON_THE_WAY = 3 * CAPACITY + 4
"""Frames read when everyone waits for the calling thread, at least: each of four threads holds one, and the classify thread may
hold several."""
PICTURE: NDArray[np.uint8] = np.random.default_rng(7).integers(150, 240, (96, 96, 3), np.uint8)
Act = Callable[[int], object]


def nothing(index: int) -> None: ...


def waited(event: threading.Event) -> None:
    assert event.wait(PATIENCE_S)


class Part:
    """What stand-in parts share: they know on which threads they were entered, used and closed."""

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.closed = 0

    def __enter__(self) -> Self:
        self.note()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self.note()
        self.closed += 1

    @classmethod
    def probe(cls) -> Probe:
        return Probe(usable=True, version="stand-in")

    def note(self) -> None:
        self.threads.append(threading.current_thread().name)


class Camera(Part):
    """A stand-in source of `frames` frames that does something before it gives each. full: set when all who can are waiting."""

    source_id = "camera"
    live = False

    def __init__(self, frames: int, act: Act = nothing, enough: int = ON_THE_WAY) -> None:
        """enough: frames read when all who can are waiting."""
        super().__init__()
        self._frames, self._act, self._enough = frames, act, enough
        self.given = 0
        self.full = threading.Event()

    @classmethod
    def attached(cls) -> Sequence[Attached]:
        return ()

    def read(self, timeout_s: float) -> Frame | None:
        self.note()
        if self.given == self._frames:
            return None
        self._act(self.given)
        index, self.given = self.given, self.given + 1
        if self.given >= self._enough:
            self.full.set()
        return Frame(source_id="camera", index=index, captured_ns=clock.monotonic_ns(), image=PICTURE)


class Finder(Part):
    """A stand-in segmenter that finds one nucleated cell, and does something before."""

    kinds: tuple[str, ...] = ("nucleated",)

    def __init__(self, act: Act = nothing) -> None:
        super().__init__()
        self._act = act

    def segment(self, frame: Frame) -> Segmentation:
        self.note()
        self._act(frame.index)
        cell = Cell(
            frame_index=frame.index,
            cell_index=0,
            kind="nucleated",
            box_px=(40, 40, 60, 60),
            centre_px=(50, 50),
        )
        return Segmentation(cells=(cell,), pixel_um=0.2, pixel_um_source="settings")


class Failing(Part):
    """A stand-in engine that fails from its n-th call on."""

    description = "failing engine"

    def __init__(self, calls: int, before: Callable[[], object]) -> None:
        super().__init__()
        self._calls, self._before = calls, before

    def infer(self, batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        self._calls -= 1
        if self._calls <= 0:
            self._before()
            raise InferenceError("the engine is gone", fix="restart it")
        return {"logits": np.zeros((len(batch), 3), np.float32), "features": np.zeros((len(batch), 4), np.float32)}


class Bus(Part):
    """A stand-in publisher that keeps what was published."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Message] = []
        self.beats = 0

    def replay_from(self, record: Replayable) -> None: ...

    def conceal(self, sample_id: str) -> None: ...

    def outgoing(self, message: Message) -> Message:
        return message

    def publish(self, topic: str, payload: bytes) -> None:
        self.messages.append(from_wire(payload))
        self.beats += isinstance(self.messages[-1], Heartbeat)

    def serve(self, timeout_s: float) -> None: ...


class Onlooker:
    """A stand-in display that does something after each frame and each message."""

    def __init__(self, act: Act = nothing, on_message: Callable[[], object] = lambda: None) -> None:
        self._act, self._on_message = act, on_message
        self.order: list[int] = []
        self.reports: list[FrameReport] = []
        self.looks: list[Progress] = []

    def settled(self, report: FrameReport | None, progress: Callable[[], Progress]) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.looks.append(progress())
        balanced(self.looks[-1].counts)
        if report is None:
            return
        self.order.append(report.frame_index)
        self.reports.append(report)
        self._act(report.frame_index)

    def sent(self, message: Message) -> None:
        balanced(message)
        self._on_message()


def balanced(message: Message) -> None:
    fates = message.frames
    assert fates.captured == fates.processed + fates.dropped + fates.gated + fates.failed + fates.in_flight


class Bench:
    """A runtime with stand-ins all round."""

    def __init__(self, camera: Camera, finder: Finder | None = None, onlooker: Onlooker | None = None) -> None:
        self.camera, self.finder, self.onlooker, self.bus = camera, finder or Finder(), onlooker or Onlooker(), Bus()
        self.settings = RunSettings(heartbeat_s=0.01, window_s=0.01)
        self.classifiers: dict[str, Classifier] = {}

    def run(self) -> CountsMessage:
        made = Runtime(
            identity=Identity(device_id="d", run_id="r", sample_id="s"),
            settings=self.settings,
            source=self.camera,
            detecting=detecting(self.finder),
            classifying=classifying(self.classifiers),
            classes={each.name: each for each in tiny_manifest().classes},
            publisher=self.bus,
            observer=self.onlooker,
        )
        return made.run().counts

    @property
    def last(self) -> CountsMessage:
        return [message for message in self.bus.messages if isinstance(message, CountsMessage)][-1]


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("edgecell")]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert ours() == []


# The mailbox


def test_a_mailbox_keeps_order_and_what_was_put_before_it_closed() -> None:
    box = Mailbox[int](2)
    assert box.get(0) is None
    assert box.put(1)
    assert box.put(2)
    box.close()
    assert not box.put(3)
    assert [box.get(0), box.over, box.get(0), box.over, box.get(0)] == [1, False, 2, True, None]


def test_a_full_mailbox_lets_the_oldest_go_where_that_is_its_policy() -> None:
    gone: list[int] = []
    box = Mailbox[int](2, gone.append)
    assert all(box.put(number) for number in range(5))
    assert gone == [0, 1, 2]
    assert [box.get(0), box.get(0), box.get(0)] == [3, 4, None]
    box.close()
    assert not box.put(5)
    assert gone == [0, 1, 2]


def test_news_take_no_room_and_keep_their_place() -> None:
    box = Mailbox[int](1)
    assert [box.push(1), box.full, box.put(2), box.full, box.push(3)] == [True, False, True, True, True]
    assert [box.get(0), box.full, box.get(0), box.full, box.get(0)] == [1, True, 2, False, 3]
    box.close()
    assert not box.push(4)


def test_closing_wakes_who_waits_to_put() -> None:
    box = Mailbox[int](1)
    box.put(1)
    answers: list[bool] = []
    writer = threading.Thread(target=lambda: answers.append(box.put(2)))
    writer.start()
    box.close()
    writer.join(PATIENCE_S)
    assert answers == [False]


# The same counts


def fields(tmp_path: Path) -> PartSettings:
    write_fields(tmp_path / "fields", 3)
    return PartSettings(part="images", options={"path": str(tmp_path / "fields")})


def phantom(tmp_path: Path) -> PartSettings:
    options = {"width": 640, "height": 480, "pixel_um": 0.2, "seed": 5, "frames": 6}
    return PartSettings(part="phantom", options=options)


@pytest.mark.parametrize("source", [fields, phantom])
def test_the_tally_is_that_of_one_frame_after_the_other(tmp_path: Path, source: Callable[[Path], PartSettings]) -> None:
    bundle = make_tiny_bundle(tmp_path / "tiny")
    bus = PartSettings(part="zmq", options={"endpoint": "tcp://127.0.0.1:*"})
    plan = app.plan(Settings(models={"nucleated": str(bundle.path)}, source=source(tmp_path), publisher=bus))
    onlooker = Onlooker()
    with plan.runtime(onlooker) as threaded:
        counts = threaded.run().counts
    total, reports = one_after_the_other(plan)
    assert counts.frames == frames_of(total.frames)
    assert counts.cells_total == total.cells_total > 50
    assert (counts.cumulative, counts.unsure, counts.excluded) == (total.counts, total.unsure, total.excluded)
    assert [each.pixel_um for each in onlooker.reports] == [each.pixel_um for each in reports]
    for ours, theirs in zip(onlooker.reports, reports, strict=True):
        assert [cell.box_px for cell in ours.cells] == [cell.box_px for cell in theirs.cells]
        assert [each.label for each in ours.classifications] == [each.label for each in theirs.classifications]


@pytest.mark.parametrize("wait_ms", [0, 500])
def test_batches_across_frames_change_no_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_ms: float) -> None:
    sizes: list[int] = []
    inside = pipeline.classify

    def spied(detected: Sequence[Detected], *rest: Any) -> tuple[list[FrameReport], pipeline.SlideState]:
        sizes.append(len(detected))
        return inside(detected, *rest)

    bundle = make_tiny_bundle(tmp_path / "tiny")
    bus = PartSettings(part="zmq", options={"endpoint": "tcp://127.0.0.1:*"})
    chosen = Settings(models={"nucleated": str(bundle.path)}, source=phantom(tmp_path), publisher=bus)
    plan = app.plan(
        msgspec.structs.replace(chosen, run=RunSettings(batch_wait_ms=wait_ms), segmenter=PartSettings(part="stain"))
    )
    total, _ = one_after_the_other(plan)
    monkeypatch.setattr(pipeline, "classify", spied)
    with plan.runtime(Onlooker()) as threaded:
        counts = threaded.run().counts
    assert sum(sizes) == counts.frames.processed + counts.frames.gated == 6
    assert (max(sizes) > 1) or not wait_ms
    assert (counts.cumulative, counts.unsure, counts.excluded) == (total.counts, total.unsure, total.excluded)


def one_after_the_other(plan: app.Plan) -> tuple[Tally, list[FrameReport]]:
    total, state, reports = Tally(), GateState(), list[FrameReport]()
    slide = pipeline.SlideState()
    with plan.recogniser() as recogniser, plan.source.make() as source:
        while (frame := source.read(1.0)) is not None:
            detected, state = pipeline.detect(frame, recogniser.segmenter, Limits(), state, clock.monotonic_ns)
            [report], slide = pipeline.classify([detected], recogniser.classifiers, slide, clock.monotonic_ns)
            total = tally.add(tally.capture(total), report, recogniser.classes)
            reports.append(report)
    return total, reports


# Order


def test_order_is_kept_where_detecting_is_the_slower_part() -> None:
    """No frame is detected before the one before is settled."""
    settled = [threading.Event() for _ in range(20)]
    finder = Finder(lambda index: waited(settled[index - 1]) if index else None)
    bench = Bench(Camera(20), finder, Onlooker(lambda index: settled[index].set()))
    assert bench.run().frames.processed == 20
    assert bench.onlooker.order == list(range(20))


def test_order_is_kept_where_detecting_is_the_faster_part() -> None:
    """No frame is left before the next one is being detected."""
    begun = [threading.Event() for _ in range(21)]
    begun[20].set()
    finder = Finder(lambda index: begun[index].set())
    bench = Bench(Camera(20), finder, Onlooker(lambda index: waited(begun[index + 1])))
    assert bench.run().frames.processed == 20
    assert bench.onlooker.order == list(range(20))


def test_what_is_on_its_way_is_in_flight() -> None:
    camera = Camera(20)
    bench = Bench(camera, onlooker=Onlooker(lambda _: waited(camera.full)))
    bench.settings = msgspec.structs.replace(bench.settings, max_frames=12)
    assert bench.run().frames.captured == camera.given == 12
    second = bench.onlooker.looks[1].counts.frames
    assert second.processed == 2
    assert ON_THE_WAY - 2 <= second.in_flight <= ON_THE_WAY
    assert bench.last.frames.in_flight == 0


def test_heartbeats_go_on_while_a_frame_is_detected() -> None:
    bench = Bench(Camera(1))

    def until_the_third_beat(index: int) -> None:
        while bench.bus.beats < 3:
            clock.sleep(0.001)

    bench.finder = Finder(until_the_third_beat)
    assert bench.run().frames.processed == 1


def test_each_part_stays_on_its_thread() -> None:
    bench = Bench(Camera(3))
    bench.run()
    assert set(bench.camera.threads) == {"edgecell capture"}
    assert set(bench.finder.threads) == {"edgecell detect"}
    assert (bench.camera.closed, bench.finder.closed) == (1, 1)


def test_each_engine_stays_on_its_thread(tmp_path: Path) -> None:
    used: list[tuple[str, str]] = []

    class Noting(OnnxRuntimeEngine):
        def __enter__(self) -> Self:
            self.note()
            return super().__enter__()

        def __exit__(self, *error: Any) -> None:
            self.note()
            super().__exit__(*error)

        def infer(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
            self.note()
            return super().infer(batch)

        def note(self) -> None:
            used.append((self._model.parent.name, threading.current_thread().name))

    bundle = make_tiny_bundle(tmp_path / "tiny")
    bus = PartSettings(part="zmq", options={"endpoint": "tcp://127.0.0.1:*"})
    plan = app.plan(Settings(models={"nucleated": str(bundle.path)}, source=phantom(tmp_path), publisher=bus))
    noted = {role: dataclasses.replace(chosen, part=Noting) for role, chosen in plan.engines.items()}
    with dataclasses.replace(plan, engines=noted).runtime(Onlooker()) as threaded:
        threaded.run()
    assert set(used) == {("tiny", "edgecell classify"), ("cells3", "edgecell detect")}


# Errors


@pytest.mark.parametrize("error", [SourceUnavailable("cable pulled"), ValueError("a bug")])
def test_frames_read_before_the_source_broke_are_counted(error: Exception) -> None:
    broken = threading.Event()

    def breaks(index: int) -> None:
        if index == 2:
            broken.set()
            raise error

    bench = Bench(Camera(9, breaks), Finder(lambda _: waited(broken)))
    with pytest.raises(type(error), match=str(error)):
        bench.run()
    assert (bench.last.frames.captured, bench.last.frames.processed, bench.last.valid) == (2, 2, False)
    assert (bench.camera.closed, bench.finder.closed) == (1, 1)


@pytest.mark.parametrize("error", [SourceUnavailable("nothing but a stand-in"), ValueError("a bug")])
def test_a_segmenter_that_breaks_ends_the_run_after_the_frames_before(error: Exception) -> None:
    more = threading.Event()

    def breaks(index: int) -> None:
        if index == 2:
            waited(more)
            raise error

    camera = Camera(99, lambda index: more.set() if index == 4 else None)
    bench = Bench(camera, Finder(breaks))
    with pytest.raises(type(error), match=str(error)):
        bench.run()
    frames = bench.last.frames
    assert (frames.processed, frames.failed, frames.in_flight) == (2, 1, 0)
    assert frames.dropped == frames.captured - 3 >= 1
    assert (bench.camera.closed, bench.finder.closed, bench.last.valid) == (1, 1, False)


def test_an_engine_that_breaks_ends_the_run_while_everyone_waits_for_it(tmp_path: Path) -> None:
    # It is the classify thread that is waited for: the calling thread's mailbox stays empty, and its first batch is through.
    camera = Camera(99, enough=2 * CAPACITY + 4)
    bench = Bench(camera)
    bundle = Bundle(path=tmp_path, manifest=tiny_manifest(), sha256="0" * 64)
    bench.classifiers["nucleated"] = Classifier(Failing(2, lambda: waited(camera.full)), bundle)
    with pytest.raises(InferenceError):
        bench.run()
    frames = bench.last.frames
    assert 1 <= frames.processed <= MOST_FRAMES  # the batch of the first call
    assert (frames.failed, frames.in_flight) == (MOST + 1, 0)
    assert frames.dropped == frames.captured - frames.processed - frames.failed
    assert bench.last.invalid_reason.startswith("the engine is gone")
    assert (camera.closed, bench.finder.closed) == (1, 1)


@pytest.mark.parametrize("part", [Camera, Finder])
def test_a_part_that_cannot_be_entered_is_the_caller_s_error_and_nothing_is_published(part: type[Part]) -> None:
    bench = Bench(Camera(1))

    class Absent(part):  # type: ignore[valid-type, misc]
        def __enter__(self) -> Self:
            raise SourceUnavailable("no such camera", fix="connect one")

    if part is Camera:
        bench.camera = Absent(1)
    else:
        bench.finder = Absent()
    with pytest.raises(SourceUnavailable, match="no such camera"):
        bench.run()
    assert bench.bus.messages == []
    assert (bench.camera.threads == [], bench.finder.closed) == (True, int(part is Camera))


def test_a_part_that_cannot_be_closed_is_the_caller_s_error() -> None:
    class Stuck(Camera):
        def __exit__(self, *error: object) -> None:
            raise SourceUnavailable("does not close")

    bench = Bench(Stuck(2))
    with pytest.raises(SourceUnavailable, match="does not close"):
        bench.run()
    assert (bench.last.frames.processed, bench.last.valid) == (2, True)


def test_a_source_that_hangs_keeps_nobody_from_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loop, "JOIN_S", 0.05)
    back = threading.Event()

    def breaks(index: int) -> None:
        raise ValueError("a bug")

    bench = Bench(Camera(9, lambda index: waited(back) if index == 1 else None), Finder(breaks))
    with pytest.raises(ValueError, match="a bug"):
        bench.run()
    assert "thread 'edgecell capture' hangs" in caplog.text
    (left,) = ours()
    assert left.daemon
    back.set()
    left.join(PATIENCE_S)


# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_all_mailboxes_are_full_loses_nothing_that_was_read(number: signal.Signals) -> None:
    camera = Camera(99)

    def stop(index: int) -> None:
        if index == 0:
            waited(camera.full)
            os.kill(os.getpid(), number)

    bench = Bench(camera, onlooker=Onlooker(stop))
    frames = bench.run().frames
    assert frames.captured == frames.processed == camera.given == ON_THE_WAY
    assert bench.onlooker.order == list(range(ON_THE_WAY))
    assert (bench.last.valid, bench.camera.closed) == (True, 1)


def test_a_second_signal_while_all_mailboxes_are_full_ends_the_run_at_once() -> None:
    camera = Camera(99)

    def twice(index: int) -> None:
        waited(camera.full)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    bench = Bench(camera, onlooker=Onlooker(twice))
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    frames = bench.last.frames
    assert (frames.processed, frames.in_flight, bench.last.valid) == (1, 0, False)
    assert frames.dropped == frames.captured - 1


def test_a_signal_in_silence_is_answered_within_two_seconds() -> None:
    class Silent(Camera):
        def read(self, timeout_s: float) -> Frame | None:
            clock.sleep(timeout_s)
            raise FrameTimeout("no frame yet")

    asked: list[int] = []

    def stop_once() -> None:
        if not asked:
            asked.append(clock.monotonic_ns())
            os.kill(os.getpid(), signal.SIGTERM)

    bench = Bench(Silent(0), onlooker=Onlooker(on_message=stop_once))
    assert bench.run().frames.captured == 0
    assert (clock.monotonic_ns() - asked[0]) / 1e9 < 2
    assert isinstance(bench.bus.messages[-1], Heartbeat)
    assert bench.bus.messages[-1].state == "stopped"
