"""Pictures of cells, as PNG, in a file beside the journal: outside the chain, which holds their sha256 only, so that the oldest
can go when their room is used up, and all of a sample when it is erased.

Losing the latest of them to a power cut harms no count, so nothing waits for the disk (synchronous=NORMAL).
"""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from typing_extensions import Self

from edgecell.errors import JournalError
from edgecell.journal import chain, store

FILE = "crops.sqlite"
APPLICATION = 0x6564_6363
"""`application_id` of the file: "edcc"."""
MAX_PNG = 16 << 20
_SCHEMA = """
CREATE TABLE crops (
    number INTEGER PRIMARY KEY, run_id TEXT NOT NULL, frame INTEGER NOT NULL, cell INTEGER NOT NULL, png BLOB NOT NULL,
    UNIQUE (run_id, frame, cell)
);
"""


class Crop(NamedTuple):
    """One cell's picture. frame, cell: indices as in the journal. png: the file's bytes."""

    frame: int
    cell: int
    png: bytes


class Pictures:
    """A view of the file, also while pictures are added. Every method raises JournalError."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self._path = connection, path

    @classmethod
    def there(cls, folder: Path) -> bool:
        """Whether any were ever kept."""
        return (folder / FILE).is_file()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()

    def picture(self, run_id: str, frame: int, cell: int, sha256: str) -> bytes | None:
        """The PNG of a cell; None where it is gone, or is not the one that the chain knows."""
        query = "SELECT png FROM crops WHERE run_id = ? AND frame = ? AND cell = ? AND length(png) <= ?"
        with store.translated(self._path):
            rows = self._connection.execute(query, (run_id, frame, cell, MAX_PNG)).fetchall()
        png = rows[0][0] if rows else None
        return png if isinstance(png, bytes) and chain.sha256(png) == sha256 else None

    def kept(self, run_id: str, cells: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
        """Of these cells, as (frame, cell), those that a picture is there of."""
        query = "SELECT 1 FROM crops WHERE run_id = ? AND frame = ? AND cell = ?"
        with store.translated(self._path):
            return {cell for cell in cells if self._connection.execute(query, (run_id, *cell)).fetchone()}


class Crops(Pictures):
    """The file, open for writing. budget_mib: most that the pictures may take together. Every method raises JournalError."""

    def __init__(self, connection: sqlite3.Connection, path: Path, budget_mib: int) -> None:
        super().__init__(connection, path)
        self._budget = budget_mib << 20
        self._bytes = self._sum()

    @classmethod
    def open(cls, folder: Path, budget_mib: int = 1 << 20) -> Self:
        """Made if missing, for its owner alone."""
        path = folder / FILE
        with store.translated(path):
            connection = store.connect_to(path)
            try:
                _set_up(connection, path)
                return cls(connection, path, budget_mib)
            except BaseException:
                connection.close()
                raise

    def add(self, run_id: str, crops: Sequence[Crop]) -> None:
        """Store some; the oldest go where there is no room. A cell that comes again, in a run resumed, has its last picture."""
        if not crops:
            return
        with store.translated(self._path), store.transaction(self._connection):
            self._connection.executemany(
                "INSERT OR REPLACE INTO crops (run_id, frame, cell, png) VALUES (?, ?, ?, ?)",
                [(run_id, *crop) for crop in crops],
            )
            self._bytes += sum(len(crop.png) for crop in crops)
            if self._bytes > self._budget:
                self._drop_oldest()

    def erase(self, run_ids: Sequence[str]) -> int:
        """All of these runs; how many there were."""
        with store.translated(self._path):
            with store.transaction(self._connection):
                gone = sum(
                    self._connection.execute("DELETE FROM crops WHERE run_id = ?", (run_id,)).rowcount for run_id in run_ids
                )
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self._bytes = self._sum()
        return gone

    def _drop_oldest(self) -> None:
        """Until nine tenths of the room are used, so that not every window has to."""
        self._bytes = self._sum()
        rows = self._connection.execute("SELECT number, length(png) FROM crops ORDER BY number")
        last = -1
        for number, size in rows:
            if self._bytes <= self._budget * 9 // 10:
                break
            last, self._bytes = number, self._bytes - size
        rows.close()
        self._connection.execute("DELETE FROM crops WHERE number <= ?", (last,))

    def _sum(self) -> int:
        with store.translated(self._path):
            return int(self._connection.execute("SELECT coalesce(sum(length(png)), 0) FROM crops").fetchone()[0])


def look(folder: Path) -> Pictures:
    """The pictures in a folder that has some. Raises JournalError."""
    path = folder / FILE
    with store.translated(path):
        connection = store.readable(path)
        try:
            _check(connection, path)
        except BaseException:
            connection.close()
            raise
    return Pictures(connection, path)


def _check(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether there are tables yet. Raises JournalError for another program's."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application != APPLICATION and tables:
        raise JournalError(f"{path} holds no crops of edgecell", fix="move it away")
    return bool(tables)


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    tables = _check(connection, path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA secure_delete = ON")
    if not tables:
        with store.transaction(connection):
            connection.execute(_SCHEMA.strip().rstrip(";"))
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
