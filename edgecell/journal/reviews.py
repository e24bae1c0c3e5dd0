"""What people said of the cells of runs: events in a chain of their own, in a file beside the journal (`reviews.sqlite`).

revised.py   counts as reviewed      standing.py   one word for each cell      cells.py   a run's cells, to be reviewed
"""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import msgspec
from typing_extensions import Self

from edgecell.errors import JournalError, SettingsError
from edgecell.journal import chainfile, events, store
from edgecell.journal.chain import Key
from edgecell.journal.chainfile import PAGE, ChainReader, Receipt
from edgecell.journal.events import Reviewed, SampleErased, SignedOff
from edgecell.journal.reader import Reader
from edgecell.journal.standing import Standing

FILE = store.REVIEWS.file
MOST_NAME = 64
"""Characters of an operator's name."""


class ReviewReader(ChainReader):
    """A view of the reviews' file, also while someone reviews. Raises JournalError, from every method."""

    KIND = store.REVIEWS

    def of(self, run_id: str, after: int = 0) -> Iterator[tuple[int, Reviewed | SignedOff]]:
        """What was said of a run behind position `after`, in order, with its position; erased ones are left out."""
        while True:
            page = self._page("e.run_id = ? AND e.position > ? ORDER BY e.position LIMIT ?", run_id, after, PAGE)
            for row in page:
                event = self.event(row)
                if isinstance(event, Reviewed | SignedOff):
                    yield row.entry.position, event
            if len(page) < PAGE:
                return
            after = page[-1].entry.position

    def run_ids(self) -> list[str]:
        """Runs of which something is kept, in the order of their ids."""
        query = "SELECT DISTINCT run_id FROM events JOIN contents USING (position) WHERE run_id <> '' ORDER BY run_id"
        return [str(run_id) for (run_id,) in self._rows(query)]

    def signed_with(self, run_id: str) -> str:
        """Id of the public key that verifies the latest signed event of a run; "" where none is signed."""
        keys = [row.entry.key for row in self._page("e.run_id = ? AND e.signature IS NOT NULL ORDER BY e.position", run_id)]
        return keys[-1] if keys else ""


class Reviews:
    """The reviews' file in a journal's folder, open for writing. Several processes may have it open; each transaction waits for
    the others'. Every method raises JournalError."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, key: Key | None = None) -> None:
        self.folder, self._connection, self._key = folder, connection, key
        self.reader = ReviewReader(connection, folder / FILE)

    @classmethod
    def open(cls, folder: Path, key: Key | None = None) -> Self:
        """Made if missing, for its owner alone. key: signs every head."""
        return cls(folder, store.open_for_writing(folder, store.REVIEWS), key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()

    def append(self, added: Sequence[Reviewed | SignedOff], *, behind: int | None = None) -> Receipt:
        """Events of one run, all or none, durable when this returns; the place of the last one. behind: position of
        what must be the run's latest event until now.

        Raises JournalError also where the run's sample was erased. That is asked once nobody else may write, and whoever erases
        takes the reviews last: so what is said while a sample is being erased does not outlive it.
        """
        run_id = added[0].run_id
        contents = [(event, events.pack(event)) for event in added]
        with store.translated(self.folder / FILE), store.transaction(self._connection):
            with Reader.open(self.folder) as journal:
                if journal.run(run_id).started is None:
                    raise JournalError(f"the sample of run {run_id} was erased", fix="review another run")
            if behind is not None and self.reader.latest(run_id)[0] > behind:
                raise JournalError(f"run {run_id} was reviewed by somebody else just now", fix="look at it, and try again")
            return self._append(contents)

    def erase(self, run_ids: Sequence[str], event: SampleErased) -> int:
        """All that was said of these runs; how many events. `event` says so."""
        with store.translated(self.folder / FILE), store.transaction(self._connection):
            contents = "DELETE FROM contents WHERE position IN (SELECT position FROM events WHERE run_id = ?)"
            gone = sum(self._connection.execute(contents, (run_id,)).rowcount for run_id in run_ids)
            told = msgspec.structs.replace(event, run_ids=tuple(run_ids), events=gone)
            self._append([(told, events.pack(told))])
        return gone

    def fold(self) -> bool:
        """Fold the log back into the file and empty it. False while a reader keeps it from that."""
        return chainfile.fold(self._connection, self.folder / FILE)

    def _append(self, contents: Sequence[tuple[Reviewed | SignedOff | SampleErased, bytes]]) -> Receipt:
        last = self.reader.last()
        for event, content in contents:
            receipt = chainfile.append(self._connection, last, event, content, self._key)
            last = receipt.position, receipt.head
        return receipt


def reviews_of(journal: Path) -> Path | None:
    """The reviews' file beside a journal (its folder, or its file in one); None where nobody has reviewed."""
    folder = journal.parent if journal.name == store.FILE else journal
    path = folder / FILE
    return path if path.is_file() and not store.without_tables(path) else None


def standing(journal: Path, run_id: str) -> Standing:
    """What stands of a run's reviews, also where there are none. Raises JournalError."""
    path = reviews_of(journal)
    if path is None:
        return Standing()
    with ReviewReader.open(path) as reader:
        return Standing(reader.of(run_id))


def checked_name(operator: str) -> str:
    """A person's name as it is kept. Raises SettingsError for one that would tell nobody who it was."""
    name = operator.strip()
    if not name or len(name) > MOST_NAME or not name.isprintable():
        raise SettingsError(f"an operator's name has 1 to {MOST_NAME} printable characters", fix="say who reviews")
    return name
