import pytest

from edgecell.bundle import CellClass
from edgecell.messages import Cell, Classification, Exclusion, FrameReport, Tally, Verdict
from edgecell.tally import (
    add,
    capture,
    combine,
    differential,
    drop,
    fail,
    window_counts,
)

CLASSES = {
    "neutrophil": CellClass(name="neutrophil", abbreviation="NEU", group="leukocyte", in_differential=True),
    "basophil": CellClass(name="basophil", abbreviation="BAS", group="leukocyte", in_differential=True),
    "erythroblast": CellClass(name="erythroblast", abbreviation="ERB", group="erythroid"),
    "debris": CellClass(name="debris", abbreviation="DEB", group="reject"),
}


def cell(index: int, excluded: Exclusion | None = None) -> Cell:
    return Cell(
        frame_index=0,
        cell_index=index,
        kind="nucleated",
        box_px=(0, 0, 1, 1),
        centre_px=(0.5, 0.5),
        excluded=excluded,
    )


def label(index: int, name: str, decided: bool = True) -> Classification:
    return Classification(cell_index=index, label=name, confidence=0.9, decided=decided)


def report(cells: list[Cell], labels: list[Classification], reason: str = "") -> FrameReport:
    verdict = Verdict(accepted=not reason, reason=reason, focus=1.0, mean_level=0.5, saturated_fraction=0.0)
    return FrameReport(
        frame_index=0,
        captured_ns=0,
        label="",
        verdict=verdict,
        cells=tuple(cells),
        classifications=tuple(labels),
        pixel_um=0.1,
        pixel_um_source="settings",
        stage_us={},
    )


def test_every_cell_ends_in_a_class_unsure_or_excluded() -> None:
    cells = [cell(0), cell(1), cell(2), cell(3, "edge"), cell(4, "duplicate"), cell(5)]
    labels = [label(0, "neutrophil"), label(1, "neutrophil", decided=False), label(2, "debris"), label(5, "red_blood_cell")]
    tally = add(capture(Tally()), report(cells, labels), CLASSES)
    assert tally.counts == {"neutrophil": 1, "red_blood_cell": 1}
    assert tally.unsure == 2  # one not decided, one decided to be no cell
    assert tally.excluded == {"edge": 1, "duplicate": 1}
    assert tally.cells_total == len(cells)


def test_every_frame_ends_in_one_fate() -> None:
    tally = capture(Tally(), 6)
    tally = drop(fail(add(add(tally, report([], []), CLASSES), report([], [], "blurred"), CLASSES)), "detect: behind", 2)
    frames = tally.frames
    assert (frames.captured, frames.processed, frames.gated, frames.failed, frames.dropped, frames.in_flight) == (
        6,
        1,
        1,
        1,
        2,
        1,
    )
    assert tally.gated_reasons == {"blurred": 1}


def test_a_frame_settles_once() -> None:
    for settle in (lambda tally: add(tally, report([], []), CLASSES), lambda tally: drop(tally, "x"), fail):
        with pytest.raises(ValueError, match="0 are in flight"):
            settle(Tally())
    for frames in (-1, -2):
        with pytest.raises(ValueError, match="frames cannot change"):
            drop(capture(Tally(), 3), "detect: behind", frames)
        with pytest.raises(ValueError, match="frames cannot change"):
            capture(capture(Tally(), 3), frames)


def test_a_cell_without_its_own_classification_is_refused() -> None:
    for labels in ([], [label(1, "neutrophil")], [label(0, "neutrophil")] * 2):
        with pytest.raises(ValueError, match="classifications"):
            add(capture(Tally()), report([cell(0)], labels), CLASSES)
    with pytest.raises(ValueError, match="gated and has 1 cells"):
        add(capture(Tally()), report([cell(0)], [], "blurred"), CLASSES)


def test_a_window_is_negative_after_a_revision() -> None:
    before, now = (
        Tally(counts={"neutrophil": 5, "basophil": 1}),
        Tally(counts={"neutrophil": 3, "eosinophil": 2, "basophil": 1}),
    )
    assert window_counts(now, before) == {"eosinophil": 2, "neutrophil": -2}
    assert combine(now, before).counts == {"neutrophil": 8, "eosinophil": 2, "basophil": 2}


def test_the_differential_is_over_its_own_classes() -> None:
    tally = Tally(counts={"neutrophil": 30, "erythroblast": 6, "red_blood_cell": 900, "platelet": 50}, unsure=7)
    result = differential(tally, CLASSES)
    assert [(row.label, row.count, row.percent) for row in result.rows] == [("neutrophil", 30, 100.0), ("basophil", 0, 0.0)]
    assert (result.n, result.erythroblasts, result.erythroblasts_per_100) == (30, 6, 20.0)
    # No basophil in 30 cells: at 1 - 0.05 / 2 the limit p has (1 - p) ** 30 = 0.05 / 4.
    assert result.rows[1].high == pytest.approx(100 * (1 - 0.0125 ** (1 / 30)))


def test_nothing_is_claimed_without_cells() -> None:
    result = differential(Tally(counts={"erythroblast": 3}), CLASSES)
    assert (result.n, result.rows, result.erythroblasts_per_100, result.erythroblasts) == (0, (), None, 3)


def test_no_erythroblasts_are_reported_where_no_class_is_one() -> None:
    only = {"neutrophil": CLASSES["neutrophil"]}
    assert differential(Tally(counts={"neutrophil": 3}), only).erythroblasts_per_100 is None
