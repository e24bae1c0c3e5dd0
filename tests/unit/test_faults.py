"""What can go wrong while a run goes on: each fault injected by a part that has it, and the books afterwards.

FAULTS is the table; its last test prints what was seen. Files and cameras that end a run are in test_runtime.py, processes that
are asked to stop or killed in tests/system.
"""

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pytest
from journal_windows import started
from numpy.typing import NDArray
from still_run import PICTURE, Bench, Camera, Clock, Event, Finder, Onlooker, Part, balanced, frame, frames, fresh, standing
from tiny_bundle import tiny_manifest

from edgecell import clock
from edgecell.bundle import Bundle
from edgecell.classify import Classifier
from edgecell.errors import FrameTimeout, InferenceError, JournalBlocked, SourceUnavailable
from edgecell.journal.journal import Journal, Recorder
from edgecell.messages import Frame, FrameReport, Segmentation
from edgecell.protocols import Progress
from edgecell.runtime import loop
from edgecell.runtime.backoff import LONGEST_S
from edgecell.runtime.bus import TOLD_FOR_S
from edgecell.runtime.capture import REPEATED, SHORT
from edgecell.runtime.memory import Memory
from edgecell.runtime.mending import MOST
from edgecell.runtime.still import STUCK_FRAMES
from edgecell.wire import CountsMessage, Heartbeat, Message

PATIENCE_S = 30.0
ENOUGH, LITTLE = "MemAvailable: 8000000 kB\n", "MemAvailable: 10000 kB\n"


class Patched:
    """What a fault may reach: the run with its stand-ins, its clock, pytest's means to patch, and a folder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.time = standing(monkeypatch)
        self.monkeypatch, self.folder = monkeypatch, folder
        self._stack = ExitStack()

    def opened(self, journal: Journal) -> Journal:
        return self._stack.enter_context(journal)

    def close(self) -> None:
        self._stack.close()

    def bench(self, events: Sequence[Event], *, live: bool = True, refusals: int = 0, **settings: float) -> Bench:
        made = Bench(self.time, events, **{"window_s": 0.5, "heartbeat_s": 0.1, **settings})
        made.source = Camera(self.time, events, live=live, refusals=refusals)
        return made


class Flaky(Part):
    """A stand-in engine that fails at some of its calls."""

    description = "flaky engine"

    def __init__(self, failing: Sequence[int]) -> None:
        self._calls, self._failing = 0, failing

    def infer(self, batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        self._calls += 1
        if self._calls - 1 in self._failing:
            raise InferenceError("the device was lost", fix="look at the power supply")
        logits = np.tile(np.array([[9, 0, 0]], np.float32), (len(batch), 1))
        return {"logits": logits, "features": np.zeros((len(batch), 4), np.float32)}


class FlakyFinder(Finder):
    """A stand-in segmenter whose engine fails on some frames."""

    def __init__(self, time: Clock, failing: Sequence[int]) -> None:
        super().__init__(time, 0.1)
        self._failing = failing

    def segment(self, frame: Frame) -> Segmentation:
        if frame.index in self._failing:
            raise InferenceError("the device was lost", fix="look at the power supply")
        return super().segment(frame)


def paced(events: Sequence[Event], pause_s: float) -> list[Event]:
    return [each for event in events for each in (event, pause_s)]


def unplugged(at: Patched) -> Bench:
    lost = SourceUnavailable("camera: the camera is gone", fix="plug it in again")
    return at.bench([*fresh(0, 1), lost, *fresh(2, 3), 1.1, *fresh(4)], refusals=2)


def silence(at: Patched) -> Bench:
    return at.bench([*fresh(0), 3.0, *fresh(1), 1.1, *fresh(2)])


def stuck(at: Patched) -> Bench:
    same = [frame(index) for index in range(1, STUCK_FRAMES + 3)]
    return at.bench([*fresh(0), *paced(same, 0.2), *fresh(STUCK_FRAMES + 3), 1.1, *fresh(STUCK_FRAMES + 4)])


def engine_of_classify(at: Patched) -> Bench:
    made = at.bench(paced(frames(*range(9)), 0.3), live=False)
    bundle = Bundle(path=at.folder, manifest=tiny_manifest(), sha256="0" * 64)
    made.classifiers["nucleated"] = Classifier(Flaky(range(2, 2 + MOST)), bundle)
    return made


def engine_of_detect(at: Patched) -> Bench:
    made = at.bench(paced(frames(*range(9)), 0.3), live=False)
    made.segmenter = FlakyFinder(at.time, range(2, 2 + MOST))
    return made


def bus_lost(at: Patched) -> Bench:
    def port(lost: bool) -> Callable[[], None]:
        return lambda: setattr(made.bus, "lost", lost)

    events = [*paced(fresh(0, 1), 0.3), port(lost=True), *paced(fresh(2, 3, 4, 5), 0.3), port(lost=False)]
    made = at.bench([*events, *paced(fresh(*range(6, 18)), TOLD_FOR_S / 10)])
    return made


def clock_set(at: Patched) -> Bench:
    return at.bench([*fresh(0, 1), lambda: setattr(at.time, "set_by_ns", 3600 * 10**9), *paced(fresh(2, 3), 1.1)])


def memory(at: Patched, text: str) -> Callable[[], object]:
    return lambda: (at.folder / "meminfo").write_text(text)


def memory_short_for_a_camera(at: Patched) -> Bench:
    memory(at, ENOUGH)()
    at.monkeypatch.setattr(loop, "Memory", lambda limit: Memory(limit, at.folder))
    little, enough = memory(at, LITTLE), memory(at, ENOUGH)
    return at.bench([*paced(fresh(0, 1, 2), 0.6), little, *paced(fresh(3, 4, 5), 0.6), enough, *paced(fresh(6, 7, 8), 1.1)])


def memory_short_for_files(at: Patched) -> Bench:
    memory(at, ENOUGH)()
    at.monkeypatch.setattr(loop, "Memory", lambda limit: Memory(limit, at.folder))
    rests: list[float] = []

    def sleep(seconds: float) -> None:
        """After eight rests somebody else has given memory back."""
        at.time.wait(seconds)
        rests.append(seconds)
        if len(rests) == 8:
            memory(at, ENOUGH)()

    at.monkeypatch.setattr(clock, "sleep", sleep)
    return at.bench([*paced(frames(0, 1), 0.6), memory(at, LITTLE), *paced(frames(2, 3, 4), 1.1)], live=False)


def behind(at: Patched) -> Bench:
    """In real time: the segmenter waits until the camera has shown all its frames."""
    at.monkeypatch.undo()
    shown = threading.Event()
    made = at.bench([*fresh(0, 1, 2, 3, 4, 5), shown.set])

    class Slow(Finder):
        def segment(self, frame: Frame) -> Segmentation:
            assert shown.wait(PATIENCE_S)
            return super().segment(frame)

    made.segmenter = Slow(at.time, 0)
    return made


def disk_full(at: Patched) -> Bench:
    return journalled(at, full_at=1, room_at=5)


def journalled(at: Patched, *, full_at: int, room_at: int | None) -> Bench:
    """With a real journal. After one frame SQLite may no longer make its file larger, which it calls a full disk; after another
    it may again. The names of the frames are so long, even when packed, that each window needs room."""
    random = np.random.default_rng(1)
    named = [replace(frame(index), label=random.bytes(10_000).hex()) for index in range(9)]
    made = at.bench(paced(named, 0.6), live=False)
    journal = at.opened(Journal.open(at.folder / "journal"))
    made.recorder = Recorder(journal, started("r", device_id="d", sample_id="s", classes={}))

    class Filling(Onlooker):
        def settled(self, report: FrameReport | None, progress: Callable[[], Progress]) -> None:
            super().settled(report, progress)
            index = -1 if report is None else report.frame_index
            if index == full_at:
                limit_pages(journal, 1)
            elif index == room_at:
                limit_pages(journal, 1 << 30)

    made.onlooker = Filling()
    return made


def limit_pages(journal: Journal, pages: int) -> None:
    """SQLite takes no less than the file has."""
    journal._connection.execute(f"PRAGMA max_page_count = {pages}")


def hangs(at: Patched) -> Bench:
    """In real time: the segmenter does not come back until the bus has said so."""
    at.monkeypatch.undo()
    said, gone = threading.Event(), threading.Event()
    made = at.bench([], live=False, hang_s=0.2, heartbeat_s=0.01, window_s=0.01)

    class Patient(Camera):
        def read(self, timeout_s: float) -> Frame | None:
            if len(self.events) == 1 and not gone.wait(0.01):
                raise FrameTimeout("no frame yet")
            return super().read(timeout_s)

    class Listening(Onlooker):
        def sent(self, message: Message) -> None:
            super().sent(message)
            if isinstance(message, Heartbeat) and "hangs" in message.reason:
                said.set()
            elif isinstance(message, CountsMessage) and message.valid and said.is_set():
                gone.set()

    class Hanging(Finder):
        def segment(self, frame: Frame) -> Segmentation:
            assert frame.index != 1 or said.wait(PATIENCE_S)
            return super().segment(frame)

    made.onlooker, made.source = Listening(), Patient(at.time, frames(0, 1, 2))

    made.segmenter = Hanging(at.time, 0)
    return made


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A row of the table. processed, failed, dropped: of all frames of the run. spoils: windows with it are not valid.

    degrades: the state becomes degraded, and running again.
    """

    injected: str
    inject: Callable[[Patched], Bench]
    retried: str
    said: str
    processed: int
    failed: int = 0
    dropped: dict[str, int] | None = None
    spoils: bool = True
    degrades: bool = True


FAULTS = (
    Fault(
        injected="camera unplugged and back, twice not found",
        inject=unplugged,
        retried=f"closing and opening it, after 0.5, 1, 2 ... {LONGEST_S:g} s",
        said=r"camera: the camera is gone; tried again in \d\.\d s, failed once|no such camera; .* failed 3 times",
        processed=5,
    ),
    Fault(
        injected="frames stop coming",
        inject=silence,
        retried="reading",
        said=r"no usable frame from camera for \d\.\d s",
        processed=3,
    ),
    Fault(
        injected="the same picture again and again",
        inject=stuck,
        retried="reading; each repeat is dropped",
        said=r"camera is stuck: the same picture \d times more",
        processed=4,
        dropped={REPEATED: STUCK_FRAMES + 1},
    ),
    Fault(
        injected="a classifier's engine fails three times",
        inject=engine_of_classify,
        retried=f"closing and opening the same engine, {MOST} times in a row",
        said=r"classify: the device was lost; the engine was opened again, \d of 3 times",
        processed=9 - MOST,
        failed=MOST,
    ),
    Fault(
        injected="the segmenter's engine fails three times",
        inject=engine_of_detect,
        retried=f"closing and opening the same engine, {MOST} times in a row",
        said=r"detect: the device was lost; the engine was opened again, \d of 3 times",
        processed=9 - MOST,
        failed=MOST,
    ),
    Fault(
        injected="publisher's port lost and back",
        inject=bus_lost,
        retried="closing and opening it, after 0.5, 1, 2 ... s",
        said=r"the port is gone; tried again in|cannot listen on the port: it is in use; tried again in",
        processed=18,
        spoils=False,
    ),
    Fault(
        injected="clock set by an hour",
        inject=clock_set,
        retried="nothing: all durations are of the monotonic clock",
        said=r"the device's clock was set by \+3600 s",
        processed=4,
        spoils=False,
        degrades=False,
    ),
    Fault(
        injected="memory short, camera",
        inject=memory_short_for_a_camera,
        retried="frames are dropped until there is memory",
        said=r"memory is short: 10 MiB left on this machine",
        processed=6,
        dropped={SHORT: 3},
    ),
    Fault(
        injected="memory short, files",
        inject=memory_short_for_files,
        retried="reading waits until there is memory",
        said=r"memory is short: 10 MiB left on this machine",
        processed=5,
    ),
    Fault(
        injected="disk full, and room again",
        inject=disk_full,
        retried="the window's transaction, once a second; its counts are held back, and those behind it",
        said=r"journal\.sqlite cannot be written: database or disk is full: counts are held back",
        processed=9,
        spoils=False,
    ),
    Fault(
        injected="a stage hangs and comes back",
        inject=hangs,
        retried="nothing: it is named, and systemd's watchdog no longer fed",
        said=r"detect hangs: \d+ s at frame 1",
        processed=3,
    ),
)
ARROWS = {
    ("running", "degraded"),
    ("degraded", "running"),
    ("running", "draining"),
    ("degraded", "draining"),
    ("draining", "stopped"),
    ("running", "stopped"),  # draining was over before a heartbeat was due
}
SEEN: dict[str, str] = {}


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Patched]:
    made = Patched(monkeypatch, tmp_path)
    yield made
    made.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("edgecell")]


def words(message: CountsMessage) -> str:
    return "; ".join(filter(None, [message.invalid_reason, *message.remarks]))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.injected)
def test_a_fault_is_said_and_the_books_are_right_afterwards(fault: Fault, patched: Patched) -> None:
    bench = fault.inject(patched)
    last = bench.run().counts
    messages = bench.onlooker.sent_messages  # also those that a lost bus did not take
    counts = [message for message in messages if isinstance(message, CountsMessage)]
    beats = [message for message in messages if isinstance(message, Heartbeat)]
    said = [message for message in counts if re.search(fault.said, words(message))]
    assert said
    assert all(message.valid != fault.spoils for message in said)
    assert all(message.valid for message in counts if not words(message))
    assert (last.valid, words(last), beats[-1].state, beats[-1].reason) == (True, "", "stopped", "")
    states = [state for state, _ in groupby(message.state for message in beats)]
    assert all(pair in ARROWS for pair in pairwise(states))
    assert ("degraded" in states) == fault.degrades
    assert not fault.degrades or any(re.search(fault.said, message.reason) for message in beats)
    reconciled(counts, fault)
    SEEN[fault.injected] = (
        f"{fault.injected} | {fault.retried} | {' > '.join(states)} | {words(said[0])} | valid: {str(said[0].valid).lower()} | "
        f"captured {last.frames.captured} = processed {last.frames.processed} + failed {last.frames.failed} "
        f"+ dropped {last.frames.dropped}"
    )


def reconciled(counts: list[CountsMessage], fault: Fault) -> None:
    """Every frame is in one place, every cell is counted once, and the windows add up to the run."""
    last = counts[-1]
    assert all(balanced(message) for message in counts)
    assert (last.frames.processed, last.frames.failed) == (fault.processed, fault.failed)
    assert last.dropped_reasons == (fault.dropped or {})
    assert last.frames.dropped == sum(last.dropped_reasons.values())
    assert (last.frames.gated, last.frames.in_flight) == (0, 0)
    assert last.cells_total == 3 * last.frames.processed
    for label, total in last.cumulative.items():
        assert total == sum(message.counts.get(label, 0) for message in counts) == fault.processed


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Printed after the tests above, of what they saw."""
    if len(SEEN) < len(FAULTS):
        pytest.skip("not all faults were injected in this process")
    with capsys.disabled():
        print("\ninjected | retried | states | said | counts meanwhile | reconciled")
        for fault in FAULTS:
            print(SEEN[fault.injected])


# Details


def test_a_camera_is_opened_again_after_ever_longer_waits(patched: Patched) -> None:
    bench = unplugged(patched)
    bench.run()
    assert isinstance(bench.source, Camera)
    opened = [at / 1e9 for at in bench.source.opened_ns]
    assert np.diff(opened) == pytest.approx([0.5, 1.0, 2.0], abs=0.01)
    assert bench.source.closed == 2  # when it was lost, and at the end; never when it was not open
    assert [report.frame_index for report in bench.onlooker.reports if report] == [0, 1, 2, 3, 4]


def test_frames_of_a_camera_that_starts_its_numbers_anew_are_numbered_on(patched: Patched) -> None:
    again = [frame(index, PICTURE + np.uint8(index + 1)) for index in range(3)]
    bench = patched.bench([*fresh(0, 1), SourceUnavailable("gone"), *again])
    assert bench.run().counts.frames.captured == 5
    assert [report.frame_index for report in bench.onlooker.reports if report] == [0, 1, 2, 3, 4]


def test_files_that_are_gone_end_the_run(patched: Patched) -> None:
    bench = patched.bench([*frames(0, 1), SourceUnavailable("the folder is gone"), *frames(2)], live=False)
    with pytest.raises(SourceUnavailable, match="the folder is gone"):
        bench.run()
    assert (bench.counts[-1].frames.processed, bench.heartbeats[-1].state) == (2, "failed")


def test_files_with_the_same_picture_are_all_counted(patched: Patched) -> None:
    assert patched.bench(frames(*range(9)), live=False).run().counts.frames.processed == 9


def test_one_repeat_is_dropped_without_a_word(patched: Patched) -> None:
    """Some drivers hand a buffer out twice now and then."""
    last = patched.bench([*frames(0, 1), *fresh(2)]).run().counts
    assert (last.frames.processed, last.dropped_reasons, last.valid) == (2, {REPEATED: 1}, True)


def test_what_a_live_camera_shows_while_the_path_is_busy_is_dropped_oldest_first(patched: Patched) -> None:
    bench = behind(patched)
    last = bench.run().counts
    assert (last.frames.captured, last.valid) == (6, True)
    assert last.dropped_reasons == {"detect: behind": last.frames.dropped}
    order = [report.frame_index for report in bench.onlooker.reports if report]
    assert order == sorted(order)
    assert (order[-1], last.frames.dropped) == (5, 6 - len(order))
    assert last.frames.dropped >= 4  # all but the one in hand and the one in front of it


def test_frames_that_share_a_batch_with_one_that_fails_are_counted(patched: Patched, caplog: pytest.LogCaptureFixture) -> None:
    """Several together fail, alone one of them does."""
    bench = patched.bench(frames(*range(4)), live=False, batch_wait_ms=1000)
    bundle = Bundle(path=patched.folder, manifest=tiny_manifest(), sha256="0" * 64)
    patched.monkeypatch.undo()
    bench.classifiers["nucleated"] = Classifier(Flaky([0, 1]), bundle)
    last = bench.run().counts
    assert (last.frames.processed, last.frames.failed, bench.reopened) == (3, 1, 1)
    assert "frames failed together, each is tried alone: the device was lost" in caplog.text


def test_a_lost_bus_says_what_it_did_not_send(patched: Patched) -> None:
    bench = bus_lost(patched)
    bench.run()
    missed = [message for message in bench.onlooker.sent_messages if message not in [each for _, each in bench.bus.messages]]
    assert bench.heartbeats[-1].unsent == len(missed) > 0
    assert bench.bus.opened >= 2
    assert any("the port is gone" in words(message) or "cannot listen" in words(message) for message in bench.counts)


def test_while_the_disk_is_full_nothing_is_published_that_the_journal_lacks(patched: Patched) -> None:
    bench = journalled(patched, full_at=1, room_at=5)
    bench.run()
    assert [message.sequence for message in bench.counts] == list(range(len(bench.counts)))
    positions = [message.journal_position or 0 for message in bench.counts]
    assert positions == sorted(set(positions))
    gap_s = np.diff(bench.times(CountsMessage))
    assert max(gap_s) > 2  # held back
    assert sum(message.state == "degraded" for message in bench.heartbeats) > 10


def test_a_disk_that_stays_full_ends_the_run_and_says_so(patched: Patched) -> None:
    """The counts that the journal does not have are not published either, not even the last ones."""
    bench = journalled(patched, full_at=1, room_at=None)
    with pytest.raises(JournalBlocked, match="database or disk is full"):
        bench.run()
    assert all(message.frames.processed <= 2 for message in bench.counts)
    assert (bench.heartbeats[-1].state, bench.heartbeats[-1].frames.processed) == ("failed", 9)
    assert "database or disk is full" in bench.heartbeats[-1].reason


def test_an_engine_that_cannot_be_opened_again_ends_the_run(patched: Patched) -> None:
    bench = engine_of_classify(patched)

    def broken() -> None:
        raise InferenceError("no device", fix="restart")

    bench.reopen = broken
    with pytest.raises(InferenceError, match="no device"):
        bench.run()
    last = bench.counts[-1]
    assert (last.frames.processed, last.frames.failed, bench.heartbeats[-1].state) == (2, 1, "failed")
