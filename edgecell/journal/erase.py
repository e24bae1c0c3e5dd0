"""Erasing a sample: the contents of its runs go, its crops and reviews too; their entries stay, so that both chains still hold.

SQLite overwrites what it deletes (secure_delete), and its log is folded back. What a file system, a flash disk's wear levelling
or a copy elsewhere may still hold is beyond its reach.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from edgecell import clock
from edgecell.errors import JournalError
from edgecell.journal.chain import Key
from edgecell.journal.crops import Crops
from edgecell.journal.events import SampleErased
from edgecell.journal.journal import Journal, held
from edgecell.journal.reader import Reader
from edgecell.journal.reviews import ReviewReader, Reviews, reviews_of

_KEY = "give the device's private key: --key NAME.signing.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What is gone. reviews: events of their chain. complete: False where a reader kept a log from being folded back; erase
    again when it has left."""

    runs: tuple[str, ...]
    events: int
    crops: int
    reviews: int
    complete: bool


def erase(folder: Path, sample_id: str, key: Key | None = None) -> Erased:
    """All runs of a sample. key: signs that they were erased; else anyone could say so of what was taken away.

    Raises JournalError where there is no such run, one of them is going on, or they are signed and there is no key."""
    with Journal.open(folder, key) as journal, ExitStack() as stack:
        summaries = [journal.reader.run(run_id) for run_id in journal.reader.run_ids()]
        runs = tuple(run.run_id for run in summaries if run.started and run.started.sample_id == sample_id)
        for run_id in runs:
            stack.enter_context(held(folder, run_id))
        if not runs:
            journal.fold()  # what an earlier call could not, since someone was reading, or it was ended
            _forget_reviews(folder, journal.reader, key)
            fix = "list the samples: edgecell journal show"
            raise JournalError(f"{folder} has no run of sample {sample_id!r}", fix=fix)
        keys = (run.key for run in summaries if run.run_id in runs)
        signed = next(filter(None, (*keys, *_keys_of_reviews(folder, runs))), "")
        if signed and key is None:
            raise JournalError(f"sample {sample_id!r} was signed with key {signed}, and its erasure must be", fix=_KEY)
        crops = 0
        if Crops.there(folder):  # first: a crash in between must leave the runs to be found again
            with Crops.open(folder) as store:
                crops = store.erase(runs)
        events = journal.erase(runs, SampleErased(run_ids=runs, utc=clock.utc_now(), events=0, crops=crops))
        reviews, folded = _forget_reviews(folder, journal.reader, key)
        return Erased(runs=runs, events=events, crops=crops, reviews=reviews, complete=journal.fold() and folded)


def _forget_reviews(folder: Path, journal: Reader, key: Key | None) -> tuple[int, bool]:
    """Reviews of all runs that the journal says were erased: how many events, and whether their log was folded back. It comes
    last, so that what is said in the meantime goes too. Raises JournalError."""
    if reviews_of(folder) is None:
        return 0, True
    with Reviews.open(folder, key) as reviews:
        runs = [run_id for run_id in reviews.reader.run_ids() if journal.run(run_id).started is None]
        if key is None and any(_keys_of_reviews(folder, runs)):
            raise JournalError(f"reviews of {', '.join(runs)} were signed, and their erasure must be", fix=_KEY)
        gone = SampleErased(run_ids=tuple(runs), utc=clock.utc_now(), events=0, crops=0)
        return (reviews.erase(runs, gone) if runs else 0), reviews.fold()


def _keys_of_reviews(folder: Path, run_ids: Iterable[str]) -> list[str]:
    """Of each run the id of the key that its reviews are signed with, "" for none."""
    if reviews_of(folder) is None:
        return []
    with ReviewReader.open(folder) as reader:
        return [reader.signed_with(run_id) for run_id in run_ids]
