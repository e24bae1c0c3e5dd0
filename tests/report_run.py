"""A reviewed run in a journal, for the tests of its report: 300 made cells, a quality check before it, three cells reviewed."""

from pathlib import Path

from made_run import made

from edgecell.journal.cells import RunCells
from edgecell.journal.events import QualityChecked, QualityRow
from edgecell.journal.journal import Journal
from edgecell.journal.reviewing import review, sign_off
from edgecell.journal.reviews import Reviews, standing
from edgecell.journal.standing import Standing
from edgecell.report.run import RunReport, collect

RUN = "run-a"
ODD = "=1+1|Σ^17&<b>~\\ 血 \u202e\r\nOBX|"
"""A sample's name that every form of a report could break on: formula, HL7, markup, no Latin letters, line ends."""
ADA = "Ada L. <i>&"


def checked(**changes: object) -> QualityChecked:
    fields: dict[str, object] = {
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
    return QualityChecked(**{**fields, **changes})  # type: ignore[arg-type]


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


def collected(folder: Path, run_id: str = RUN) -> tuple[RunReport, Standing]:
    said = standing(folder, run_id)
    return collect(folder, run_id, said), said
