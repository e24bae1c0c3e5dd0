"""Reviews for the tests: words of the cells of journal_windows' runs."""

from pathlib import Path

from edgecell.journal.cells import RunCells
from edgecell.journal.chain import Key
from edgecell.journal.events import Action
from edgecell.journal.reviewing import review, sign_off
from edgecell.journal.reviews import Reviews
from edgecell.journal.standing import Place


def said(
    folder: Path,
    action: Action,
    *places: Place,
    label: str = "",
    by: str = "anna",
    run_id: str = "run-a",
    key: Key | None = None,
) -> RunCells:
    """A word of some cells of a run, and the run after it."""
    cells = RunCells.open(folder, run_id)
    with Reviews.open(folder, key) as reviews:
        review(reviews, cells, places, action, label, by)
    cells.refresh(folder)
    return cells


def signed(folder: Path, by: str = "anna", run_id: str = "run-a") -> None:
    """The run is signed off as it is."""
    with Reviews.open(folder) as reviews:
        sign_off(reviews, RunCells.open(folder, run_id), by)
