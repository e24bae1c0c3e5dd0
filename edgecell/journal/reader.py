"""Reading a journal, also while a run is written into it. Nothing in the file is trusted: what is wrong is a JournalError."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from edgecell.errors import JournalError
from edgecell.journal import chain, events
from edgecell.journal.chainfile import FIX, PAGE, ChainReader, Row, whole
from edgecell.journal.events import QualityChecked, RunEnded, RunResumed, RunStarted, Window, WindowMessage

MAX_STATE, MOST_MEMORIES = 8 << 20, 1000
"""Most bytes of a state, and pieces of a memory, that are read."""
_STATE = "SELECT position, CASE WHEN typeof(body) = 'blob' AND length(body) <= ? THEN body END FROM states WHERE run_id = ?"
_MEMORY = (
    "SELECT number, CASE WHEN typeof(body) = 'blob' AND length(body) <= ? THEN body END FROM memories WHERE run_id = ?"
    " ORDER BY number LIMIT ?"
)
_CHECKS = (
    "e.run_id = '' AND e.sequence IS NULL AND e.type = 'quality_checked' AND e.position < ? ORDER BY e.position DESC LIMIT ?"
)
_BEHIND_ALL = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A message as it was published. payload: None where its sample was erased."""

    sequence: int
    topic: str
    payload: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A run in the journal. started: None where its sample was erased. ended: None while it goes on, or after a crash.

    key: id of the public key that verifies its signatures, "" where it has none. operators: who sat at the microscope when it
    began and whenever it was resumed, as far as they said.
    """

    run_id: str
    first_position: int
    windows: int
    started: RunStarted | None
    ended: RunEnded | None
    key: str
    operators: tuple[str, ...] = ()


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


class Reader(ChainReader):
    """A view of a journal's file. Raises JournalError, from every method."""

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
        events = [self.event(row) for row in apart]
        first, last = events[0], events[-1]
        sat = [event.operator for event in events if isinstance(event, RunStarted | RunResumed)]
        return RunSummary(
            run_id=run_id,
            first_position=apart[0].entry.position,
            windows=whole(windows),
            started=first if isinstance(first, RunStarted) else None,
            ended=last if isinstance(last, RunEnded) else None,
            key=apart[-1].entry.key,
            operators=tuple(dict.fromkeys(name for name in sat if name)),
        )

    def resumed(self, run_id: str) -> int:
        """How often a run was resumed since its last window."""
        query = (
            "SELECT count(*) FROM events WHERE run_id = ?1 AND sequence IS NULL AND type = 'run_resumed' AND position >"
            " (SELECT coalesce(max(position), 0) FROM events WHERE run_id = ?1 AND sequence IS NOT NULL)"
        )
        [(times,)] = self._rows(query, run_id)
        return whole(times)

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
            memory=tuple((whole(number), self._blob(body, MAX_STATE, "memory")) for number, body in memory),
        )
        entries = [row.entry for row in self._page("e.position = ?", whole(rows[0][0]))]
        if [(entry.run_id, entry.state) for entry in entries] != [(run_id, state.sha256)]:
            raise JournalError(f"{self._path}: the state of run {run_id} is not what the chain says", fix=FIX)
        return state

    def check_strays(self) -> None:
        """Raises JournalError for contents and states that belong to no event."""
        super().check_strays()
        for (run_id,) in self._rows("SELECT run_id FROM states"):
            self.state(str(run_id))

    def _published(self, window: WindowMessage, row: Row) -> bytes:
        """A window's message with its place in the journal: the bytes that went to the bus."""
        try:
            fields = msgspec.json.decode(window.message, type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._broken(row.entry.position, f"has a message that cannot be read: {error}") from None
        return msgspec.json.encode({**fields, **place(row.entry.position, row.head, row.signature)})


def place(position: int, head: bytes, signature: bytes | None) -> dict[str, Any]:
    """What a message says of a place in the journal."""
    signed = "" if signature is None else signature.hex()
    return {"journal_position": position, "chain_head": head.hex(), "chain_signature": signed}
