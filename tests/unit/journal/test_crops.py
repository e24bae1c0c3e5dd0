"""Crops: kept within their room, the oldest going first; erased with their sample."""

import hashlib
import stat
from pathlib import Path

import pytest
from journal_windows import filled

from edgecell.errors import JournalError
from edgecell.journal.crops import FILE, Crop, Crops
from edgecell.journal.erase import erase
from edgecell.journal.journal import Journal
from edgecell.journal.verify import verify


def png(number: int, size: int = 100_000) -> bytes:
    return bytes([number]) * size


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_the_oldest_go_first_when_the_room_is_used_up(tmp_path: Path) -> None:
    with Crops.open(tmp_path, budget_mib=1) as crops:
        for frame in range(30):
            crops.add("run-a", [Crop(frame, 0, png(frame))])
        kept = [frame for frame in range(30) if crops.picture("run-a", frame, 0, sha(png(frame)))]
    assert kept == list(range(kept[0], 30))
    assert 9 <= len(kept) <= 10
    assert (tmp_path / FILE).stat().st_size < 1.6 * 2**20
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_the_room_counts_what_an_earlier_run_left(tmp_path: Path) -> None:
    with Crops.open(tmp_path, budget_mib=1) as crops:
        crops.add("run-a", [Crop(frame, 0, png(frame)) for frame in range(10)])
    with Crops.open(tmp_path, budget_mib=1) as crops:
        crops.add("run-b", [Crop(0, 0, png(99))])
        assert crops.picture("run-a", 0, 0, sha(png(0))) is None
        assert crops.picture("run-b", 0, 0, sha(png(99))) == png(99)


def test_a_picture_that_is_not_the_one_of_the_chain_is_not_given(tmp_path: Path) -> None:
    with Crops.open(tmp_path) as crops:
        crops.add("run-a", [Crop(0, 0, b"one"), Crop(0, 1, b"two")])
        assert crops.picture("run-a", 0, 0, sha(b"two")) is None
        crops.add("run-a", [Crop(0, 0, b"two")])
        assert crops.picture("run-a", 0, 0, sha(b"two")) == b"two"


def test_crops_are_erased_with_their_sample(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal, Crops.open(tmp_path) as crops:
        for run_id, sample in (("run-a", "one"), ("run-b", "two")):
            filled(journal, run_id=run_id, sample_id=sample)
            crops.add(run_id, [Crop(0, cell, f"{sample} picture {cell}".encode()) for cell in range(4)])
    assert erase(tmp_path, "one").crops == 4
    assert verify(tmp_path).broken == ""
    with Crops.open(tmp_path) as crops:
        assert crops.picture("run-a", 0, 0, sha(b"one picture 0")) is None
        assert crops.picture("run-b", 0, 0, sha(b"two picture 0")) == b"two picture 0"
    assert all(b"one picture" not in file.read_bytes() for file in tmp_path.iterdir())


def test_another_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"somebody's notes" * 50)
    with pytest.raises(JournalError, match=r"no journal|damaged"):
        Crops.open(tmp_path)
    assert (tmp_path / FILE).read_bytes() == b"somebody's notes" * 50
