"""A dataset in a folder and the same in tars: the same names, the same bytes."""

import tarfile
from pathlib import Path

import pytest
from toy_cells import write_folder, write_tar

from calibration import archive
from edgecell.errors import SettingsError

FILES = {
    "a/cell_10.jpg": b"ten",
    "a/cell_2.JPG": b"two",
    "b/deep/cell_1.png": b"one",
    "b/cell_3.tif": b"three",
}
JUNK = {
    "a/.DS_1.jpg": b"a hidden file",
    "b/.thumbnails/cell_3.jpg": b"in a hidden folder",
    "a/notes.txt": b"no image",
    "a/Thumbs.db": b"no image",
}


def test_folder_and_tar_hold_the_same_images(tmp_path: Path) -> None:
    everything = {**FILES, **JUNK}
    write_folder(everything, tmp_path / "folder" / "set")
    (tmp_path / "tars").mkdir()
    write_tar(everything, tmp_path / "tars" / "set_a.tar", "set")
    expected = {f"set/{name}": content for name, content in FILES.items()}
    assert dict(archive.images(tmp_path / "folder", "set", "set_*.tar")) == expected
    assert dict(archive.images(tmp_path / "tars", "set", "set_*.tar")) == expected


def test_a_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    write_folder(FILES, tmp_path / "set")
    names = [name for name, _ in archive.images(tmp_path, "set", "none.tar")]
    assert names == ["set/a/cell_2.JPG", "set/a/cell_10.jpg", "set/b/cell_3.tif", "set/b/deep/cell_1.png"]


def test_all_matching_tars_are_read_and_other_folders_in_them_are_not(tmp_path: Path) -> None:
    write_tar({"x.jpg": b"x"}, tmp_path / "set_a.tar", "set")
    write_tar({"y.jpg": b"y"}, tmp_path / "set_b.tar", "set")
    write_tar({"z.jpg": b"z"}, tmp_path / "set_c.tar", "settings")
    write_tar({"w.jpg": b"w"}, tmp_path / "other.tar", "set")
    assert list(archive.images(tmp_path, "set", "set_*.tar")) == [("set/x.jpg", b"x"), ("set/y.jpg", b"y")]


def test_a_tar_of_the_current_folder_is_read_too(tmp_path: Path) -> None:
    """`tar cf set.tar ./set` puts `./` before every name, and folders have members of their own."""
    write_folder(FILES, tmp_path / "set")
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(tmp_path / "set", "./set")
    (tmp_path / "set").rename(tmp_path / "elsewhere")
    assert {name for name, _ in archive.images(tmp_path, "set", "set.tar")} == {f"set/{name}" for name in FILES}


def test_the_folder_goes_before_the_tar(tmp_path: Path) -> None:
    write_folder({"x.jpg": b"folder"}, tmp_path / "set")
    write_tar({"x.jpg": b"tar"}, tmp_path / "set.tar", "set")
    assert list(archive.images(tmp_path, "set", "set.tar")) == [("set/x.jpg", b"folder")]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no folder set/ and no set_\*\.tar in .*--data"):
        archive.images(tmp_path, "set", "set_*.tar")
