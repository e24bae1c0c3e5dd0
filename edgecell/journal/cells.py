"""The cells of a run as they are reviewed: what the machine said of each, what people said, and how it counts.

An index in memory, made once and extended as windows and reviews come, so that a page of cells is there at once.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
from typing_extensions import Self

from edgecell import tally
from edgecell.bundle import CellClass
from edgecell.errors import JournalError
from edgecell.journal import replay
from edgecell.journal.events import RecordedCell, Reviewed, RunStarted, Window
from edgecell.journal.reader import Reader, RunSummary, Totals
from edgecell.journal.reviews import ReviewReader, reviews_of
from edgecell.journal.revised import UNSURE, Bin, machine_bin, reviewed_bin, reviewed_label, revised
from edgecell.journal.standing import Place, Standing
from edgecell.messages import Tally
from edgecell.wire import Differential

Doubt = tuple[bool, bool, bool, float, int, int]
Order = Literal["doubtful", "time"]
ORDERS: tuple[Order, ...] = ("doubtful", "time")
LABEL = "label:"
"""Before a label: the view of its cells."""
_FIX = "edgecell journal verify tells whether the file was changed"


class RunCells:
    """Of one run. A kind that no classifier refines (red cells, by the hundred thousand) is counted and not listed.

    machine: what the machine counted, by the cells. totals: as it was published last. standing: what people said.
    """

    def __init__(self, run: RunSummary, started: RunStarted) -> None:
        self.run, self.started = run, started
        self.machine, self.totals = Tally(), Totals()
        self._otherwise, self._strange = "", ""
        self.standing = Standing()
        self._labelled = self._pictured = 0
        self._windows = 0
        self._cells: dict[Place, RecordedCell] = {}
        self._bins: dict[Place, Bin] = {}
        self._plain: set[str] = set()
        self._doubts: list[Doubt] = []
        self._pages: dict[tuple[str, Order], list[Place]] = {}

    @classmethod
    def open(cls, journal: Path, run_id: str) -> Self:
        """All cells of a run so far. journal: its folder, or file. Raises JournalError, also where its sample was erased."""
        with Reader.open(journal) as reader:
            run = reader.run(run_id)
        cells = cls(run, _begun(run))
        cells.refresh(journal)
        return cells

    @property
    def run_id(self) -> str:
        return self.run.run_id

    @property
    def classes(self) -> Mapping[str, CellClass]:
        """Label -> what it means, in the order of the bundles."""
        return self.started.classes

    @property
    def labels(self) -> list[str]:
        """What a cell may be called: the classes, and the labels that the machine counted besides them."""
        return [*self.classes, *sorted(self.machine.counts.keys() - self.classes.keys())]

    @property
    def differs(self) -> str:
        """In what the latest window was published otherwise, or the first review that is of another cell; "" for nothing.
        replay.py compares every window."""
        return self._otherwise or self._strange

    def refresh(self, journal: Path) -> None:
        """What was recorded and said since. Raises JournalError, also where the sample was erased."""
        with Reader.open(journal) as reader:
            self.run = reader.run(self.run_id)
            _begun(self.run)
            self._take(window for _, window in reader.windows(self.run_id, self._windows - 1) if window is not None)
        path = reviews_of(journal)
        if path is not None:
            with ReviewReader.open(path) as reviews:
                self._hear(reviews)

    @property
    def crops(self) -> bool:
        """Whether pictures are kept, as far as that can be told: also while there is no cell to keep one of."""
        return bool(self._pictured) or not self._labelled

    def cell(self, place: Place) -> RecordedCell | None:
        """A listed cell, None where there is no such."""
        return self._cells.get(place)

    def bin(self, place: Place) -> Bin:
        """Where a listed cell is counted, as reviewed."""
        return self._bins[place]

    def label(self, place: Place) -> str:
        """What a listed cell is called, as reviewed: its label, `unsure`, or "" for an excluded one."""
        where, name = self._bins[place]
        return {"counts": name, "unsure": UNSURE}.get(where, "")

    def doubtful(self, place: Place) -> bool:
        """Whether nobody has looked at a cell that a person may judge."""
        return self._cells[place].excluded is None and self.standing.of(place) is None

    def pictured(self, place: Place) -> bool:
        """Whether a picture was kept of a listed cell; the room for pictures may have been used up since."""
        return self._cells[place].crop is not None

    def told(self, place: Place) -> dict[str, Any] | None:
        """A cell as plain values: what the machine said of it, and what a person did. None where it is not listed."""
        cell, said = self._cells.get(place), self.standing.of(place)
        if cell is None:
            return None
        review = said and {
            "action": said.action,
            "label": reviewed_label(said),
            "operator": said.operator,
            "utc": said.utc,
        }
        return {
            "frame": cell.frame,
            "cell": cell.index,
            "kind": cell.kind,
            "label": cell.label,
            "confidence": cell.confidence,
            "decided": cell.decided,
            "excluded": cell.excluded,
            "review": review,
        }

    def view(self, view: str, order: Order = "doubtful") -> list[Place]:
        """The listed cells of a view: `all`, `unsure`, `excluded`, `reviewed`, or `label:X` for those that count as X.

        doubtful: those first that the machine was unsure of, then by its confidence, the least first; what it gave none comes
        last. Reviewing a cell does not move it. time: in the order in which they were found.
        """
        key = view, order
        if key not in self._pages:
            self._pages[key] = self._of(view, self._ordered(order))
        return self._pages[key]

    def views(self) -> dict[str, int]:
        """How many listed cells each view has, but for `all`; classes without one too."""
        found = Counter(name if where == "counts" else where for where, name in self._bins.values())
        named = ("unsure", "excluded")
        return {
            **dict.fromkeys(self.classes, 0),
            **dict(sorted(found.items())),
            **{name: found[name] for name in named},
            "reviewed": self.standing.cells,
        }

    def reviewed(self) -> Tally:
        """The counts with what people said. Raises JournalError where that was said of other cells."""
        try:
            return revised(self.machine, self.standing.reviews, self.classes)
        except ValueError as error:
            raise JournalError(f"run {self.run_id}: {error}", fix=_FIX) from None

    def differentials(self) -> tuple[Differential, Differential]:
        """The machine's, and the reviewed one."""
        return tally.differential(self.machine, self.classes), tally.differential(self.reviewed(), self.classes)

    def _take(self, windows: Iterable[Window]) -> None:
        latest, before = None, self.machine
        for latest in windows:
            before = self.machine
            with self._told(latest):
                self.machine = replay.counted(before, latest, self.classes)
            self._windows = latest.sequence + 1
            for cell in latest.cells:
                self._list(cell)
        if latest is not None:
            with self._told(latest):
                self.totals = msgspec.json.decode(latest.message, type=Totals)
                self._otherwise = replay.difference(latest, before, self.machine, self.classes)
            self._doubts.sort()
            self._pages.clear()

    @contextmanager
    def _told(self, window: Window) -> Iterator[None]:
        try:
            yield
        except (ValueError, msgspec.DecodeError) as error:
            what = f"window {window.sequence} of run {self.run_id} cannot be counted: {error}"
            raise JournalError(what, fix=_FIX) from None

    def _list(self, cell: RecordedCell) -> None:
        if cell.kind in self._plain or (cell.label == cell.kind and cell.label not in self.classes):
            self._plain.add(cell.kind)
            return
        place = cell.frame, cell.index
        self._cells[place] = cell
        self._doubts.append(_doubt(cell))
        self._bins[place] = self._bin(place)
        self._labelled += cell.excluded is None
        self._pictured += cell.crop is not None

    def _hear(self, reviews: ReviewReader) -> None:
        before = self.standing.position
        for position, event in reviews.of(self.run_id, before):
            self.standing.add(position, event)
            if isinstance(event, Reviewed):
                self._move(position, event)
        if self.standing.position != before:
            self._pages = {key: found for key, found in self._pages.items() if key[0] == "all"}

    def _move(self, position: int, event: Reviewed) -> None:
        place = event.frame, event.cell
        cell = self._cells.get(place)
        if cell is not None and (cell.label, cell.decided) == (event.machine_label, event.machine_decided):
            self._bins[place] = self._bin(place)
        elif not self._strange:
            self._strange = f"event {position} of the reviews is of another cell than {place[0]}:{place[1]} of the journal"

    def _bin(self, place: Place) -> Bin:
        cell, review = self._cells[place], self.standing.of(place)
        if review is not None:
            return reviewed_bin(review, self.classes)
        if cell.excluded is not None:
            return "excluded", cell.excluded
        return machine_bin(cell.label, cell.decided, self.classes)

    def _ordered(self, order: Order) -> Iterable[Place]:
        return self._cells if order == "time" else ((frame, index) for *_, frame, index in self._doubts)

    def _of(self, view: str, places: Iterable[Place]) -> list[Place]:
        bins = self._bins
        if view.startswith(LABEL):
            wanted: Bin = ("counts", view.removeprefix(LABEL))
            return [place for place in places if bins[place] == wanted]
        if view == "reviewed":
            return [place for place in places if self.standing.of(place) is not None]
        return [place for place in places if view in ("all", bins[place][0])]


def _doubt(cell: RecordedCell) -> Doubt:
    """Least first."""
    confidence = cell.confidence
    return (
        cell.excluded is not None,
        cell.decided,
        confidence is None,
        confidence or 0.0,
        cell.frame,
        cell.index,
    )


def _begun(run: RunSummary) -> RunStarted:
    if run.started is None:
        raise JournalError(f"the sample of run {run.run_id} was erased", fix="list the runs: edgecell journal show")
    return run.started
