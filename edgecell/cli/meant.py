"""Which run of a journal is meant: commands take the id of one, or `latest`."""

from pathlib import Path

from edgecell.errors import JournalError
from edgecell.journal.reader import Reader

LATEST = "latest"


def run_meant(folder: Path, said: str) -> str:
    """The id of a run, also of the latest one. Raises JournalError where there is none."""
    if said != LATEST:
        return said
    with Reader.open(folder) as reader:
        known = reader.run_ids()
    if not known:
        raise JournalError(f"the journal in {folder} has no run", fix="run edgecell first, or name another --journal")
    return known[-1]
