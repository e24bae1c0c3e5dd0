"""Counts are conserved, and do not depend on how frames are ordered or batched."""

from dataclasses import asdict
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgecell.bundle import CellClass
from edgecell.messages import Cell, Classification, Exclusion, FrameReport, Tally, Verdict
from edgecell.tally import add, capture, combine, differential, drop, fail, window_counts

CLASSES = {
    "monocyte": CellClass(name="monocyte", abbreviation="MON", group="leukocyte", in_differential=True),
    "neutrophil": CellClass(name="neutrophil", abbreviation="NEU", group="leukocyte", in_differential=True),
    "erythroblast": CellClass(name="erythroblast", abbreviation="ERB", group="erythroid"),
    "debris": CellClass(name="debris", abbreviation="DEB", group="reject"),
}
LABELS = [*CLASSES, "platelet", "red_blood_cell"]
EXCLUSIONS: list[Exclusion | None] = [None, None, "edge", "duplicate", "rejected"]
MASK = np.ones((1, 1), np.uint8)


@st.composite
def reports(draw: st.DrawFn) -> FrameReport:
    reason = draw(st.sampled_from(["", "", "blurred", "dark"]))
    exclusions = draw(st.lists(st.sampled_from(EXCLUSIONS), max_size=0 if reason else 8))
    cells = tuple(
        Cell(frame_index=0, cell_index=i, kind="k", box_px=(0, 0, 1, 1), centre_px=(0, 0), excluded=excluded)
        for i, excluded in enumerate(exclusions)
    )
    labels = tuple(
        Classification(cell_index=i, label=draw(st.sampled_from(LABELS)), confidence=1.0, decided=draw(st.booleans()))
        for i, excluded in enumerate(exclusions)
        if not excluded
    )
    return FrameReport(
        frame_index=0,
        captured_ns=0,
        label="",
        verdict=Verdict(accepted=not reason, reason=reason, focus=1, mean_level=0.5, saturated_fraction=0),
        cells=cells,
        classifications=labels,
        pixel_um=None,
        pixel_um_source="unknown",
        stage_us={},
    )


EVENTS = st.lists(st.one_of(reports(), st.sampled_from(["detect: behind", "source: lost", "fail", "fly"])), max_size=12)
Event = FrameReport | str


def settle(tally: Tally, event: Event) -> Tally:
    tally = capture(tally)
    if isinstance(event, FrameReport):
        return add(tally, event, CLASSES)
    if event == "fail":
        return fail(tally)
    return tally if event == "fly" else drop(tally, event)


def tally_of(events: list[Event]) -> Tally:
    tally = Tally()
    for event in events:
        tally = settle(tally, event)
    return tally


@given(EVENTS)
def test_nothing_is_lost(events: list[Event]) -> None:
    tally = tally_of(events)
    frames = tally.frames
    assert frames.captured == len(events)
    assert frames.captured == frames.processed + frames.dropped + frames.gated + frames.failed + frames.in_flight
    assert sum(tally.gated_reasons.values()) == frames.gated
    assert sum(tally.dropped_reasons.values()) == frames.dropped
    found = sum(len(event.cells) for event in events if isinstance(event, FrameReport))
    assert sum(tally.counts.values()) + tally.unsure + sum(tally.excluded.values()) == found == tally.cells_total


@given(EVENTS, st.randoms(use_true_random=False), st.integers(0, 12))
def test_order_and_batches_do_not_matter(events: list[Event], random: Random, cut: int) -> None:
    shuffled = list(events)
    random.shuffle(shuffled)
    batched = combine(tally_of(shuffled[:cut]), tally_of(shuffled[cut:]))
    assert asdict(batched) == asdict(tally_of(events))


@given(EVENTS, st.integers(0, 12))
def test_windows_add_up_to_the_total(events: list[Event], cut: int) -> None:
    before, now = tally_of(events[:cut]), tally_of(events)
    window = window_counts(now, before)
    assert {label: before.counts.get(label, 0) + window.get(label, 0) for label in now.counts} == now.counts


@given(st.dictionaries(st.sampled_from(LABELS), st.integers(0, 10**6)))
def test_a_differential_is_a_whole(counts: dict[str, int]) -> None:
    result = differential(Tally(counts=counts), CLASSES)
    assert result.n == counts.get("monocyte", 0) + counts.get("neutrophil", 0)
    if result.n:
        assert abs(sum(row.percent for row in result.rows) - 100) < 1e-9
    for row in result.rows:
        assert 0 <= row.low <= row.percent <= row.high <= 100
