"""The live loop with a journal: nothing is published that is not in it, and a run goes on from it. Parts are stand-ins; time
passes only where they wait."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from journal_windows import started
from kept_run import Files, check, crash, fates, kept, recorder
from still_run import Bench, Camera, Clock, Event, Onlooker, balanced, corrupt, frame, frames, fresh, standing

from edgecell.books import Books, resumed
from edgecell.errors import JournalBlocked, JournalError, SourceUnavailable
from edgecell.journal.crops import Crops
from edgecell.journal.events import FrameFate, RunStarted
from edgecell.journal.journal import Journal, Recorder
from edgecell.journal.reader import Reader
from edgecell.journal.recording import LATEST, recording
from edgecell.journal.verify import verify
from edgecell.keeper import PATIENCE_S
from edgecell.ledger import Identity, Ledger
from edgecell.messages import FrameFates, FrameReport, Tally
from edgecell.protocols import Progress
from edgecell.settings import JournalSettings, RunSettings
from edgecell.signature import new_keys
from edgecell.wire import CountsMessage, Heartbeat, Message

BALLAST = 1_000_000
"""Position of what only takes up room in the file."""


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return standing(monkeypatch)


def test_what_is_published_is_in_the_journal_already(time: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(time, [*(event for index in range(30) for event in (0.1, frame(index))), 0.05])
    publish = bench.bus.publish

    def checked(topic: str, payload: bytes) -> None:
        if topic == "counts/1":
            with Reader.open(tmp_path) as reader:
                assert payload in [message.payload for message in reader.messages("run-a", "counts/1")]
        publish(topic, payload)

    monkeypatch.setattr(bench.bus, "publish", checked)
    published = kept(bench, tmp_path)
    assert [message.sequence for message in published] == [0, 1, 2, 3]
    assert [message.journal_position for message in published] == [2, 3, 4, 5]
    check(tmp_path, *published)


def test_every_frame_has_one_fate_whatever_happens_on_the_way(time: Clock, tmp_path: Path) -> None:
    dark = np.zeros((100, 300, 3), np.uint8)
    events: list[Event] = [frame(0), corrupt(1), 0.7, frame(4), 3.0, corrupt(6), frame(7, dark), 1.2, frame(8)]
    check(tmp_path, *kept(Bench(time, events, takes_s=0.3, window_s=0.5), tmp_path))
    assert fates(tmp_path) == [
        (0, "processed", ""),
        (1, "failed", "file1.jpg: is damaged"),
        (2, "dropped", "source: lost"),
        (3, "dropped", "source: lost"),
        (4, "processed", ""),
        (5, "dropped", "source: lost"),
        (6, "failed", "file6.jpg: is damaged"),
        (7, "gated", "dark"),
        (8, "processed", ""),
    ]


def resumable(time: Clock) -> list[Event]:
    """Frames of a source of files, with one that is damaged and one that is dark."""
    dark = np.zeros((100, 300, 3), np.uint8)
    made: dict[int, Event] = {4: corrupt(4), 7: frame(7, dark)}
    return [event for index in range(12) for event in list[Event]([0.3, made.get(index) or frame(index)])]


@pytest.mark.parametrize("at", range(1, 12))
def test_a_run_cut_anywhere_goes_on_as_one(time: Clock, tmp_path: Path, at: int) -> None:
    """The folder as it is at some moment is what a crash leaves."""
    whole = Bench(time, [])
    whole.source = Files(time, resumable(time))
    last = kept(whole, tmp_path / "whole")[-1]

    cut, events = Bench(time, []), resumable(time)
    events.insert(2 * at, crash(tmp_path / "cut", tmp_path / "left"))
    cut.source = Files(time, events)
    before = kept(cut, tmp_path / "cut")
    again = Bench(time, [])
    again.source = Files(time, resumable(time))
    after = kept(again, tmp_path / "left", LATEST)

    assert after[0].run_id == before[0].run_id == "run-a"
    assert [message.sequence for message in after] == list(range(after[0].sequence, after[-1].sequence + 1))
    assert after[-1].cumulative == last.cumulative
    assert (after[-1].frames, after[-1].excluded, after[-1].gated_reasons) == (last.frames, last.excluded, last.gated_reasons)
    assert all(balanced(message) for message in after)
    check(tmp_path / "left", *after)
    assert fates(tmp_path / "left") == fates(tmp_path / "whole")


def test_a_camera_goes_on_with_new_numbers_and_what_was_in_flight_is_dropped(time: Clock, tmp_path: Path) -> None:
    first = Bench(time, [])
    events = [event for each in fresh(*range(20)) for event in (0.1, each)]
    first.source = Camera(time, [*events, crash(tmp_path / "first", tmp_path / "left")], live=True)
    before = kept(first, tmp_path / "first")
    second = Bench(time, [])
    second.source = Camera(time, [event for each in fresh(*range(20)) for event in (0.1, each)], live=True)
    after = kept(second, tmp_path / "left", "run-a")
    heard = [message for message in before if message.sequence < after[0].sequence]
    captured = heard[-1].frames.captured
    assert after[-1].frames.captured == captured + 20
    assert after[-1].frames.dropped == heard[-1].frames.in_flight
    assert [index for index, _, _ in fates(tmp_path / "left")] == list(range(captured + 20))
    assert second.heartbeats[0].sequence > max(beat.sequence for beat in first.heartbeats[:-1])
    assert (first.heartbeats[0].counts_sequence, second.heartbeats[0].counts_sequence) == (-1, heard[-1].sequence)
    check(tmp_path / "left", *after)


def test_a_run_that_failed_is_resumed_and_one_that_is_over_is_not(time: Clock, tmp_path: Path) -> None:
    failing = Bench(time, [frame(0), frame(1), SourceUnavailable("the disk with the slides is gone")])
    with pytest.raises(SourceUnavailable):
        kept(failing, tmp_path)
    again = Bench(time, [])
    again.source = Files(time, frames(*range(4)))
    published = kept(again, tmp_path, LATEST)
    assert published[-1].frames.captured == 4
    check(tmp_path, *failing.counts, *published)
    with pytest.raises(JournalError, match="came to its end"):
        kept(Bench(time, []), tmp_path, "run-a")
    anew = Bench(time, frames(0))
    with recorder(tmp_path, LATEST, run_id="run-b") as anew.recorder:
        assert anew.recorder.run_id == "run-b"


class Disk(Onlooker):
    """A display that lets the journal's disk be full between two frames."""

    def __init__(self, bench: Bench, full: int, free: int | None = None) -> None:
        super().__init__()
        self._bench, self._full, self._free = bench, full, free

    def settled(self, report: FrameReport | None, progress: Callable[[], Progress]) -> None:
        super().settled(report, progress)
        index = report.frame_index if report else None
        if index in (self._full, self._free) and self._bench.recorder:
            connection = self._bench.recorder._journal._connection
            fill(connection) if index == self._full else free(connection)


def fill(connection: sqlite3.Connection) -> None:
    """The file may not grow, and what room it has inside is used up."""
    connection.execute("PRAGMA max_page_count = 1")
    number = BALLAST
    for size in (4000, 400, 40, 4, 0):
        with suppress(sqlite3.OperationalError):
            while True:
                connection.execute("INSERT INTO contents VALUES (?, zeroblob(?))", (number, size))
                number += 1


def free(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA max_page_count = 100000")
    connection.execute("DELETE FROM contents WHERE position >= ?", (BALLAST,))


def test_counts_wait_while_the_disk_is_full_and_none_is_lost(
    time: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(time, [event for index in range(60) for event in (0.1, frame(index))])
    bench.onlooker = Disk(bench, full=19, free=39)
    published = kept(bench, tmp_path)
    assert max(later - earlier for earlier, later in pairwise(bench.times(CountsMessage))) > 2.0
    assert [message.sequence for message in published] == list(range(len(published)))
    assert all(message.valid for message in published)
    assert published[-1].frames.processed == 60
    held = [beat for beat in bench.heartbeats if "counts are held back" in beat.reason]
    assert len(held) >= 3
    assert {beat.state for beat in held} == {"degraded"}
    assert (bench.heartbeats[-1].state, bench.heartbeats[-1].reason) == ("stopped", "")
    assert caplog.text.count("counts are held back") == 1
    check(tmp_path, *published)


def test_a_disk_that_stays_full_ends_the_run_and_nothing_unkept_is_published(time: Clock, tmp_path: Path) -> None:
    bench = Bench(time, [frame(0), 1.1, *frames(1, 2, 3)])
    bench.onlooker = Disk(bench, full=2)
    with pytest.raises(JournalBlocked, match="full"):
        kept(bench, tmp_path)
    assert [message.sequence for message in bench.counts] == [0]
    assert (bench.heartbeats[-1].state, "full" in bench.heartbeats[-1].reason) == ("failed", True)
    with Journal.open(tmp_path) as journal:
        free(journal._connection)
    check(tmp_path, *bench.counts)
    again = Bench(time, [])
    again.source = Files(time, frames(*range(6)))
    after = kept(again, tmp_path, LATEST)
    assert after[0].sequence == 1
    assert after[-1].frames.processed == 6
    check(tmp_path, *after)


def test_patience_with_a_full_disk_ends(time: Clock, tmp_path: Path) -> None:
    bench = Bench(time, [frame(0), PATIENCE_S + 10, frame(1)])
    bench.onlooker = Disk(bench, full=0)
    with pytest.raises(JournalBlocked):
        kept(bench, tmp_path)
    assert PATIENCE_S + 1 <= time.now_ns / 1e9 <= PATIENCE_S + 5
    assert bench.heartbeats[-1].state == "failed"


def test_a_disk_that_is_nearly_full_is_remarked_and_spoils_nothing(
    time: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recorder, "room", lambda _: "journal: 1000 MiB left on its disk")
    bench = Bench(time, [*(event for index in range(15) for event in (0.1, frame(index))), 0.05])
    published = kept(bench, tmp_path)
    assert published[0].remarks == ("journal: 1000 MiB left on its disk",)
    assert all(message.valid for message in published)
    assert "degraded" not in {beat.state for beat in bench.heartbeats}


def test_without_a_journal_messages_say_so(time: Clock) -> None:
    bench = Bench(time, frames(0))
    bench.run()
    assert {placed(message) for _, message in bench.bus.messages} == {(None, "", "")}


def placed(message: Message) -> tuple[int | None, str, str]:
    return message.journal_position, message.chain_head, message.chain_signature


def test_heartbeats_carry_the_head_of_the_chain_too(time: Clock, tmp_path: Path) -> None:
    """Of the run's latest window, and before there is one of its beginning; signed where there is a key."""
    private, _ = new_keys("box", tmp_path)
    bench = Bench(time, [*(event for index in range(30) for event in (0.1, frame(index))), 0.05])
    kept(bench, tmp_path / "journal", key=str(private))
    messages = [message for _, message in bench.bus.messages]
    with Reader.open(tmp_path / "journal") as reader:
        begun = next(reader.rows())
    assert begun.signature is not None
    latest: tuple[int | None, str, str] = (1, begun.head.hex(), begun.signature.hex())
    seen = set()
    for message in messages:
        if isinstance(message, CountsMessage):
            latest = placed(message)
        assert placed(message) == latest
        if isinstance(message, Heartbeat):
            seen.add(message.journal_position)
            assert verify(tmp_path / "journal", published=message.chain_head).broken == ""
    assert seen == {1, 2, 3, 5}  # none was due between the last two windows
    assert isinstance(messages[-1], Heartbeat)


def test_the_last_heartbeat_of_a_run_whose_journal_fails_has_the_last_head_that_is_in_it(time: Clock, tmp_path: Path) -> None:
    def full(*_: object) -> None:
        raise JournalBlocked("the disk is full")

    bench = Bench(time, frames(0))
    with recorder(tmp_path) as bench.recorder:
        bench.recorder.commit = full  # type: ignore[method-assign, assignment]
        with pytest.raises(JournalBlocked):
            bench.run()
    assert (bench.counts, bench.heartbeats[-1].state) == ([], "failed")
    assert verify(tmp_path, published=bench.heartbeats[-1].chain_head).broken == ""
    assert bench.heartbeats[-1].journal_position == 1


def test_settings_that_change_no_count_may_differ(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And no other of the run's, whatever is added to them."""
    free = {"batch_wait_ms": 5.0, "hang_s": 90.0, "memory_mib": 512, "read_timeout_s": 9.0}
    others = {"max_frames": 9, "window_s": 2.0, "heartbeat_s": 2.0, "counting": "new_area"}
    assert {*free, *others, "stop"} == set(RunSettings.__struct_fields__)  # of the stop rule: test_stopped_run.py

    def begun(**changes: object) -> RunStarted:
        return started(settings={"run": {**msgspec.to_builtins(RunSettings()), **changes}})

    with Journal.open(tmp_path) as journal:
        journal.append(begun())
    settings = JournalSettings(path=str(tmp_path))
    with caplog.at_level("INFO"), recording(settings, begun(**free), "run-a") as resumed_one:
        assert resumed_one.run_id == "run-a"
    assert "run run-a goes on with run.hang_s: 30.0 then, 90.0 now" in caplog.messages
    for name, value in others.items():
        with (
            pytest.raises(JournalError, match=rf"made with other settings \(run\.{name}: [^,]* then, [^,]* now\)"),
            recording(settings, begun(**free, **{name: value}), "run-a"),
        ):
            pass


def test_settings_that_differ_are_named(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.append(started())
    changed = started(settings={"source": {"part": "phantom", "seed": 4}, "run": {"window_s": 1.0}})
    with (
        pytest.raises(JournalError, match=r"source\.seed: 3 then, 4 now, run\.window_s: None then, 1\.0 now"),
        recording(JournalSettings(path=str(tmp_path)), changed, "run-a"),
    ):
        pass
    other = msgspec.structs.replace(started(), sample_id="slide-18")
    with (
        pytest.raises(JournalError, match="sample_id: 'slide-17' then, 'slide-18' now"),
        recording(JournalSettings(path=str(tmp_path)), other, "run-a"),
    ):
        pass


def test_no_crops_unless_they_are_asked_for(time: Clock, tmp_path: Path) -> None:
    kept(Bench(time, frames(0)), tmp_path)
    assert not Crops.there(tmp_path)


def test_no_heartbeat_has_a_number_twice_however_often_a_run_dies_young(time: Clock, tmp_path: Path) -> None:
    """Each program beats for just less than a window, and the folder is then as a crash leaves it."""
    folder, numbers = tmp_path / "0", list[int]()
    for program in range(4):
        left = tmp_path / str(program + 1)
        bench = Bench(time, [0.45, frame(0), 0.45, crash(folder, left), 0.01])
        kept(bench, folder, LATEST)
        numbers += [beat.sequence for beat in bench.heartbeats[:-1]]
        folder = left
    assert len(numbers) >= 8
    assert numbers == sorted(set(numbers))
    with Reader.open(folder) as reader:
        assert reader.resumed("run-a") == 3
        assert reader.run("run-a").windows == 0


def test_frames_that_a_camera_will_not_give_again_are_dropped_at_once() -> None:
    total = Tally(counts={"a": 3}, frames=FrameFates(captured=6, processed=3, gated=1, in_flight=2), gated_reasons={"dark": 1})
    books = Books(total=total, in_flight=((2, 1), (5, 1)))
    ledger = Ledger(
        identity=Identity(device_id="d", run_id="r", sample_id="s"),
        settings=RunSettings(window_s=2.0, heartbeat_s=0.5),
        source_id="camera",
        classes={},
        books=resumed(books, RunSettings(window_s=2.0, heartbeat_s=0.5), again=False, programs=2),
        detailed=True,
    )
    ledger.run(())
    message = ledger.counts()
    assert ledger.closed.frames == tuple(FrameFate(index, 1, "dropped", "run: interrupted") for index in (2, 5))
    assert (message.frames.captured, message.frames.dropped, message.frames.in_flight) == (6, 2, 0)
    assert ledger.books.sequences == {"counts": 1, "heartbeat": 12}
    files = resumed(books, RunSettings(), again=True)
    assert (files.total.frames.captured, files.total.frames.in_flight, files.in_flight) == (4, 0, ())
