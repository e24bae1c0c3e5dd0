"""Erasing a sample: the contents of its runs go, its crops too; their entries stay, so that the chain still holds.

SQLite overwrites what it deletes (secure_delete), and its log is folded back. What a file system, a flash disk's wear levelling
or a copy elsewhere may still hold is beyond its reach.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from edgecell import clock
from edgecell.errors import JournalError
from edgecell.journal.chain import Key
from edgecell.journal.crops import Crops
from edgecell.journal.events import SampleErased
from edgecell.journal.journal import Journal, held


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What is gone. complete: False where a reader kept the log from being folded back; erase again when it has left."""

    runs: tuple[str, ...]
    events: int
    crops: int
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
            journal.fold()  # what an earlier call could not, since someone was reading
            fix = "list the samples: edgecell journal show"
            raise JournalError(f"{folder} has no run of sample {sample_id!r}", fix=fix)
        signed = next((run.key for run in summaries if run.run_id in runs and run.key), "")
        if signed and key is None:
            fix = "give the device's private key: --key NAME.signing.key"
            raise JournalError(f"sample {sample_id!r} was signed with key {signed}, and its erasure must be", fix=fix)
        crops = 0
        if Crops.there(folder):  # first: a crash in between must leave the runs to be found again
            with Crops.open(folder) as store:
                crops = store.erase(runs)
        events = journal.erase(runs, SampleErased(run_ids=runs, utc=clock.utc_now(), events=0, crops=crops))
        return Erased(runs=runs, events=events, crops=crops, complete=journal.fold())
