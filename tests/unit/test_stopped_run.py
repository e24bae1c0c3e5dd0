"""A live loop that ends by its stop rule. Parts are stand-ins; time passes only where they wait."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from journal_windows import started
from kept_run import Files, check, crash, fates, kept, recorder
from still_run import Bench, Clock, Event, Finder, balanced, frame, frames, standing

from edgecell.errors import JournalError
from edgecell.journal.events import RunStarted
from edgecell.journal.journal import Journal
from edgecell.journal.reader import Reader
from edgecell.journal.recording import recording
from edgecell.messages import Frame, Segmentation
from edgecell.settings import JournalSettings, RunSettings, StopSettings


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return standing(monkeypatch)


class White(Finder):
    """A stand-in segmenter whose kinds are classes of the differential: each frame shows one cell of two of them."""

    kinds: tuple[str, ...] = ("neutrophil", "lymphocyte")

    def segment(self, frame: Frame) -> Segmentation:
        found = super().segment(frame)
        named = zip(found.cells, ("neutrophil", "neutrophil", "lymphocyte"), strict=True)
        return replace(found, cells=tuple(replace(cell, kind=kind) for cell, kind in named))


def bench(time: Clock, events: list[Event], **stop: Any) -> Bench:
    made = Bench(time, [], stop=stop)
    made.source, made.segmenter = Files(time, events), White(time, 0.0)
    return made


def test_it_ends_as_complete_with_the_frame_that_makes_it_enough(time: Clock, tmp_path: Path) -> None:
    made = bench(time, list(frames(*range(40))), cells=5)
    last = kept(made, tmp_path)[-1]
    assert last.cumulative == {"neutrophil": 3, "lymphocyte": 3}
    assert last.frames.processed == 3
    assert last.frames.captured < 40
    assert set(last.dropped_reasons) <= {"stop: enough is counted"}
    assert balanced(last)
    assert last.stop is not None
    assert (last.stop.now, last.stop.progress, last.stop.reached, last.valid) == (6, 1.0, True, True)
    said = "enough is counted: 6 of 5 cells of the differential"
    assert (made.heartbeats[-1].state, made.heartbeats[-1].reason) == ("stopped", said)
    with Reader.open(tmp_path) as reader:
        ended = reader.run("run-a").ended
    assert ended is not None
    assert (ended.complete, ended.state, ended.reason) == (True, "stopped", said)
    check(tmp_path, *made.counts)
    with pytest.raises(JournalError, match="came to its end"), recorder(tmp_path, "run-a"):
        pass


def test_progress_is_told_on_the_way(time: Clock) -> None:
    made = bench(time, [event for index in range(9) for event in (0.6, frame(index))], cells=10)
    made.run()
    told = [message.stop for message in made.counts if message.stop]
    assert len(told) == len(made.counts) > 2
    assert [each.progress for each in told] == sorted(each.progress for each in told)
    assert [each.reached for each in told] == [False] * (len(told) - 1) + [True]
    assert told[-1].now == 10


def test_a_width_ends_it_too(time: Clock) -> None:
    made = bench(time, list(frames(*range(200))), width=60.0, classes=["neutrophil"])
    last = made.run().counts
    assert last.stop is not None
    row = last.differential.rows[0]
    assert (row.label, last.stop.reached) == ("neutrophil", True)
    assert row.high - row.low == pytest.approx(last.stop.now)
    assert last.stop.now < 60
    assert 0 < last.frames.processed < 30


def test_a_source_that_ends_before_is_complete_and_says_that_it_was_not_enough(time: Clock, tmp_path: Path) -> None:
    last = kept(bench(time, list(frames(0, 1)), cells=50), tmp_path)[-1]
    assert last.stop is not None
    assert (last.stop.now, last.stop.reached) == (4, False)
    with Reader.open(tmp_path) as reader:
        ended = reader.run("run-a").ended
    assert ended is not None
    assert (ended.complete, ended.reason) == (True, "")


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_run_cut_anywhere_stops_with_the_same_frame(time: Clock, tmp_path: Path, at: int) -> None:
    """After a crash it goes on with the frame that it needs, and counts no cell more than it would have."""

    def events() -> list[Event]:
        return [event for index in range(12) for event in (0.4, frame(index))]

    whole = kept(bench(time, events(), cells=8), tmp_path / "whole")[-1]
    cut_events = events()
    cut_events.insert(2 * at, crash(tmp_path / "cut", tmp_path / "left"))
    kept(bench(time, cut_events, cells=8), tmp_path / "cut")
    again = bench(time, events(), cells=8)
    last = kept(again, tmp_path / "left", "run-a")[-1]
    assert (last.cumulative, last.frames.processed, last.stop) == (whole.cumulative, whole.frames.processed, whole.stop)
    assert [each[:2] for each in fates(tmp_path / "left")][:4] == [(index, "processed") for index in range(4)]
    check(tmp_path / "left", *again.counts)


def test_a_run_that_was_cut_when_it_had_enough_reads_on_for_nothing(time: Clock, tmp_path: Path) -> None:
    """Its last window is in the journal, its end is not."""
    long = bench(time, [event for index in range(9) for event in (0.4, frame(index))], cells=100)
    stop = long.settings.stop
    assert stop is not None
    events: list[Event] = [event for index in range(5) for event in (0.4, frame(index))]
    events += [2.0, crash(tmp_path / "cut", tmp_path / "left")]
    made = bench(time, events, cells=100)
    kept(made, tmp_path / "cut")
    again = bench(time, list(frames(*range(5, 9))), cells=100)
    again.settings = msgspec.structs.replace(again.settings, stop=msgspec.structs.replace(stop, cells=10))
    last = kept(again, tmp_path / "left", "run-a")[-1]
    assert last.cumulative == {"neutrophil": 5, "lymphocyte": 5}
    assert last.stop is not None
    assert last.stop.reached
    check(tmp_path / "left", *again.counts)


def test_a_run_goes_on_by_its_own_rule_only(tmp_path: Path) -> None:
    """Who may choose another rule once the counts were seen stops where they are liked best."""

    def begun(stop: StopSettings | None) -> RunStarted:
        return started(settings={"run": msgspec.to_builtins(RunSettings(stop=stop))})

    with Journal.open(tmp_path) as journal:
        journal.append(begun(StopSettings(cells=200)))
    settings = JournalSettings(path=str(tmp_path))
    with (
        pytest.raises(JournalError, match=r"made with other settings \(run\.stop\.cells: 200 then, 100 now\)"),
        recording(settings, begun(StopSettings(cells=100)), "run-a"),
    ):
        pass
    with pytest.raises(JournalError, match=r"run\.stop\.cells: 200 then, None now"), recording(settings, begun(None), "run-a"):
        pass
    with recording(settings, begun(StopSettings(cells=200)), "run-a") as same:
        assert same.run_id == "run-a"
