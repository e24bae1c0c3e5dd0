"""The phantom's truth beside what was counted: a test of the software that says nothing about real cells.

The only reader of the truth outside the tests. Two views are kept apart: totals of the cells that count (centre in the inset
frame), which is what a user sees, and per-frame findings of the cells wholly inside a frame, which is what a developer tunes.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from edgecell import tally
from edgecell.bundle import CellClass
from edgecell.edge import LARGEST_RADIUS_UM
from edgecell.messages import NOTICE, NUCLEATED, RED_BLOOD_CELL, Cell, Classification, FrameReport, Tally
from edgecell.protocols import Observer, Progress
from edgecell.sources.phantom.options import Options
from edgecell.sources.phantom.truth import TrueCell, truth_of
from edgecell.wire import Message

MARK = "Software self-test on drawn cells: says nothing about real cells."


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """counted, true: cells by label over the processed frames, each once where the run counts so. unsure: counted as no class.

    red_error: sum over frames of |found - true| / true, red cells so far inside that every one is whole. nucleated_found:
    share of the true nucleated cells wholly inside with a found one on their centre; decided: share of those found and not at
    an edge that were not left unsure; labelled_right: share of those decided that carry the true label, of the cells
    whose class the bundle has. None where there was none to judge.
    """

    frames: int
    counted: dict[str, int]
    true: dict[str, int]
    unsure: int
    red_error: float | None
    nucleated_found: float | None
    labelled_right: float | None
    decided: float | None
    mark: str = MARK
    notice: str = NOTICE

    def as_json(self) -> dict[str, object]:
        return {"schema": "self_test/1", **asdict(self)}


class SelfTest:
    """Observes a phantom run, and hands on all that it sees to `display`. classes: label -> what it means. counting: as in
    RunSettings."""

    def __init__(
        self, options: Options, classes: Mapping[str, CellClass], display: Observer, counting: str = "every_frame"
    ) -> None:
        self._once: set[int] | None = None if counting == "every_frame" else set()
        self._options, self._classes, self._display = options, classes, display
        self._total = Tally()
        self._true: Counter[str] = Counter()
        self._seen: Counter[str] = Counter()

    def settled(self, report: FrameReport | None, progress: Callable[[], Progress]) -> None:
        """Compare one processed frame with what was drawn in it. Gated and failed frames are passed over."""
        if report is not None and report.verdict.accepted:
            self._add(report)
        self._display.settled(report, progress)

    def sent(self, message: Message) -> None:
        """Nothing to compare."""
        self._display.sent(message)

    def _add(self, report: FrameReport) -> None:
        self._seen["frames"] += 1
        truth = truth_of(self._options, report.frame_index)
        self._true.update(cell.label for cell in truth if self._counts(cell) and self._is_new(cell))
        self._total = tally.add(tally.capture(self._total), report, self._classes)
        whole = [cell for cell in truth if self._is_whole(cell)]
        self._compare_red(report, truth)
        self._compare_nucleated(report, [cell for cell in whole if cell.kind == NUCLEATED])

    def outcome(self) -> Outcome:
        """The comparison so far."""
        seen = self._seen
        return Outcome(
            frames=seen["frames"],
            counted=dict(self._total.counts),
            true=dict(self._true),
            unsure=self._total.unsure,
            red_error=_ratio(seen["red_off"], seen["red"]),
            nucleated_found=_ratio(seen["found"], seen["nucleated"]),
            labelled_right=_ratio(seen["right"], seen["named"]),
            decided=_ratio(seen["decided"], seen["labelled"]),
        )

    def _counts(self, cell: Cell | TrueCell) -> bool:
        inset = LARGEST_RADIUS_UM[cell.kind] / self._options.pixel_um
        (x, y), (width, height) = cell.centre_px, (self._options.width, self._options.height)
        return inset <= x < width - inset and inset <= y < height - inset

    def _is_new(self, cell: TrueCell) -> bool:
        """Whether the cell is to be counted, if it has its place."""
        if self._once is None:
            return True
        new = cell.cell_id not in self._once
        self._once.add(cell.cell_id)
        return new

    def _compare_red(self, report: FrameReport, truth: Sequence[TrueCell]) -> None:
        """By centre, so far inside that every red cell is whole.

        A box that was found may be a pixel wider than what was drawn; at the border that would decide what is compared.
        """
        true = sum(cell.kind == RED_BLOOD_CELL and self._counts(cell) for cell in truth)
        found = sum(cell.kind == RED_BLOOD_CELL and self._counts(cell) for cell in report.cells)
        self._seen.update(red=true, red_off=abs(found - true))

    def _is_whole(self, cell: Cell | TrueCell) -> bool:
        """Off the border: what is found there may be cut off, so what is drawn there is left out as well."""
        x0, y0, x1, y1 = cell.box_px
        return x0 > 0 and y0 > 0 and x1 < self._options.width and y1 < self._options.height

    def _compare_nucleated(self, report: FrameReport, whole: list[TrueCell]) -> None:
        """Each true cell takes the nearest found one whose centre lies on it, each found one at most once."""
        answers = {answer.cell_index: answer for answer in report.classifications}
        free = [cell for cell in report.cells if cell.kind == NUCLEATED]
        self._seen["nucleated"] += len(whole)
        for true in whole:
            near = min(free, key=lambda cell: _distance(cell, true), default=None)
            if near is None or _distance(near, true) > true.radius_um / self._options.pixel_um:
                continue
            free.remove(near)
            answer = answers.get(near.cell_index)
            self._seen.update(found=1, labelled=answer is not None)
            if answer is not None and self._is_counted(answer):
                self._seen.update(decided=1, named=true.label in self._classes, right=answer.label == true.label)

    def _is_counted(self, answer: Classification) -> bool:
        """As the tally sees it: a cell that was taken for none is unsure."""
        meaning = self._classes.get(answer.label)
        return answer.decided and not (meaning and meaning.group == "reject")


def _distance(cell: Cell, true: TrueCell) -> float:
    return float(np.hypot(cell.centre_px[0] - true.centre_px[0], cell.centre_px[1] - true.centre_px[1]))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
