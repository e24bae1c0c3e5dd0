"""A file is whole or not there."""

from pathlib import Path
from typing import Any

import pytest

from calibration.files import write_whole


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"old")
    no_bytes: Any = 7
    with pytest.raises(TypeError):
        write_whole(tmp_path / "file", no_bytes)
    assert (tmp_path / "file").read_bytes() == b"old"
    write_whole(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "nothing else is left"
