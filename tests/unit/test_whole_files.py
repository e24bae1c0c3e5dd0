"""Files that are there whole or not at all."""

from pathlib import Path

import pytest

from edgecell.files import partial, write_whole


def test_a_reader_meets_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.plan"
    write_whole(path, b"the old one")
    with path.open("rb", buffering=0) as reader:
        assert reader.read(4) == b"the "
        write_whole(path, memoryview(b"another"))
        assert reader.read() == b"old one", "the open file was written into"
    assert path.read_bytes() == b"another"
    assert [each.name for each in tmp_path.iterdir()] == ["a.plan"]


def test_a_write_that_stops_halfway_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.plan"
    write_whole(path, b"the old one")
    partial(path).mkdir()
    with pytest.raises(OSError, match=r"a\.plan"):
        write_whole(path, b"another")
    assert path.read_bytes() == b"the old one"
