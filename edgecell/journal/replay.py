"""The counts again, from the recorded frames and cells alone: they must be what was published, window by window. Then those as
reviewed: they must be what was signed off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from edgecell import tally
from edgecell.bundle import CellClass
from edgecell.journal.events import FrameFate, RecordedCell, Reviewed, SignedOff, Window
from edgecell.journal.reader import Reader
from edgecell.journal.reviews import ReviewReader
from edgecell.journal.revised import revised
from edgecell.journal.standing import Place, Standing
from edgecell.messages import Cell, Classification, FrameReport, Tally, Verdict
from edgecell.wire import Differential

MOST_FRAMES = 1_000_000
"""That one window may have looked at: more is a damaged or a made-up journal, and would take for ever."""


class _Published(msgspec.Struct, frozen=True, kw_only=True):
    """What a counts message says that the cells must bear out."""

    counts: dict[str, int]
    cumulative: dict[str, int]
    unsure: int
    excluded: dict[str, int]
    cells_total: int
    frames: dict[str, int]
    gated_reasons: dict[str, int]
    dropped_reasons: dict[str, int]
    differential: Differential


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One run counted again. differs: the first window that was published otherwise, and in what; "" if none was.

    reviews: what people said of it, sign-offs included. erased: its sample was erased, so there is nothing to count.
    """

    run_id: str
    windows: int
    frames: int
    cells: int
    reviews: int
    erased: bool
    differs: str


def replay(reader: Reader, run_id: str, reviews: ReviewReader | None = None) -> Replayed:
    """Count a run again. reviews: what people said, None where nobody did. Raises JournalError where a file cannot be read."""
    run = reader.run(run_id)
    if run.started is None:
        return Replayed(run_id=run_id, windows=run.windows, frames=0, cells=0, reviews=0, erased=True, differs="")
    said = [] if reviews is None else list(reviews.of(run_id))
    total, windows, differs, by_windows, cells = Tally(), 0, "", {0: Tally()}, dict[Place, RecordedCell]()
    for _, window in reader.windows(run_id):
        if window is None:
            differs = differs or f"window {windows} of run {run_id} is gone"
            continue
        before, windows = total, windows + 1
        try:
            total = counted(total, window, run.started.classes)
            differs = differs or difference(window, before, total, run.started.classes)
        except (ValueError, msgspec.DecodeError) as error:
            differs = f"window {window.sequence} of run {run_id} cannot be counted: {error}"
            break
        if said:
            by_windows[windows] = total
            cells.update({(cell.frame, cell.index): cell for cell in window.cells})
    return Replayed(
        run_id=run_id,
        windows=windows,
        frames=total.frames.captured,
        cells=total.cells_total,
        reviews=len(said),
        erased=False,
        differs=differs or _differing_review(said, cells, by_windows, run.started.classes),
    )


def counted(total: Tally, window: Window, classes: Mapping[str, CellClass]) -> Tally:
    """The tally with one window more. ValueError: its cells are not those of its frames."""
    cells: dict[int, list[RecordedCell]] = {}
    for cell in window.cells:
        cells.setdefault(cell.frame, []).append(cell)
    if sum(fate.count for fate in window.frames if fate.fate in ("processed", "gated")) > MOST_FRAMES:
        raise ValueError(f"it says that it has more than {MOST_FRAMES} frames")
    for fate in window.frames:
        total = tally.capture(total, fate.count)
        if fate.fate == "dropped":
            total = tally.drop(total, fate.reason, fate.count)
        elif fate.fate == "failed":
            total = tally.fail(total, fate.count)
        else:
            for index in range(fate.first, fate.first + fate.count):
                total = tally.add(total, _report(index, fate, cells.pop(index, [])), classes)
    if cells:
        raise ValueError(f"there are cells of frame {min(cells)}, which was not processed in it")
    return total


def _differing_review(
    said: Sequence[tuple[int, Reviewed | SignedOff]],
    cells: Mapping[Place, RecordedCell],
    by_windows: Mapping[int, Tally],
    classes: Mapping[str, CellClass],
) -> str:
    """The first review that is of another cell than the journal has, or the first sign-off of other counts; "" for none.

    by_windows: the machine's tally after so many windows.
    """
    standing = Standing()
    for position, event in said:
        if isinstance(event, Reviewed):
            cell = cells.get((event.frame, event.cell))
            recorded = cell and (cell.label, cell.decided, cell.excluded)
            if recorded != (event.machine_label, event.machine_decided, None):
                return f"event {position} of the reviews is of another cell than {event.frame}:{event.cell} of the journal"
        else:
            try:
                again = revised(by_windows[event.windows], standing.reviews, classes)
            except (KeyError, ValueError) as error:
                return f"event {position} of the reviews signs off what cannot be counted: {error}"
            if (event.counts, event.unsure, event.excluded) != (again.counts, again.unsure, again.excluded):
                return f"event {position} of the reviews signs off other counts than those of the cells and reviews"
        standing.add(position, event)
    return ""


def _report(index: int, fate: FrameFate, cells: list[RecordedCell]) -> FrameReport:
    """As much of a frame's report as is counted."""
    accepted = fate.fate == "processed"
    return FrameReport(
        frame_index=index,
        captured_ns=0,
        label=fate.label,
        verdict=Verdict(accepted=accepted, reason=fate.reason, focus=0.0, mean_level=0.0, saturated_fraction=0.0),
        cells=tuple(_cell(cell) for cell in cells),
        classifications=tuple(
            Classification(cell_index=cell.index, label=cell.label, confidence=cell.confidence, decided=cell.decided)
            for cell in cells
            if cell.excluded is None
        ),
        pixel_um=None,
        pixel_um_source="unknown",
        stage_us={},
    )


def _cell(cell: RecordedCell) -> Cell:
    return Cell(
        frame_index=cell.frame,
        cell_index=cell.index,
        kind=cell.kind,
        box_px=cell.box_px,
        centre_px=(0.0, 0.0),
        excluded=cell.excluded,
    )


def difference(window: Window, before: Tally, total: Tally, classes: Mapping[str, CellClass]) -> str:
    """Where the published message says something else than the tally; "" if nowhere. Raises msgspec.DecodeError."""
    said = msgspec.json.decode(window.message, type=_Published)
    settled = {fate: said.frames.get(fate) for fate in ("processed", "dropped", "gated", "failed")}
    captured = said.frames.get("captured", 0) - said.frames.get("in_flight", 0)
    pairs: dict[str, tuple[object, object]] = {
        "counts": (said.counts, tally.window_counts(total, before)),
        "cumulative": (said.cumulative, dict(total.counts)),
        "unsure": (said.unsure, total.unsure),
        "excluded": (said.excluded, dict(total.excluded)),
        "cells_total": (said.cells_total, total.cells_total),
        "frames": (settled, {fate: getattr(total.frames, fate) for fate in settled}),
        "captured frames less those in flight": (captured, total.frames.captured),
        "gated_reasons": (said.gated_reasons, dict(total.gated_reasons)),
        "dropped_reasons": (said.dropped_reasons, dict(total.dropped_reasons)),
        "differential": (_rounded(said.differential), _rounded(tally.differential(total, classes))),
    }
    for field, (published, again) in pairs.items():
        if published != again:
            return f"window {window.sequence}: {field} was published as {published}, and is {again} by the cells"
    return ""


def _rounded(table: Differential) -> tuple[object, ...]:
    """Limits as far as they are the same on every machine: the last digits are its library's."""
    rows = ((row.label, row.count, *(round(value, 6) for value in (row.percent, row.low, row.high))) for row in table.rows)
    return table.n, table.erythroblasts, tuple(rows)
