"""A run that counts every cell once: what its messages say."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from command_line import called
from still_run import Bench, Clock, Event, balanced, standing

from benchmarks.every_cell_once import Exact
from edgecell.messages import Frame, Segmentation
from edgecell.sources.phantom import PhantomSource
from edgecell.sources.phantom.options import Options


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return standing(monkeypatch)


def events(options: Options, *indices: int) -> list[Event]:
    frames: dict[int, Event] = {}
    with PhantomSource(options) as source:
        while (frame := source.read(1.0)) is not None:
            frames[frame.index] = frame
    return [frames[index] for index in indices]


def test_regions_that_meet_are_remarked_with_how_they_lie(time: Clock) -> None:
    """Frames 0 and 6 share nothing; 4 and 2 lead back."""
    options = Options(seed=21, width=640, height=480, stage="overlapping", overlap=0.6, frames=7)
    path = 0, 6, 4, 2
    shown = [replace(frame, index=at) for at, frame in enumerate(events(options, *path)) if isinstance(frame, Frame)]
    made = Bench(time, shown, counting="new_area")
    made.segmenter = Walked(options, path)  # type: ignore[assignment]  # it enters as what it is made from
    made.run()
    remarks = [remark for message in made.counts for remark in message.remarks]
    [joined] = {remark for remark in remarks if "is a part of" in remark}
    found = re.fullmatch(r"region 1 of the slide is a part of region 0, its origin (.*) um right and (.*) um below", joined)
    assert found
    assert tuple(map(float, found.groups())) == pytest.approx((6 * 0.4 * 64, 0), abs=0.3)
    assert [report.place.region for report in made.onlooker.reports if report and report.place] == [0, 1, 1, 0]


class Walked(Exact):
    """Whose frames are those of `path`, by their numbers in the source."""

    def __init__(self, options: Options, path: Sequence[int]) -> None:
        super().__init__(options)
        self._path = path

    def segment(self, frame: Frame) -> Segmentation:
        return super().segment(replace(frame, index=self._path[frame.index]))


def bench(time: Clock, stage: str, counting: str) -> Bench:
    options = Options(seed=21, width=640, height=480, stage=stage, overlap=0.5, frames=4)  # type: ignore[arg-type]  # by name
    made = Bench(time, events(options, 0, 1, 2, 3), counting=counting)
    made.segmenter = Exact(options)
    return made


def test_every_message_says_how_it_counts_and_the_totals_reconcile(time: Clock) -> None:
    once, always = bench(time, "overlapping", "new_area"), bench(time, "overlapping", "every_frame")
    found, every = once.run().counts, always.run().counts
    assert {message.counting for message in once.counts} == {"new_area"}
    assert {message.counting for message in always.counts} == {"every_frame"}
    assert every.excluded.keys() == {"edge"}
    assert found.excluded["edge"] == every.excluded["edge"]
    assert found.excluded["duplicate"] > 20
    assert found.cells_total == every.cells_total
    assert sum(found.cumulative.values()) + found.unsure + sum(found.excluded.values()) == found.cells_total
    assert balanced(found)
    assert found.remarks == ()
    assert found.valid


def test_lost_registration_is_remarked(time: Clock) -> None:
    made = bench(time, "fields", "new_area")
    counts = made.run().counts
    [remark] = {remark for message in made.counts for remark in message.remarks}
    assert remark.startswith("registration lost 3 times, last at frame 3: a new region of the slide begins")
    assert counts.valid
    assert "duplicate" not in counts.excluded
    assert [report.place.region for report in made.onlooker.reports if report and report.place] == [0, 1, 2, 3]


def test_the_command_line_chooses_it_and_the_journal_keeps_the_places(tmp_path: Path) -> None:
    source = "phantom:width=640,height=480,stage=overlapping,overlap=0.5,frames=4"
    ended = called("run", "--source", source, "--counting", "new_area", "--journal", tmp_path, "--json")
    assert ended.code == 0, ended.err
    assert {line["counting"] for line in ended.documents if "counting" in line} == {"new_area"}
    rows = called("journal", "export", tmp_path, "--format", "jsonl").documents
    left = [min(row["slide_x_um"] for row in rows if row["frame"] == frame) for frame in range(4)]
    assert left == pytest.approx([0, 32, 64, 96], abs=4)
    assert {row["region"] for row in rows} == {0}
    counted = {(row["slide_x_um"], row["slide_y_um"]) for row in rows if row["excluded"] is None}
    assert all(apart(one, other) for one, other in combinations(counted, 2))


def apart(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether they cannot be one cell."""
    return math.dist(one, other) > 1.0
