"""Runs with stand-ins all round that keep a journal, for the tests that cut them."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from journal_windows import started
from still_run import Bench, Camera
from tiny_bundle import tiny_manifest

from edgecell.journal.journal import Recorder
from edgecell.journal.reader import Reader
from edgecell.journal.recording import recording
from edgecell.journal.replay import replay
from edgecell.journal.verify import verify
from edgecell.settings import JournalSettings
from edgecell.wire import CountsMessage, to_wire


class Files(Camera):
    """A stand-in source that can start at any frame."""

    def start_at(self, index: int) -> None:
        while self.events and not (getattr(self.events[0], "index", -1) >= index):
            self.events.pop(0)

    def fingerprint(self) -> str:
        return ""


@contextmanager
def recorder(folder: Path, resume: str | None = None, run_id: str = "run-a", **settings: Any) -> Iterator[Recorder]:
    classes = {each.name: each for each in tiny_manifest().classes}
    begun = started(run_id, device_id="d", sample_id="s", classes=classes)
    with recording(JournalSettings(path=str(folder), **settings), begun, resume) as made:
        yield made


def kept(bench: Bench, folder: Path, resume: str | None = None, **settings: Any) -> list[CountsMessage]:
    """Run it with a journal; what was published."""
    with recorder(folder, resume, **settings) as bench.recorder:
        bench.run()
    return bench.counts


def check(folder: Path, *published: CountsMessage) -> None:
    """The journal is whole, its cells give what was published, and it has the messages to the byte."""
    assert verify(folder).broken == ""
    with Reader.open(folder) as reader:
        [run_id] = reader.run_ids()
        found = replay(reader, run_id)
        assert found.differs == ""
        recorded = list(reader.messages(run_id, "counts/1"))
    assert [each.sequence for each in recorded] == list(range(len(recorded)))
    assert [each.payload for each in recorded if each.sequence >= published[0].sequence] == [
        to_wire(each)[1] for each in published
    ]


def crash(folder: Path, left: Path) -> Callable[[], object]:
    """Something to do in a run: what a crash would leave of its folder now."""
    return lambda: shutil.copytree(folder, left, ignore=shutil.ignore_patterns("*.lock"))


def fates(folder: Path) -> list[tuple[int, str, str]]:
    """Index, fate and reason of every frame, in the order in which they were settled."""
    with Reader.open(folder) as reader:
        [run_id] = reader.run_ids()
        each = [fate for _, window in reader.windows(run_id) if window for fate in window.frames]
    return [(fate.first + at, fate.fate, fate.reason) for fate in each for at in range(fate.count)]
