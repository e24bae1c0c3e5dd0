"""A disk that is full: nothing half-written, the same window again once there is room, and no new run before that."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from journal_windows import filled, started, window

from edgecell.errors import JournalBlocked, JournalError
from edgecell.journal import disk
from edgecell.journal.events import Window
from edgecell.journal.journal import Journal
from edgecell.journal.reader import Reader, State
from edgecell.journal.replay import replay
from edgecell.journal.verify import verify

STATE = State(body=os.urandom(20_000))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("only root may mount a small disk")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(journal: Journal) -> Window:
    """Windows until one does not go in; that one."""
    journal.append(started())
    for sequence in range(2000):
        one = window(sequence)
        try:
            journal.append(one, state=STATE)
        except JournalBlocked:
            return one
    raise AssertionError("the disk is never full")


def check(folder: Path, windows: int) -> None:
    """Whole, and every window that was taken is there once."""
    assert verify(folder).broken == ""
    with Reader.open(folder) as reader:
        found = replay(reader, "run-a")
        assert (found.windows, found.differs) == (windows, "")
        assert reader.run("run-a").windows == windows


def test_a_disk_that_runs_full_takes_the_window_whole_or_not_at_all(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(500_000))
    with Journal.open(small_disk / "journal") as journal:
        refused = fill(journal)
        assert refused.sequence > 5
        with pytest.raises(JournalBlocked, match=r"cannot be written: .*full.* df -h"):
            journal.append(refused, state=STATE)
        check(small_disk / "journal", refused.sequence)
        ballast.unlink()
        journal.append(refused, state=STATE)
        journal.append(window(refused.sequence + 1), state=STATE)
    check(small_disk / "journal", refused.sequence + 2)
    with Journal.open(small_disk / "journal") as journal:
        assert journal.reader.state("run-a") == STATE


def test_a_journal_left_full_opens_again(small_disk: Path) -> None:
    with Journal.open(small_disk / "journal") as journal:
        refused = fill(journal)
    check(small_disk / "journal", refused.sequence)
    with pytest.raises(JournalError, match=r"\d MiB left, and a run needs"):
        disk.check_run(small_disk / "journal")


def test_no_journal_is_begun_on_a_full_disk(small_disk: Path) -> None:
    ballast = os.open(small_disk / "ballast", os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        while os.write(ballast, bytes(4096)):
            pass
    os.close(ballast)
    assert shutil.disk_usage(small_disk).free == 0
    with pytest.raises(JournalError):
        Journal.open(small_disk / "journal")


def test_a_file_that_may_not_grow_is_as_a_full_disk(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        filled(journal)
        [(pages,)] = journal._connection.execute("PRAGMA page_count").fetchall()
        journal._connection.execute(f"PRAGMA max_page_count = {pages}")
        before = journal.reader.last()
        journal_full = started("run-b", settings={"ballast": os.urandom(9000).hex()})
        with pytest.raises(JournalBlocked, match="full"):
            journal.append(journal_full)
        assert journal.reader.last() == before
        journal._connection.execute("PRAGMA max_page_count = 100000")
        journal.append(journal_full)
    assert verify(tmp_path).broken == ""


@pytest.mark.parametrize(
    ("free_mib", "room", "warns"),
    [(50_000, "enough", False), (2000, "little", True), (900, "no_crops", True), (100, "no_run", True)],
)
def test_less_room_stops_crops_then_new_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_mib: int, room: str, warns: bool
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free_mib << 20))
    assert disk.room(tmp_path) == (room, free_mib)
    assert bool(disk.warning(tmp_path)) == warns
    if room == "no_run":
        with pytest.raises(JournalError, match=r"100 MiB left, and a run needs 128\. Fix: free space \(erasing .* none"):
            disk.check_run(tmp_path)
    else:
        disk.check_run(tmp_path)
    assert ("no crops" in disk.warning(tmp_path)) == (room in ("no_crops", "no_run"))
