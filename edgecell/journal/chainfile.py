"""The events of one chained file, the journal's or the reviews': reading them in order, and putting one behind the last.

Nothing in the file is trusted: what is wrong is a JournalError.
"""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from typing_extensions import Self

from edgecell import clock
from edgecell.errors import JournalError
from edgecell.journal import chain, events, store
from edgecell.journal.chain import Entry, Key
from edgecell.journal.events import Event, QualityChecked, SampleErased, Window, WindowMessage

Read = TypeVar("Read", Event, WindowMessage)

PAGE = 256
"""Events in one look at the file: a look must be short, since meanwhile the writer's log cannot be folded back."""
_ROW = (
    "SELECT e.position, e.run_id, e.type, e.sequence,"
    " CASE WHEN typeof(e.body) = 'blob' AND length(e.body) <= ? THEN e.body END, e.head, e.signature, c.position,"
    " CASE WHEN typeof(c.body) = 'blob' AND length(c.body) <= ? THEN c.body END"
    " FROM events AS e LEFT JOIN contents AS c ON c.position = e.position WHERE "
)
"""What is too long, or no blob, is not read into memory."""
_LATEST = (
    "SELECT position, head FROM events WHERE position = (SELECT max(position) FROM ("
    "SELECT max(position) AS position FROM events WHERE run_id = ?1 AND sequence IS NULL UNION ALL"
    " SELECT max(position) FROM events WHERE run_id = ?1 AND sequence IS NOT NULL))"
)
"""In two halves, since each has an index in the journal."""
FIX = "see which event is broken: edgecell journal verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An event as it lies in the file. content: None if it is gone (erased). head, signature: raw bytes."""

    entry: Entry
    body: bytes
    head: bytes
    signature: bytes | None
    content: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Where an event lies. signature: 64 bytes, None without a key."""

    position: int
    head: bytes
    signature: bytes | None


class ChainReader:
    """A view of a chained file. Raises JournalError, from every method."""

    KIND = store.JOURNAL

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self._path = connection, path

    @classmethod
    def open(cls, path: Path) -> Self:
        """The file in a folder, or the file itself."""
        return cls(store.open_for_reading(path, cls.KIND), path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def last(self) -> tuple[int, bytes]:
        """Position and head of the last event; 0 and chain.START while there is none."""
        rows = self._rows("SELECT position, head FROM events ORDER BY position DESC LIMIT 1")
        return (whole(rows[0][0]), self._blob(rows[0][1], 32, "head")) if rows else (0, chain.START)

    def latest(self, run_id: str) -> tuple[int, bytes]:
        """Position and head of a run's last event; 0 and chain.START where it has none."""
        rows = self._rows(_LATEST, run_id)
        return (whole(rows[0][0]), self._blob(rows[0][1], 32, "head")) if rows else (0, chain.START)

    def head_at(self, position: int) -> bytes | None:
        """The head of an event; None where there is no such."""
        rows = self._rows("SELECT head FROM events WHERE position = ?", position)
        return self._blob(rows[0][0], 32, "head") if rows else None

    def rows(self, after: int = 0) -> Iterator[Row]:
        """All events behind position `after`, in order."""
        while True:
            page = self._page("e.position > ? ORDER BY e.position LIMIT ?", after, PAGE)
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1].entry.position

    def event(self, row: Row) -> Event | None:
        """What happened; None where it was erased. It is compared with its hash."""
        return self._read(row, events.unpack)

    def check_file(self) -> None:
        """Raises JournalError where SQLite finds the file damaged."""
        for (found,) in self._rows("PRAGMA quick_check(1)"):
            if found != "ok":
                raise JournalError(f"{self._path} is damaged: {found}", fix="restore it from a copy")

    def check_strays(self) -> None:
        """Raises JournalError for contents that belong to no event."""
        query = "SELECT position FROM contents WHERE position NOT IN (SELECT position FROM events) ORDER BY position LIMIT 1"
        for (position,) in self._rows(query):
            raise JournalError(f"{self._path}: there is a content {position}, and no such event", fix=FIX)

    def _read(self, row: Row, unpack: Callable[[bytes], Read]) -> Read | None:
        if row.content is None:
            return None
        if chain.sha256(row.content) != row.entry.content:
            raise self._broken(row.entry.position, "is not what its entry says (sha256)")
        try:
            event = unpack(row.content)
        except ValueError as error:
            raise self._broken(row.entry.position, str(error)) from None
        said = type_of(event), getattr(event, "run_id", ""), getattr(event, "sequence", None)
        if said != (row.entry.type, row.entry.run_id, row.entry.sequence):
            raise self._broken(row.entry.position, "is of another type, run or window than its entry says")
        return event

    def _page(self, where: str, *values: object) -> list[Row]:
        return [self._row(each) for each in self._rows(_ROW + where, chain.MAX_ENTRY, events.MAX_STORED, *values)]

    def _row(self, values: tuple[Any, ...]) -> Row:
        position, run_id, kind, sequence, body, head, signature, has_content, content = values
        place = whole(position)
        body = self._blob(body, chain.MAX_ENTRY, f"event {place}")
        try:
            entry = chain.from_bytes(body)
        except ValueError as error:
            raise self._broken(place, str(error)) from None
        if (entry.position, entry.run_id, entry.type, entry.sequence) != (position, run_id, kind, sequence):
            raise self._broken(place, "is listed under another place, run or type than its entry says")
        return Row(
            entry=entry,
            body=body,
            head=self._blob(head, 32, f"head of event {place}"),
            signature=None if signature is None else self._blob(signature, 64, f"signature of event {place}"),
            content=None if has_content is None else self._blob(content, events.MAX_STORED, f"content of event {place}"),
        )

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with store.translated(self._path):
            return self._connection.execute(query, values).fetchall()

    def _blob(self, value: object, most: int, what: str) -> bytes:
        if not isinstance(value, bytes) or len(value) > most:
            raise JournalError(f"{self._path}: the {what} is no blob of at most {most} bytes", fix=FIX)
        return value

    def _broken(self, position: int, what: str) -> JournalError:
        return JournalError(f"{self._path}: event {position} {what}", fix=FIX)


def append(
    connection: sqlite3.Connection, last: tuple[int, bytes], event: Event, content: bytes, key: Key | None, state: str = ""
) -> Receipt:
    """An event behind the last one, within a transaction. last: position and head of that. content: the event, packed. key:
    signs the head. state: sha256 of what is needed to go on after it."""
    position, head = last
    entry = Entry(
        position=position + 1,
        type=type_of(event),
        run_id="" if isinstance(event, SampleErased | QualityChecked) else event.run_id,
        sequence=event.sequence if isinstance(event, Window) else None,
        utc=clock.utc_now(),
        content=chain.sha256(content),
        state=state,
        key="" if key is None else key.id,
    )
    body = chain.to_bytes(entry)
    head = chain.advance(head, body)
    signature = chain.sign(head, key)
    connection.execute(
        "INSERT INTO events (position, run_id, type, sequence, body, head, signature) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (entry.position, entry.run_id, entry.type, entry.sequence, body, head, signature),
    )
    connection.execute("INSERT INTO contents VALUES (?, ?)", (entry.position, content))
    return Receipt(position=entry.position, head=head, signature=signature)


def fold(connection: sqlite3.Connection, path: Path) -> bool:
    """Fold the log back into the file and empty it. False while a reader keeps it from that."""
    with store.translated(path):
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def type_of(event: Event | WindowMessage) -> str:
    """`window`, `run_started` ..."""
    return str(event.__struct_config__.tag)


def whole(value: object) -> int:
    """The number that a file holds. Raises JournalError for anything else."""
    if not isinstance(value, int):
        raise JournalError(f"the journal holds {value!r} where a whole number belongs", fix=FIX)
    return value
