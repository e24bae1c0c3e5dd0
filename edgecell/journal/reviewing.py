"""A person says something of cells, or signs a run off: it is checked, then kept in the chain of reviews."""

from collections.abc import Sequence

from edgecell import clock
from edgecell.errors import JournalError, SettingsError
from edgecell.journal.cells import RunCells
from edgecell.journal.chainfile import Receipt
from edgecell.journal.events import Action, Reviewed, SignedOff
from edgecell.journal.journal import held
from edgecell.journal.reader import Reader
from edgecell.journal.reviews import Reviews, checked_name
from edgecell.journal.revised import UNSURE
from edgecell.journal.standing import Place

MOST_CELLS = 20_000
"""That one word may be of."""


def review(reviews: Reviews, cells: RunCells, places: Sequence[Place], action: Action, label: str, operator: str) -> Receipt:
    """The same word of some cells of a run, all or none. label: for `relabel` only. cells: up to date, and to be refreshed.

    Raises SettingsError for a label or a name that cannot be, JournalError for cells that cannot be reviewed.
    """
    operator = checked_name(operator)
    _check_label(cells, action, label)
    if not 0 < len({*places}) <= MOST_CELLS:
        raise SettingsError(f"{len({*places})} cells cannot be reviewed at once", fix=f"give 1 to {MOST_CELLS}")
    utc, synced = clock.utc_now(), clock.synced()
    events = [_reviewed(cells, place, action, label, operator, utc, synced) for place in dict.fromkeys(places)]
    return reviews.append(events)


def sign_off(reviews: Reviews, cells: RunCells, operator: str) -> Receipt:
    """Somebody stands by the counts as reviewed. cells: as they were looked at, and to be refreshed.

    Raises JournalError where the run goes on, does not add up, or has changed since; SettingsError for a name that cannot be.
    """
    operator = checked_name(operator)
    with held(reviews.folder, cells.run_id):
        if cells.differs:
            what = f"run {cells.run_id} does not add up: {cells.differs}"
            raise JournalError(what, fix="edgecell journal verify tells whether the file was changed")
        with Reader.open(reviews.folder) as journal:
            if journal.run(cells.run_id).windows != cells.run.windows:
                raise JournalError(f"run {cells.run_id} went on in the meantime", fix="look at it, and try again")
            position, head = journal.latest(cells.run_id)
        counted = cells.reviewed()
        event = SignedOff(
            run_id=cells.run_id,
            operator=operator,
            utc=clock.utc_now(),
            clock_synced=clock.synced(),
            counts=dict(counted.counts),
            unsure=counted.unsure,
            excluded={str(reason): count for reason, count in counted.excluded.items()},
            windows=cells.run.windows,
            journal_position=position,
            chain_head=head.hex(),
        )
        return reviews.append([event], behind=cells.standing.position)


def _check_label(cells: RunCells, action: Action, label: str) -> None:
    known = [*cells.labels, UNSURE]
    if action == "relabel" and label not in known:
        raise SettingsError(f"{label!r} is no label of this run", fix=f"give one of {', '.join(dict.fromkeys(known))}")
    if action != "relabel" and label:
        raise SettingsError(f"a {action} takes no label", fix="leave the label out")


def _reviewed(cells: RunCells, place: Place, action: Action, label: str, operator: str, utc: str, synced: bool) -> Reviewed:
    cell, (frame, index) = cells.cell(place), place
    if cell is None:
        fix = f"list them: edgecell review {cells.run_id}"
        raise JournalError(f"run {cells.run_id} has no cell {frame}:{index} that can be reviewed", fix=fix)
    if cell.excluded is not None:
        what = f"cell {frame}:{index} was not counted ({cell.excluded}), so it has no label to be reviewed"
        raise JournalError(what, fix="leave it out")
    undoes = cells.standing.undoable(place) if action == "undo" else 0
    if action == "undo" and not undoes:
        raise JournalError(f"nothing was said of cell {frame}:{index} that could be undone", fix="leave it out")
    return Reviewed(
        run_id=cells.run_id,
        frame=frame,
        cell=index,
        action=action,
        label=label,
        undoes=undoes,
        operator=operator,
        utc=utc,
        clock_synced=synced,
        machine_label=cell.label,
        machine_decided=cell.decided,
    )
