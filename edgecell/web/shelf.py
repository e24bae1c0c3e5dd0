"""What the gallery reads: the runs of a journal, and of those that were looked at lately their cells, kept in memory.

It waits for the disk, so it is used in a worker thread; one at a time, by whoever holds `turn`.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from edgecell.errors import JournalError
from edgecell.journal import crops
from edgecell.journal.cells import RunCells
from edgecell.journal.reader import Reader, RunSummary
from edgecell.journal.reviews import ReviewReader, reviews_of
from edgecell.journal.standing import Place, Standing
from edgecell.web.answers import Refused

MOST_RUNS = 4
"""Whose cells are kept in memory: about 30 MB for 20,000 cells with as many reviews."""
_LIST = "list the runs: /api/runs"


class _Counted(msgspec.Struct, frozen=True):
    n: int = 0


class _Last(msgspec.Struct, frozen=True):
    """Of a counts message how many cells its differential is over."""

    differential: _Counted = _Counted()


class Shelf:
    """journal: its folder, which need not be there yet."""

    def __init__(self, journal: Path) -> None:
        self.journal, self.turn = journal, asyncio.Lock()
        self._runs: OrderedDict[str, RunCells] = OrderedDict()
        self._standing: dict[str, Standing] = {}
        self._n: dict[tuple[str, int], int] = {}

    def cells(self, run_id: str) -> RunCells:
        """A run as it is now. Raises Refused (404, 410), JournalError."""
        with self._reader() as reader:
            if run_id not in reader.run_ids():
                raise Refused(404, f"there is no run {run_id[:64]!r}", fix=_LIST)
            erased = reader.run(run_id).started is None
        if erased:
            self._runs.pop(run_id, None)
            raise Refused(410, "the sample of this run was erased", fix=_LIST)
        known = self._runs.pop(run_id, None)
        if known is None:
            known = RunCells.open(self.journal, run_id)
        else:
            known.refresh(self.journal)
        self._runs[run_id] = known
        if len(self._runs) > MOST_RUNS:
            self._runs.popitem(last=False)
        return known

    def runs(self) -> list[dict[str, Any]]:
        """The latest first; those of erased samples are left out. Raises JournalError."""
        if not self._there():
            return []
        with self._reader() as reader:
            summaries = [reader.run(run_id) for run_id in reversed(reader.run_ids())]
            reviewed = self._reviewed()
            return [self._told(reader, run, reviewed.get(run.run_id)) for run in summaries if run.started is not None]

    def picture(self, run_id: str, place: Place) -> tuple[bytes, str]:
        """A cell's PNG and its sha256. Raises Refused (404, 410), JournalError."""
        known = self._runs.get(run_id) or self.cells(run_id)
        cell = known.cell(place) or self.cells(run_id).cell(place)
        if cell is not None and cell.crop is not None and crops.Pictures.there(self.journal):
            with crops.look(self.journal) as pictures:
                png = pictures.picture(run_id, *place, cell.crop)
            if png is not None:
                return png, cell.crop
        raise Refused(
            404, f"there is no picture of cell {place[0]}:{place[1]}", fix="pictures are kept where a run is asked to"
        )

    def kept(self, run_id: str, places: list[Place]) -> set[Place]:
        """Of these cells those that a picture is there of. Raises JournalError."""
        if not crops.Pictures.there(self.journal):
            return set()
        with crops.look(self.journal) as pictures:
            return pictures.kept(run_id, places)

    def _reader(self) -> Reader:
        if not self._there():
            raise Refused(404, "there is no journal yet", fix="begin a run")
        return Reader.open(self.journal)

    def _there(self) -> bool:
        return (self.journal / "journal.sqlite").is_file()

    def _reviewed(self) -> Mapping[str, Standing]:
        """What stands of every run that somebody reviewed."""
        path = reviews_of(self.journal)
        if path is None:
            return {}
        with ReviewReader.open(path) as reader:
            for run_id in reader.run_ids():
                known = self._standing.setdefault(run_id, Standing())
                for position, event in reader.of(run_id, known.position):
                    known.add(position, event)
        return self._standing

    def _told(self, reader: Reader, run: RunSummary, standing: Standing | None) -> dict[str, Any]:
        review = (standing or Standing()).told(run.windows)
        return {
            **told(run),
            "n": self._differential_n(reader, run),
            "reviewed": review["cells"],
            "signed_off": review["signed_off"] is not None,
        }

    def _differential_n(self, reader: Reader, run: RunSummary) -> int:
        key = run.run_id, run.windows
        if key not in self._n:
            payloads = [each.payload for each in reader.messages(run.run_id, "counts/1", run.windows - 2, 1)]
            try:
                self._n[key] = msgspec.json.decode(payloads[0], type=_Last).differential.n if payloads and payloads[0] else 0
            except msgspec.DecodeError as error:
                what = f"the latest window of run {run.run_id} cannot be read: {error}"
                raise JournalError(what, fix="edgecell journal verify tells whether the file was changed") from None
        return self._n[key]


def told(run: RunSummary) -> dict[str, Any]:
    """A run as the page knows it. ended: how, null while it goes on or was cut."""
    started, ended = run.started, run.ended
    return {
        "run_id": run.run_id,
        "device_id": started.device_id if started else "",
        "sample_id": started.sample_id if started else "",
        "operator": started.operator if started else "",
        "begun_utc": started.utc if started else "",
        "clock_synced": started.clock_synced if started else False,
        "ended": ended.state if ended else None,
        "complete": ended.complete if ended else False,
        "windows": run.windows,
    }
