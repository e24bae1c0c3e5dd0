"""Frame reports -> counts -> differential. Pure: values in, values out.

Nothing may get lost here. A frame is captured once and settled once (processed, gated, dropped or failed); a cell of a
processed frame is counted, unsure or excluded; whoever would break that gets a ValueError, not a wrong total. All of it is
addition, so the totals do not depend on the order or the batches in which frames arrive.

What a label means is data from the bundles' manifests (`classes`: label -> CellClass). A label without an entry there (a kind
that no classifier refines, such as red_blood_cell) is counted under its own name, apart from the differential.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import TypeVar

from edgecell.bundle import CellClass
from edgecell.intervals import CONFIDENCE, METHOD, together
from edgecell.messages import FrameFates, FrameReport, Tally
from edgecell.wire import Differential, DifferentialRow

Key = TypeVar("Key", bound=str)


def capture(tally: Tally, frames: int = 1) -> Tally:
    """Frames that the source gave an index, now in flight. Each must be settled later by `add`, `drop` or `fail`."""
    return _frames(tally, captured=frames, in_flight=frames)


def drop(tally: Tally, reason: str, frames: int = 1) -> Tally:
    """Captured frames that were given up (the path was busy, or the source lost them). ValueError: none in flight.

    reason: the stage and what happened, such as `detect: behind`.
    """
    if not frames:
        return tally
    reasons = Counter(tally.dropped_reasons) + Counter({reason: frames})
    return replace(_frames(tally, dropped=frames, in_flight=-frames), dropped_reasons=dict(reasons))


def fail(tally: Tally, frames: int = 1) -> Tally:
    """Captured frames that could not be used (corrupt, or an error on the way). ValueError: none in flight."""
    return _frames(tally, failed=frames, in_flight=-frames)


def add(tally: Tally, report: FrameReport, classes: Mapping[str, CellClass]) -> Tally:
    """A captured frame that was processed, with all its cells, or gated, with the reason.

    Raises ValueError when no frame is in flight, a gated frame has cells, or classifications do not match the cells that are
    not excluded one to one.
    """
    if not report.verdict.accepted:
        if report.cells:
            raise ValueError(f"frame {report.frame_index} was gated and has {len(report.cells)} cells")
        reasons = Counter(tally.gated_reasons) + Counter([report.verdict.reason])
        return replace(_frames(tally, gated=1, in_flight=-1), gated_reasons=dict(reasons))
    counts, unsure, excluded = Counter(tally.counts), tally.unsure, Counter(tally.excluded)
    excluded.update(cell.excluded for cell in report.cells if cell.excluded)
    for label, decided in _labels(report):
        if counted_as(label, decided, classes):
            counts[label] += 1
        else:
            unsure += 1
    settled = _frames(tally, processed=1, in_flight=-1)
    return replace(settled, counts=dict(counts), unsure=unsure, excluded=dict(excluded))


def counted_as(label: str, decided: bool, classes: Mapping[str, CellClass]) -> str:
    """What a cell that is not excluded counts as: its label, or "" for unsure: undecided, or of a class that is no cell."""
    known = classes.get(label)
    return label if decided and not (known and known.group == "reject") else ""


def combine(one: Tally, other: Tally) -> Tally:
    """The two together, as if all their frames had gone into one tally."""
    pairs = ((field.name, getattr(one.frames, field.name), getattr(other.frames, field.name)) for field in fields(FrameFates))
    return Tally(
        counts=_sum(one.counts, other.counts),
        unsure=one.unsure + other.unsure,
        excluded=_sum(one.excluded, other.excluded),
        frames=FrameFates(**{name: a + b for name, a, b in pairs}),
        gated_reasons=_sum(one.gated_reasons, other.gated_reasons),
        dropped_reasons=_sum(one.dropped_reasons, other.dropped_reasons),
    )


def window_counts(now: Tally, before: Tally) -> dict[str, int]:
    """Counts since `before`, by label; negative where a revision took cells back. Labels that did not change are left out."""
    changes = {label: now.counts.get(label, 0) - before.counts.get(label, 0) for label in now.counts.keys() | before.counts}
    return {label: change for label, change in sorted(changes.items()) if change}


def differential(tally: Tally, classes: Mapping[str, CellClass]) -> Differential:
    """Percent of the decided cells whose class has in_differential, with simultaneous 95 % limits (METHOD).

    Rows stand in the order of `classes`, those without a cell included: their upper limit says what may have been missed.
    While n is 0 there are no rows. Erythroid classes outside the differential are given per 100 of its cells.
    """
    inside = [label for label, meaning in classes.items() if meaning.in_differential]
    apart = [label for label, meaning in classes.items() if meaning.group == "erythroid" and not meaning.in_differential]
    n = sum(tally.counts.get(label, 0) for label in inside)
    erythroblasts = sum(tally.counts.get(label, 0) for label in apart)
    rows = tuple(_row(label, tally.counts.get(label, 0), n, len(inside)) for label in inside) if n else ()
    return Differential(
        n=n,
        rows=rows,
        method=METHOD,
        confidence=CONFIDENCE,
        erythroblasts=erythroblasts,
        erythroblasts_per_100=100 * erythroblasts / n if n and apart else None,
    )


def _row(label: str, count: int, n: int, classes: int) -> DifferentialRow:
    low, high = together(count, n, classes)
    return DifferentialRow(label=label, count=count, percent=100 * count / n, low=100 * low, high=100 * high)


def _labels(report: FrameReport) -> Iterator[tuple[str, bool]]:
    """Label and decided of every cell that is not excluded."""
    open_cells = sorted(cell.cell_index for cell in report.cells if not cell.excluded)
    if open_cells != sorted(each.cell_index for each in report.classifications):
        raise ValueError(f"frame {report.frame_index}: its classifications are not those of its cells")
    return ((each.label, each.decided) for each in report.classifications)


def _frames(tally: Tally, **changes: int) -> Tally:
    """The tally with frames moved. Raises ValueError where that would settle more frames than were captured."""
    fates = {name: getattr(tally.frames, name) + change for name, change in changes.items()}
    if min(changes.get("captured", 0), fates["in_flight"]) < 0 or any(
        n < 0 for key, n in changes.items() if key != "in_flight"
    ):
        raise ValueError(f"frames cannot change by {changes}: {tally.frames.in_flight} are in flight")
    return replace(tally, frames=replace(tally.frames, **fates))


def _sum(one: Mapping[Key, int], other: Mapping[Key, int]) -> dict[Key, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}
