"""Runs in a journal, for the tests of their reports: one reviewed, with a quality check before it, and a marrow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from bus_messages import counts_message
from journal_windows import started
from made_run import made

from edgecell import tally
from edgecell.bundle import CellClass, Group
from edgecell.journal.cells import RunCells
from edgecell.journal.events import FrameFate, QualityChecked, QualityRow, RecordedCell, Window
from edgecell.journal.journal import Journal
from edgecell.journal.reader import State
from edgecell.journal.reviewing import review, sign_off
from edgecell.journal.reviews import Reviews, standing
from edgecell.journal.standing import Standing
from edgecell.messages import FrameFates, Tally
from edgecell.report.collect import collect
from edgecell.report.run import RunReport
from edgecell.wire import frames_of, to_wire

RUN = "run-a"
ODD = "=1+1|Σ^17&<b>~\\ 血 \u202e\r\nOBX|"
"""A sample's name that every form of a report could break on: formula, HL7, markup, no Latin letters, line ends."""
ADA = "Ada L. <i>&"


def checked(**changes: Any) -> QualityChecked:
    fields: dict[str, Any] = {
        "utc": "2026-01-31T08:00:00.000Z",
        "clock_synced": True,
        "device_id": "bench-3",
        "version": "0.0.0",
        "slide": "QC-3",
        "reference_sha256": "cd" * 32,
        "fields": 40,
        "models": ("pbc8 1.0.0",),
        "rows": (
            QualityRow(name="red cell diameter", measured=7.25, low=6.5, high=8.0, passed=True),
            QualityRow(name="focus", measured=None, low=0.5, high=2.0, passed=False),
        ),
        "passed": False,
    }
    return QualityChecked(**{**fields, **changes})


def reviewed_run(folder: Path, sample_id: str = "slide-17", cells: int = 300) -> None:
    """Two unsure cells relabelled, one neutrophil rejected, and signed off by ADA."""
    with Journal.open(folder) as journal:
        journal.append(checked(slide="an older one", passed=True))
        journal.append(checked())
        journal.append(checked(device_id="another device", slide="another one"))
    made(folder, cells, sample_id=sample_id)
    known = RunCells.open(folder, RUN)
    with Reviews.open(folder) as reviews:
        review(reviews, known, known.view("unsure")[:2], "relabel", "lymphocyte", ADA)
        review(reviews, known, known.view("label:neutrophil")[:1], "reject", "", ADA)
        known.refresh(folder)
        sign_off(reviews, known, ADA)


_MARROW: tuple[tuple[str, Group, str], ...] = (
    ("blast", "leukocyte", "blast"),
    ("myelocyte", "leukocyte", "granulocytic"),
    ("erythroblast", "erythroid", "erythroid"),
)
MARROW = {
    "blast": CellClass(name="blast", abbreviation="BLA", group="leukocyte", lineage="blast", in_differential=True),
    "myelocyte": CellClass(
        name="myelocyte", abbreviation="MYB", group="leukocyte", lineage="granulocytic", in_differential=True
    ),
    "erythroblast": CellClass(
        name="erythroblast", abbreviation="EBO", group="erythroid", lineage="erythroid", in_differential=True
    ),
}


def marrow_run(folder: Path, counts: Mapping[str, int], **changes: Any) -> None:
    """A run of one frame with so many decided cells of each class, of MARROW unless changed. changes: to what it began with."""
    begun = started(**{"classes": MARROW, "specimen": "marrow", **changes})
    counts = {label: count for label, count in counts.items() if count}
    labels = [label for label, count in counts.items() for _ in range(count)]
    cells = tuple(
        RecordedCell(0, index, "nucleated", label, 0.99, True, None, (0, 0, 9, 9)) for index, label in enumerate(labels)
    )
    total = Tally(counts=dict(counts), frames=FrameFates(captured=1, processed=1))
    message = counts_message(
        counts=dict(counts),
        cumulative=dict(counts),
        unsure=0,
        excluded={},
        cells_total=len(cells),
        frames=frames_of(total.frames),
        gated_reasons={},
        dropped_reasons={},
        differential=tally.differential(total, begun.classes),
        stop=None,
        journal_position=None,
        chain_head="",
    )
    topic, payload = to_wire(message)
    frames = (FrameFate(0, 1, "processed"),)
    window = Window(run_id=RUN, sequence=0, frames=frames, cells=cells, topic=topic, message=msgspec.Raw(payload))
    with Journal.open(folder) as journal:
        journal.append(begun)
        journal.append(window, state=State(body=b""))


def collected(folder: Path, run_id: str = RUN) -> tuple[RunReport, Standing]:
    said = standing(folder, run_id)
    return collect(folder, run_id, said), said
