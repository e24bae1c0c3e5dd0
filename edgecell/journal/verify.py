"""Is the journal whole? Every hash is computed again, from the first event on; the first one that does not fit is named.

What this cannot show is in chain.py: someone who may write the file can make another chain. A signature by a key that is kept
elsewhere shows that, and so does a head that was published: it must be found here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgecell.errors import JournalError
from edgecell.journal import chain
from edgecell.journal.chainfile import ChainReader, Row
from edgecell.journal.events import SampleErased, SignedOff
from edgecell.journal.reader import Reader
from edgecell.journal.reviews import ReviewReader, reviews_of

Checks = Callable[[bytes, bytes], bool]
"""Whether a signature is of a content, by a key that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was found. broken: what is wrong with the first event that does not fit, "" if all do.

    events: that fit. erased: contents that are gone as an event says. signed: events with a signature that was checked;
    unchecked: with one for which no key was given. head: hex, after the last event that fits. reviews: of their chain, None
    where nobody reviewed.
    """

    events: int
    erased: int
    signed: int
    unchecked: int
    head: str
    broken: str = ""
    reviews: "Verified | None" = None

    @property
    def whole(self) -> bool:
        """Both chains are."""
        return not self.broken and (self.reviews is None or not self.reviews.broken)


@dataclass(slots=True, kw_only=True)
class _Walk:
    """What is known at some place of the chain. published: the head to be found, "" once it was."""

    published: str
    position: int = 0
    head: bytes = chain.START
    signed: int = 0
    unchecked: int = 0
    sequences: dict[str, int] = field(default_factory=dict)
    signed_runs: set[str] = field(default_factory=set)
    gone: dict[int, str] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)


def verify(path: Path, *, checks: Checks | None = None, published: str = "") -> Verified:
    """The journal in a folder, and the reviews beside it. checks: verifies signatures. published: a head in hex that must be
    found in one of the two.

    Raises JournalError where there is nothing that could be verified: no journal, or a damaged file.
    """
    walk, reviews = _Walk(published=published), None
    with Reader.open(path) as reader:
        broken = _walked(walk, reader, checks)
        beside = reviews_of(path)
        if beside is not None:
            other = _Walk(published=walk.published)
            with ReviewReader.open(beside) as said:
                reviews = _found(other, _walked(other, said, checks) or _strange(said, reader, walk))
            walk.published = other.published
    if not broken and walk.published:
        broken = f"no event has the head {published}, which was published: events are missing, or this is another chain"
    return replace(_found(walk, broken), reviews=reviews)


def _walked(walk: _Walk, reader: ChainReader, checks: Checks | None) -> str:
    """From the first event of a chain on: what is wrong with the first one that does not fit, "" if all do."""
    reader.check_file()
    try:
        for row in reader.rows():
            _step(walk, row, reader, checks)
            if row.head.hex() == walk.published:
                walk.published = ""
        _check_gone(walk)
        reader.check_strays()
    except JournalError as error:
        return error.what
    return ""


def _found(walk: _Walk, broken: str) -> Verified:
    return Verified(
        events=walk.position,
        erased=len(walk.gone),
        signed=walk.signed,
        unchecked=walk.unchecked,
        head=walk.head.hex(),
        broken=broken,
    )


def _strange(reviews: ReviewReader, journal: Reader, walk: _Walk) -> str:
    """What in the reviews does not go with the journal, which was walked; "" where all does."""
    runs = {*journal.run_ids()}
    for row in reviews.rows():
        entry, event = row.entry, reviews.event(row)
        place = f"event {entry.position} of the reviews"
        if entry.run_id and entry.run_id not in runs:
            return f"{place} is of run {entry.run_id}, which the journal does not have"
        if event is not None and entry.run_id in walk.erased:
            return f"{place} is of run {entry.run_id}, whose sample was erased: erase it again"
        if isinstance(event, SignedOff):
            head = journal.head_at(event.journal_position)
            if head is None or head.hex() != event.chain_head:
                return f"{place} signs off what is not in the journal: event {event.journal_position} has another head there"
    return ""


def _step(walk: _Walk, row: Row, reader: ChainReader, checks: Checks | None) -> None:
    """One event more. Raises JournalError where it does not fit."""
    entry, place = row.entry, f"event {row.entry.position}"
    if entry.position != walk.position + 1:
        raise JournalError(f"event {walk.position + 1} is missing: after {walk.position} comes {entry.position}")
    if chain.advance(walk.head, row.body) != row.head:
        raise JournalError(
            f"{place} ({entry.type}, {entry.utc}) does not follow from the one before it: its head is another one"
        )
    event = reader.event(row)
    if event is None:
        walk.gone[entry.position] = entry.run_id
    if isinstance(event, SampleErased):
        walk.erased.update(event.run_ids)
        if not entry.key and walk.signed_runs & {*event.run_ids}:
            raise JournalError(f"{place} says that runs were erased that are signed, and is not signed itself")
    if entry.key:
        walk.signed_runs.add(entry.run_id)
    if entry.sequence is not None:
        expected = walk.sequences.get(entry.run_id, -1) + 1
        if entry.sequence != expected:
            raise JournalError(f"{place} is window {entry.sequence} of run {entry.run_id}, not {expected}")
        walk.sequences[entry.run_id] = entry.sequence
    _check_signature(walk, row, checks)
    walk.position, walk.head = entry.position, row.head


def _check_signature(walk: _Walk, row: Row, checks: Checks | None) -> None:
    place = f"event {row.entry.position}"
    if row.signature is None:
        if row.entry.key:
            raise JournalError(f"{place} has lost its signature by key {row.entry.key}")
    elif checks is None:
        walk.unchecked += 1
    elif not checks(row.signature, chain.SIGNED + row.head):
        raise JournalError(f"{place} is not signed by the key that was given")
    else:
        walk.signed += 1


def _check_gone(walk: _Walk) -> None:
    """Contents may be missing of erased runs only."""
    for position, run_id in walk.gone.items():
        if run_id not in walk.erased:
            raise JournalError(f"event {position} has lost its content, and no event says that its sample was erased")
