"""Writing: events into the chain, one transaction for all that belongs together."""

import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import msgspec
from typing_extensions import Self

from edgecell.errors import JournalError
from edgecell.journal import chain, chainfile, crops, disk, events, store
from edgecell.journal.chain import Key
from edgecell.journal.chainfile import Receipt
from edgecell.journal.crops import Crop, Crops
from edgecell.journal.events import Event, RunEnded, RunResumed, RunStarted, SampleErased, Window
from edgecell.journal.reader import Reader, State

_RUN_ID = re.compile("[A-Za-z0-9-]{1,64}")


class Journal:
    """The journal in a folder, open for writing. Several processes may have it open; each transaction waits for the others'."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, key: Key | None = None) -> None:
        self.folder, self._connection, self._key = folder, connection, key
        self.reader = Reader(connection, folder)

    @classmethod
    def open(cls, folder: Path, key: Key | None = None) -> Self:
        """Made if missing. key: signs every head. Raises JournalError."""
        return cls(folder, store.open_for_writing(folder), key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()

    def append(self, *added: Event, state: State | None = None) -> Receipt:
        """Events of one run, or one of none, in one durable transaction; the place of the first. state: what is needed to go on
        after a first event that is a window, in place of the run's older one.

        Raises JournalError; nothing was written then. A JournalBlocked may be tried again with the same events: a window that
        is there already is not written twice.
        """
        contents = [(event, events.pack(event)) for event in added]
        with store.translated(self.folder / store.FILE), store.transaction(self._connection):
            (first, content), *others = contents
            receipt = self._there(first, content)
            if receipt is None:
                receipt = self._append(first, content, state)
                for other, its_content in others:
                    self._append(other, its_content, None)
                if isinstance(added[-1], RunEnded) and added[-1].complete:
                    self._forget(added[-1].run_id)
            return receipt

    def erase(self, run_ids: Sequence[str], event: SampleErased) -> int:
        """The contents of all events of these runs, and what is needed to go on with them; how many. `event` says so."""
        with store.translated(self.folder / store.FILE), store.transaction(self._connection):
            gone = 0
            for run_id in run_ids:
                contents = "DELETE FROM contents WHERE position IN (SELECT position FROM events WHERE run_id = ?)"
                gone += self._connection.execute(contents, (run_id,)).rowcount
                self._forget(run_id)
            told = msgspec.structs.replace(event, events=gone)
            self._append(told, events.pack(told), None)
        return gone

    def hurry(self) -> None:
        """Wait no longer than HURRY_S for other writers from now on."""
        self._connection.execute(f"PRAGMA busy_timeout = {round(store.HURRY_S * 1e3)}")

    def fold(self) -> bool:
        """Fold the log back into the file and empty it. False while a reader keeps it from that."""
        return chainfile.fold(self._connection, self.folder / store.FILE)

    def _there(self, event: Event, content: bytes) -> Receipt | None:
        """The place of a window that an earlier try did bring in, with all that came with it, though it seemed to fail."""
        if not isinstance(event, Window):
            return None
        rows = self._connection.execute(
            "SELECT position, body, head, signature FROM events WHERE run_id = ? AND sequence = ?",
            (event.run_id, event.sequence),
        ).fetchall()
        if not rows:
            return None
        position, body, head, signature = rows[0]
        if chain.from_bytes(body).content != chain.sha256(content):
            raise JournalError(
                f"{self.folder}: run {event.run_id} has another window {event.sequence}", fix="resume the run anew"
            )
        return Receipt(position=position, head=head, signature=signature)

    def _forget(self, run_id: str) -> None:
        """What was needed to go on with a run."""
        self._connection.execute("DELETE FROM states WHERE run_id = ?", (run_id,))
        self._connection.execute("DELETE FROM memories WHERE run_id = ?", (run_id,))

    def _keep(self, run_id: str, position: int, state: State) -> None:
        """Of the memory, only what is new is written, and what has left it is deleted."""
        self._connection.execute("INSERT OR REPLACE INTO states VALUES (?, ?, ?)", (run_id, position, state.body))
        first, last = (state.memory[0][0], state.memory[-1][0]) if state.memory else (0, -1)
        bounds = "SELECT coalesce(max(number), -1) FROM memories WHERE run_id = ?"
        known = self._connection.execute(bounds, (run_id,)).fetchone()[0]
        self._connection.execute("DELETE FROM memories WHERE run_id = ? AND (number < ? OR number > ?)", (run_id, first, last))
        new = [(run_id, number, body) for number, body in state.memory if number > known]
        self._connection.executemany("INSERT INTO memories VALUES (?, ?, ?)", new)

    def _append(self, event: Event, content: bytes, state: State | None) -> Receipt:
        needed = "" if state is None else state.sha256
        receipt = chainfile.append(self._connection, self.reader.last(), event, content, self._key, needed)
        if isinstance(event, Window) and state is not None:
            self._keep(event.run_id, receipt.position, state)
        return receipt


class Recorder:
    """One run's hand on the journal. state: what an earlier program left of the run; None for a new one, and where that made no
    window. programs: how many had the run since its last window. crops: where pictures of its cells go, if any are kept."""

    def __init__(
        self,
        journal: Journal,
        begin: RunStarted | RunResumed,
        state: State | None = None,
        crops: Crops | None = None,
        programs: int = 0,
    ) -> None:
        self._journal, self._begin, self._crops = journal, begin, crops
        self.state, self.programs = state, programs

    @property
    def folder(self) -> Path:
        return self._journal.folder

    @property
    def run_id(self) -> str:
        return self._begin.run_id

    def start(self) -> Receipt:
        """The run begins, or goes on: the place where. Raises JournalError."""
        receipt = self._journal.append(self._begin)
        self._journal.hurry()
        return receipt

    def room(self) -> str:
        """A line about a disk that is nearly full, "" while there is enough."""
        return disk.warning(self._journal.folder)

    def wants_crops(self) -> bool:
        """Whether pictures are kept, and there is room for them."""
        return self._crops is not None and disk.room(self._journal.folder)[0] in ("enough", "little")

    def keep_crops(self, crops: Sequence[Crop]) -> None:
        """Pictures of the cells of a window that is not in the journal yet. Raises JournalError; the window need not care."""
        if self._crops is not None:
            self._crops.add(self.run_id, crops)

    def commit(self, window: Window, state: State, end: RunEnded | None = None) -> Receipt:
        """A window, durable when this returns, with what is needed to go on after it; the last one with the run's end.

        Returns the window's place. Raises JournalError; a JournalBlocked may be tried again with the same window.
        """
        return self._journal.append(window, *([] if end is None else [end]), state=state)


@contextmanager
def held(folder: Path, run_id: str) -> Iterator[None]:
    """The run is this process's for so long. Raises JournalError where another one has it."""
    if not _RUN_ID.fullmatch(run_id):
        raise JournalError(f"{run_id!r} is no run's id", fix="list the runs: edgecell journal show")
    path = folder / f"{run_id}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise JournalError(f"cannot lock {path}: {error.strerror}", fix="check the folder's permissions") from None
    try:
        if not _locked(descriptor, path):
            fix = f"stop that one first: fuser -v {path}"
            raise JournalError(f"run {run_id} is going on in another process", fix=fix)
        try:
            yield
        finally:  # also where the run fails: a service without its camera begins one every few seconds
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def owns(folder: Path, path: Path) -> bool:
    """Whether a path is, or may become, one of the files of the journal in a folder (or that is itself the file `folder`): its
    events, its pictures, its reviews, SQLite's files beside them, and locks. path: without links."""
    file = folder.resolve()
    file = file / store.FILE if file.is_dir() else file
    own = path.name.startswith((file.name, crops.FILE, store.REVIEWS.file)) or path.suffix == ".lock"
    return own and path.parent == file.parent


def _locked(descriptor: int, path: Path) -> bool:
    """Whether the lock is ours, and still on the file of that name: its last holder takes it away."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino
