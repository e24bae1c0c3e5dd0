"""The comparison with the phantom's truth, fed with reports that were made from that truth."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from edgecell import selftest
from edgecell.bundle import CellClass
from edgecell.edge import LARGEST_RADIUS_UM
from edgecell.messages import NOTICE, NUCLEATED, Cell, Classification, FrameReport, Verdict
from edgecell.protocols import Progress
from edgecell.selftest import MARK, Outcome, SelfTest
from edgecell.sources.phantom.options import Options
from edgecell.sources.phantom.slide import MIX
from edgecell.sources.phantom.truth import TrueCell, truth_of
from edgecell.wire import Message

OPTIONS = Options(width=1280, height=720)
FRAMES = 6
CLASSES = {
    **{name: CellClass(name=name, abbreviation=name[:3].upper(), group="leukocyte", in_differential=True) for name in MIX},
    "artefact": CellClass(name="artefact", abbreviation="ART", group="reject"),
}


class Silent:
    """A stand-in display that remembers what was handed on."""

    def __init__(self) -> None:
        self.reports: list[FrameReport | None] = []
        self.messages: list[Message] = []

    def settled(self, report: FrameReport | None, progress: Callable[[], Progress]) -> None:
        self.reports.append(report)

    def sent(self, message: Message) -> None:
        self.messages.append(message)


Answer = Callable[[TrueCell], Classification]


def right(true: TrueCell, label: str = "", *, decided: bool = True) -> Classification:
    return Classification(cell_index=0, label=label or true.label, confidence=0.9, decided=decided)


def is_whole(true: TrueCell) -> bool:
    x0, y0, x1, y1 = true.box_px
    return x0 > 0 and y0 > 0 and x1 < OPTIONS.width and y1 < OPTIONS.height


def is_at_edge(true: TrueCell) -> bool:
    inset = LARGEST_RADIUS_UM[true.kind] / OPTIONS.pixel_um
    (x, y), width, height = true.centre_px, OPTIONS.width, OPTIONS.height
    return not (inset <= x < width - inset and inset <= y < height - inset)


def seen(index: int, *, answer: Answer = right, missed: Callable[[TrueCell], bool] = lambda _: False) -> FrameReport:
    """The report that a perfect segmenter would make of a phantom frame, but for what it is told to miss."""
    found = [true for true in truth_of(OPTIONS, index) if not missed(true)]
    cells, answers = [], []
    for at, true in enumerate(found):
        cells.append(
            Cell(
                frame_index=index,
                cell_index=at,
                kind=true.kind,
                box_px=true.box_px,
                centre_px=true.centre_px,
                excluded="edge" if is_at_edge(true) else None,
            )
        )
        if not is_at_edge(true):
            said = answer(true)
            answers.append(Classification(cell_index=at, label=said.label, confidence=0.9, decided=said.decided))
    return report(index, tuple(cells), tuple(answers))


def report(index: int, cells: tuple[Cell, ...], answers: tuple[Classification, ...], reason: str = "") -> FrameReport:
    return FrameReport(
        frame_index=index,
        captured_ns=0,
        label="",
        verdict=Verdict(accepted=not reason, reason=reason, focus=1.0, mean_level=0.5, saturated_fraction=0.0),
        cells=cells,
        classifications=answers,
        pixel_um=OPTIONS.pixel_um,
        pixel_um_source="settings",
        stage_us={},
    )


def no_progress() -> Progress:
    raise AssertionError("nobody asked for it")


def outcome(*reports: FrameReport | None) -> Outcome:
    test = SelfTest(OPTIONS, CLASSES, Silent())
    for each in reports:
        test.settled(each, no_progress)
    return test.outcome()


def true_cells() -> list[TrueCell]:
    return [true for index in range(FRAMES) for true in truth_of(OPTIONS, index)]


def test_who_finds_everything_is_right_in_everything() -> None:
    found = outcome(*(seen(index) for index in range(FRAMES)))
    true = Counter(cell.label for cell in true_cells() if not is_at_edge(cell))
    assert true["red_blood_cell"] > 100
    assert len(true) >= 5
    assert found.counted == found.true == dict(true)
    assert (found.frames, found.unsure) == (FRAMES, 0)
    assert (found.red_error, found.nucleated_found, found.labelled_right, found.decided) == (0.0, 1.0, 1.0, 1.0)


def test_missed_red_cells_are_an_error_frame_by_frame() -> None:
    """Too many in one frame do not make up for too few in another."""
    whole = [cell for cell in true_cells() if not is_at_edge(cell) and cell.kind == "red_blood_cell"]
    ids = {cell.cell_id for cell in whole[::4]}
    found = outcome(*(seen(index, missed=lambda cell: cell.cell_id in ids) for index in range(FRAMES)))
    assert found.red_error == pytest.approx(len(ids) / len(whole))
    few, many = seen(0, missed=lambda cell: cell.cell_id in ids), seen(1)
    twin = next(cell for cell in many.cells if cell.kind == "red_blood_cell" and cell.excluded is None)
    extra = replace(twin, cell_index=len(many.cells), excluded="duplicate")
    total = [
        sum(not is_at_edge(cell) and cell.kind == "red_blood_cell" for cell in truth_of(OPTIONS, index)) for index in (0, 1)
    ]
    lost = outcome(few).red_error
    assert lost
    both = outcome(few, report(1, (*many.cells, extra), many.classifications)).red_error
    assert both == pytest.approx((lost * total[0] + 1) / sum(total))


def test_a_missed_white_cell_is_not_found() -> None:
    whole = [cell for cell in true_cells() if is_whole(cell) and cell.kind == NUCLEATED]
    assert len(whole) >= 4
    found = outcome(*(seen(index, missed=lambda cell: cell.cell_id == whole[0].cell_id) for index in range(FRAMES)))
    assert found.nucleated_found == pytest.approx(1 - 1 / len(whole))
    assert found.labelled_right == 1.0


def test_a_found_cell_answers_only_where_it_lies_on_a_true_one() -> None:
    index, true = next(
        (index, cell)
        for index in range(FRAMES)
        for cell in truth_of(OPTIONS, index)
        if is_whole(cell) and cell.kind == NUCLEATED
    )
    others = seen(index, missed=lambda cell: cell.kind == NUCLEATED)
    far = Cell(
        frame_index=index,
        cell_index=len(others.cells),
        kind=NUCLEATED,
        box_px=true.box_px,
        centre_px=(true.centre_px[0] + 1.1 * true.radius_um / OPTIONS.pixel_um, true.centre_px[1]),
        excluded="edge",
    )
    assert outcome(report(index, (*others.cells, far), others.classifications)).nucleated_found == 0.0


def test_a_found_cell_answers_for_one_true_cell_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that lie on each other, found as one, are one found."""
    true = next(
        cell for index in range(FRAMES) for cell in truth_of(OPTIONS, index) if is_whole(cell) and cell.kind == NUCLEATED
    )
    twins = true, replace(true, cell_id=true.cell_id + 1, centre_px=(true.centre_px[0] + 5, true.centre_px[1]))
    monkeypatch.setattr(selftest, "truth_of", lambda _options, _index: twins)
    found = Cell(
        frame_index=0,
        cell_index=0,
        kind=NUCLEATED,
        box_px=true.box_px,
        centre_px=true.centre_px,
        excluded="edge",
    )
    assert outcome(report(0, (found,), ())).nucleated_found == 0.5


def test_a_wrong_label_is_wrong_and_counted_as_what_it_says() -> None:
    found = outcome(*(seen(index, answer=lambda true: right(true, "neutrophil")) for index in range(FRAMES)))
    counted = [cell for cell in true_cells() if not is_at_edge(cell)]
    assert found.counted == {"neutrophil": len(counted)}
    white = [cell for cell in counted if cell.kind == NUCLEATED and is_whole(cell)]
    assert found.labelled_right == pytest.approx(sum(cell.label == "neutrophil" for cell in white) / len(white))


@pytest.mark.parametrize(
    "doubt", [lambda true: right(true, decided=False), lambda true: right(true, "artefact")], ids=["undecided", "rejected"]
)
def test_what_is_not_decided_or_no_cell_is_unsure(doubt: Answer) -> None:
    found = outcome(*(seen(index, answer=doubt) for index in range(FRAMES)))
    assert found.counted == {}
    assert found.unsure == sum(found.true.values())
    assert (found.decided, found.labelled_right, found.nucleated_found) == (0.0, None, 1.0)


def test_gated_and_failed_frames_are_passed_over_and_everything_is_handed_on() -> None:
    display = Silent()
    test = SelfTest(OPTIONS, CLASSES, display)
    gated = report(0, (), (), reason="dark")
    for each in (gated, None):
        test.settled(each, no_progress)
    assert display.reports == [gated, None]
    nothing = test.outcome()
    assert (nothing.frames, nothing.true, nothing.red_error, nothing.nucleated_found) == (0, {}, None, None)


def test_the_outcome_says_what_it_is_and_is_not() -> None:
    document = outcome(seen(0)).as_json()
    assert document["schema"] == "self_test/1"
    assert document["mark"] == MARK
    assert "says nothing about real cells" in MARK
    assert document["notice"] == NOTICE


def test_a_bundle_of_other_classes_is_not_called_wrong() -> None:
    """Its labels cannot be compared with what was drawn, and no figure says that they were."""
    mine = CellClass(name="mine", abbreviation="M", group="leukocyte")
    test = SelfTest(OPTIONS, {"mine": mine}, Silent())
    for index in range(FRAMES):
        test.settled(seen(index, answer=lambda true: right(true, "mine")), no_progress)
    found = test.outcome()
    assert set(found.counted) == {"mine"}
    assert (found.labelled_right, found.decided) == (None, 1.0)


def test_cells_counted_once_are_compared_with_cells_shown_once() -> None:
    test = SelfTest(OPTIONS, CLASSES, Silent(), "new_area")
    test.settled(seen(0), no_progress)
    before = test.outcome().true
    test.settled(seen(0), no_progress)
    assert test.outcome().true == before
    assert test.outcome().counted == {label: 2 * count for label, count in before.items()}
