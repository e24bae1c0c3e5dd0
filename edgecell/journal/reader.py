"""Reading a journal, also while a run is written into it. Nothing in the file is trusted: what is wrong is a JournalError."""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec
from typing_extensions import Self

from edgecell.errors import JournalError
from edgecell.journal import chain, events, store
from edgecell.journal.chain import Entry
from edgecell.journal.events import Event, QualityChecked, RunEnded, RunStarted, Window, WindowMessage

Read = TypeVar("Read", Event, WindowMessage)

PAGE = 256
"""Events in one look at the file: a look must be short, since meanwhile the writer's log cannot be folded back."""
MAX_STATE, MOST_MEMORIES = 8 << 20, 1000
"""Most bytes of a state, and pieces of a memory, that are read."""
_ROW = (
    "SELECT e.position, e.run_id, e.type, e.sequence,"
    " CASE WHEN typeof(e.body) = 'blob' AND length(e.body) <= ? THEN e.body END, e.head, e.signature, c.position,"
    " CASE WHEN typeof(c.body) = 'blob' AND length(c.body) <= ? THEN c.body END"
    " FROM events AS e LEFT JOIN contents AS c ON c.position = e.position WHERE "
)
"""What is too long, or no blob, is not read into memory."""
_STATE = "SELECT position, CASE WHEN typeof(body) = 'blob' AND length(body) <= ? THEN body END FROM states WHERE run_id = ?"
_MEMORY = (
    "SELECT number, CASE WHEN typeof(body) = 'blob' AND length(body) <= ? THEN body END FROM memories WHERE run_id = ?"
    " ORDER BY number LIMIT ?"
)
_CHECKS = (
    "e.run_id = '' AND e.sequence IS NULL AND e.type = 'quality_checked' AND e.position < ? ORDER BY e.position DESC LIMIT ?"
)
_BEHIND_ALL = 2**63 - 1
_FIX = "see which event is broken: edgecell journal verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An event as it lies in the file. content: None if it is gone (erased). head, signature: raw bytes."""

    entry: Entry
    body: bytes
    head: bytes
    signature: bytes | None
    content: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A message as it was published. payload: None where its sample was erased."""

    sequence: int
    topic: str
    payload: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A run in the journal. started: None where its sample was erased. ended: None while it goes on, or after a crash.

    key: id of the public key that verifies its signatures, "" where it has none.
    """

    run_id: str
    first_position: int
    windows: int
    started: RunStarted | None
    ended: RunEnded | None
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is needed to go on with a run. memory: the part of it that grows, in numbered pieces, oldest first."""

    body: bytes
    memory: tuple[tuple[int, bytes], ...] = ()

    @property
    def sha256(self) -> str:
        """As it stands in the chain: of the body's hash, then each piece's number and hash."""
        pieces = [f"{number}:{chain.sha256(piece)}" for number, piece in self.memory]
        return chain.sha256("\n".join([chain.sha256(self.body), *pieces]).encode())


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What a counts message says of a whole run."""

    frames: dict[str, int] = {}
    cumulative: dict[str, int] = {}
    unsure: int = 0
    excluded: dict[str, int] = {}


class Reader:
    """A view of a journal's file. Raises JournalError, from every method."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self._path = connection, path

    @classmethod
    def open(cls, path: Path) -> Self:
        """The journal in a folder, or a journal's file."""
        return cls(store.open_for_reading(path), path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def last(self) -> tuple[int, bytes]:
        """Position and head of the last event; 0 and chain.START while there is none."""
        rows = self._rows("SELECT position, head FROM events ORDER BY position DESC LIMIT 1")
        return (_whole(rows[0][0]), self._blob(rows[0][1], 32, "head")) if rows else (0, chain.START)

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

    def run_ids(self) -> list[str]:
        """All runs, in the order in which they began."""
        query = "SELECT run_id FROM events WHERE sequence IS NULL AND type = 'run_started' ORDER BY position"
        return [str(run_id) for (run_id,) in self._rows(query)]

    def next_run(self, run_id: str) -> str | None:
        """The run that was begun after this one; None for the last one, and for one that is not here."""
        query = (
            "SELECT run_id FROM events WHERE sequence IS NULL AND type = 'run_started' AND position > (SELECT position"
            " FROM events WHERE run_id = ? AND sequence IS NULL AND type = 'run_started') ORDER BY position LIMIT 1"
        )
        return next((str(found) for (found,) in self._rows(query, run_id)), None)

    def run(self, run_id: str) -> RunSummary:
        """One run."""
        apart = self._page("e.run_id = ? AND e.sequence IS NULL ORDER BY e.position", run_id)
        if not apart:
            known = self.run_ids()
            raise JournalError(
                f"{self._path} has no run {run_id!r}", fix=f"give one of its {len(known)} runs: edgecell journal show"
            )
        [(windows,)] = self._rows("SELECT count(*) FROM events WHERE run_id = ? AND sequence IS NOT NULL", run_id)
        first, last = self.event(apart[0]), self.event(apart[-1])
        return RunSummary(
            run_id=run_id,
            first_position=apart[0].entry.position,
            windows=_whole(windows),
            started=first if isinstance(first, RunStarted) else None,
            ended=last if isinstance(last, RunEnded) else None,
            key=apart[-1].entry.key,
        )

    def resumed(self, run_id: str) -> int:
        """How often a run was resumed since its last window."""
        query = (
            "SELECT count(*) FROM events WHERE run_id = ?1 AND sequence IS NULL AND type = 'run_resumed' AND position >"
            " (SELECT coalesce(max(position), 0) FROM events WHERE run_id = ?1 AND sequence IS NOT NULL)"
        )
        [(times,)] = self._rows(query, run_id)
        return _whole(times)

    def windows(self, run_id: str, after_sequence: int = -1) -> Iterator[tuple[Row, Window | None]]:
        """A run's windows behind a sequence number, in order; None where the sample was erased."""
        while True:
            page = self._page("e.run_id = ? AND e.sequence > ? ORDER BY e.sequence LIMIT ?", run_id, after_sequence, PAGE)
            for row in page:
                event = self.event(row)
                yield row, event if isinstance(event, Window) else None
            if len(page) < PAGE:
                return
            after_sequence = page[-1].entry.sequence or 0

    def messages(self, run_id: str, topic: str, after_sequence: int = -1, limit: int = 1000) -> Iterator[Recorded]:
        """Up to `limit` counts messages of a run behind a sequence number, one by one, byte for byte as recorded."""
        if topic != "counts/1":
            return
        for row in self._page("e.run_id = ? AND e.sequence > ? ORDER BY e.sequence LIMIT ?", run_id, after_sequence, limit):
            window = self._read(row, events.unpack_message)
            payload = None if window is None else self._published(window, row)
            yield Recorded(sequence=row.entry.sequence or 0, topic=topic, payload=payload)

    def quality_checks(self, before: int | None = None) -> Iterator[tuple[Row, QualityChecked]]:
        """Quality checks in front of position `before`, or all of them; the latest first."""
        while page := self._page(_CHECKS, before or _BEHIND_ALL, PAGE):
            for row in page:
                event = self.event(row)
                if isinstance(event, QualityChecked):
                    yield row, event
            before = page[-1].entry.position

    def totals(self, run_id: str) -> Totals:
        """What the latest counts message of a run said; nothing before the first window, and where it was erased."""
        page = self._page("e.run_id = ? AND e.sequence IS NOT NULL ORDER BY e.sequence DESC LIMIT 1", run_id)
        event = self.event(page[0]) if page else None
        if not isinstance(event, Window):
            return Totals()
        try:
            return msgspec.json.decode(event.message, type=Totals)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._broken(page[0].entry.position, f"has a message that cannot be read: {error}") from None

    def state(self, run_id: str) -> State | None:
        """What is needed to go on after a run's last window; None before it. Compared with its hash in the chain."""
        rows = self._rows(_STATE, MAX_STATE, run_id)
        if not rows:
            return None
        memory = self._rows(_MEMORY, MAX_STATE // MOST_MEMORIES, run_id, MOST_MEMORIES)
        state = State(
            body=self._blob(rows[0][1], MAX_STATE, "state"),
            memory=tuple((_whole(number), self._blob(body, MAX_STATE, "memory")) for number, body in memory),
        )
        entries = [row.entry for row in self._page("e.position = ?", _whole(rows[0][0]))]
        if [(entry.run_id, entry.state) for entry in entries] != [(run_id, state.sha256)]:
            raise JournalError(f"{self._path}: the state of run {run_id} is not what the chain says", fix=_FIX)
        return state

    def check_file(self) -> None:
        """Raises JournalError where SQLite finds the file damaged."""
        for (found,) in self._rows("PRAGMA quick_check(1)"):
            if found != "ok":
                raise JournalError(f"{self._path} is damaged: {found}", fix="restore it from a copy")

    def check_strays(self) -> None:
        """Raises JournalError for contents and states that belong to no event."""
        query = "SELECT position FROM contents WHERE position NOT IN (SELECT position FROM events) ORDER BY position LIMIT 1"
        for (position,) in self._rows(query):
            raise JournalError(f"{self._path}: there is a content {position}, and no such event", fix=_FIX)
        for (run_id,) in self._rows("SELECT run_id FROM states"):
            self.state(str(run_id))

    def _page(self, where: str, *values: object) -> list[Row]:
        return [self._row(each) for each in self._rows(_ROW + where, chain.MAX_ENTRY, events.MAX_STORED, *values)]

    def _row(self, values: tuple[Any, ...]) -> Row:
        position, run_id, kind, sequence, body, head, signature, has_content, content = values
        place = _whole(position)
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
            raise JournalError(f"{self._path}: the {what} is no blob of at most {most} bytes", fix=_FIX)
        return value

    def _published(self, window: WindowMessage, row: Row) -> bytes:
        """A window's message with its place in the journal: the bytes that went to the bus."""
        try:
            fields = msgspec.json.decode(window.message, type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._broken(row.entry.position, f"has a message that cannot be read: {error}") from None
        return msgspec.json.encode({**fields, **place(row.entry.position, row.head, row.signature)})

    def _broken(self, position: int, what: str) -> JournalError:
        return JournalError(f"{self._path}: event {position} {what}", fix=_FIX)


def place(position: int, head: bytes, signature: bytes | None) -> dict[str, Any]:
    """What a message says of a place in the journal."""
    signed = "" if signature is None else signature.hex()
    return {"journal_position": position, "chain_head": head.hex(), "chain_signature": signed}


def type_of(event: Event | WindowMessage) -> str:
    """`window`, `run_started` ..."""
    return str(event.__struct_config__.tag)


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise JournalError(f"the journal holds {value!r} where a whole number belongs", fix=_FIX)
    return value
