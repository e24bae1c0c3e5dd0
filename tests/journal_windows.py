"""Events for the tests of the journal: a run, window by window, with counts that agree with its cells."""

from typing import Any

import msgspec
from bus_messages import CLASSES, counts_message

from edgecell import tally
from edgecell.journal.events import FrameFate, RecordedCell, RunEnded, RunStarted, Window
from edgecell.journal.journal import Journal
from edgecell.journal.reader import State
from edgecell.messages import FrameFates, Tally
from edgecell.wire import frames_of, to_wire

CELLS = 3


def started(run_id: str = "run-a", **changes: Any) -> RunStarted:
    fields: dict[str, Any] = {
        "run_id": run_id,
        "utc": "2026-01-31T12:00:00.000Z",
        "clock_synced": True,
        "device_id": "bench-3",
        "sample_id": "slide-17",
        "version": "0.0.0",
        "settings": {"source": {"part": "phantom", "seed": 3}},
        "settings_sha256": "ab" * 32,
        "classes": CLASSES,
    }
    return RunStarted(**{**fields, **changes})


def window(sequence: int, run_id: str = "run-a") -> Window:
    """Window `sequence`: two frames with CELLS cells each (one at the edge, one unsure), then a blurred one."""
    first = 3 * sequence
    frames = FrameFate(first, 2, "processed"), FrameFate(first + 2, 1, "gated", "blurred", "field.png")
    cells = tuple(_cell(frame, index) for frame in (first, first + 1) for index in range(CELLS))
    n = sequence + 1
    total = Tally(
        counts={"neutrophil": 2 * n},
        unsure=2 * n,
        excluded={"edge": 2 * n},
        frames=FrameFates(captured=3 * n + 1, processed=2 * n, gated=n, in_flight=1),
        gated_reasons={"blurred": n},
    )
    message = counts_message(
        sequence,
        run_id=run_id,
        counts={"neutrophil": 2},
        cumulative=dict(total.counts),
        unsure=total.unsure,
        excluded=dict(total.excluded),
        cells_total=total.cells_total,
        frames=frames_of(total.frames),
        gated_reasons=dict(total.gated_reasons),
        differential=tally.differential(total, CLASSES),
        journal_position=None,
        chain_head="",
    )
    topic, payload = to_wire(message)
    return Window(run_id=run_id, sequence=sequence, frames=frames, cells=cells, topic=topic, message=msgspec.Raw(payload))


def ended(run_id: str = "run-a", *, complete: bool = True) -> RunEnded:
    return RunEnded(run_id=run_id, utc="2026-01-31T12:01:00.000Z", state="stopped", complete=complete)


def filled(
    journal: Journal, windows: int = 3, run_id: str = "run-a", sample_id: str = "slide-17", *, complete: bool = True
) -> None:
    """A whole run in the journal."""
    journal.append(started(run_id, sample_id=sample_id))
    for sequence in range(windows):
        journal.append(window(sequence, run_id), state=State(body=b"state %d" % sequence))
    journal.append(ended(run_id, complete=complete))


def _cell(frame: int, index: int) -> RecordedCell:
    label = ("neutrophil", "lymphocyte", "")[index]
    return RecordedCell(
        frame, index, "nucleated", label, 0.875 if label else None, index == 0, "edge" if index == 2 else None, (4, 8, 30, 41)
    )
