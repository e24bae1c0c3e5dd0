"""A dataset in a folder, a zip or tars: the same names, the same bytes, and little memory for many."""

import gzip
import lzma
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest
from toy_cells import write_folder, write_tar

from calibration import archive
from calibration.archive import Place
from edgecell.errors import SettingsError

FILES = {
    "a/cell_2.JPG": b"two",
    "a/cell_10.jpg": b"ten",
    "b/cell_3.tif": b"three",
    "b/deep/cell_1.png": b"one",
}
PLACES = (Place(top="set", archives=("set_*.tar", "set.tar*", "set*.zip")),)
NAMES_OF_MLL = 171_375


def write_zip(files: Mapping[str, bytes], path: Path, top: str = "set") -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.mkdir(top) if hasattr(made, "mkdir") else made.writestr(f"{top}/", b"")
        for name, content in files.items():
            made.writestr(f"{top}/{name}", content)


def read(root: Path) -> list[tuple[str, bytes]]:
    return [(name, content()) for name, content in archive.files(root, PLACES)]


def test_folder_zip_and_tar_hold_the_same_files(tmp_path: Path) -> None:
    shuffled = dict(reversed(FILES.items()))
    for kind in ("folder", "zip", "tars"):
        (tmp_path / kind).mkdir()
    write_folder(shuffled, tmp_path / "folder" / "set")
    write_zip(shuffled, tmp_path / "zip" / "set.zip")
    write_tar(FILES, tmp_path / "tars" / "set_a.tar", "set")
    for kind in ("folder", "zip", "tars"):
        assert read(tmp_path / kind) == list(FILES.items()), kind


@pytest.mark.parametrize("compression", ["gz", "xz"])
def test_a_compressed_tar_is_read_too(compression: str, tmp_path: Path) -> None:
    write_folder(FILES, tmp_path / "here" / "set")
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(tmp_path / "here" / "set", "./set")
    plain = (tmp_path / "set.tar").read_bytes()
    (tmp_path / "set.tar").unlink()
    (tmp_path / f"set.tar.{compression}").write_bytes({"gz": gzip, "xz": lzma}[compression].compress(plain))
    assert dict(read(tmp_path)) == FILES


def test_all_matching_archives_are_read_and_other_folders_in_them_are_not(tmp_path: Path) -> None:
    write_tar({"x.jpg": b"x"}, tmp_path / "set_a.tar", "set")
    write_tar({"y.jpg": b"y"}, tmp_path / "set_b.tar", "set")
    write_tar({"z.jpg": b"z"}, tmp_path / "set_c.tar", "settings")
    write_tar({"w.jpg": b"w"}, tmp_path / "other.tar", "set")
    assert read(tmp_path) == [("x.jpg", b"x"), ("y.jpg", b"y")]


def test_an_archive_may_be_read_whole(tmp_path: Path) -> None:
    write_zip(FILES, tmp_path / "set.zip", "whatever")
    found = [name for name, _ in archive.files(tmp_path, [Place(top="", archives=("set.zip",))])]
    assert found == [f"whatever/{name}" for name in FILES]


def test_the_folder_goes_before_its_archive_and_the_first_place_before_the_second(tmp_path: Path) -> None:
    write_folder({"x.jpg": b"folder"}, tmp_path / "set")
    write_tar({"x.jpg": b"tar"}, tmp_path / "set_a.tar", "set")
    assert read(tmp_path) == [("x.jpg", b"folder")]
    write_folder({"x.jpg": b"other"}, tmp_path / "other")
    [(_, content)] = archive.files(tmp_path, [Place(top="other"), *PLACES])
    assert content() == b"other"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no set/ or set_\*\.tar or .* in .*--data"):
        archive.files(tmp_path, PLACES)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a/.DS_1.jpg", "hidden"),
        ("b/.thumbnails/cell_3.jpg", "hidden"),
        ("__MACOSX/set/cell_3.jpg", "desktop"),
        ("a/notes.txt", "no image"),
        ("a/Thumbs.db", "no image"),
    ],
)
def test_junk_is_told_from_images(name: str, why: str) -> None:
    assert why in archive.junk(name)
    assert not any(archive.junk(each) for each in FILES)


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(b"no archive")
    with pytest.raises(SettingsError, match=r"set\.zip is neither a zip nor a tar"):
        read(tmp_path)
    write_zip({"cell.jpg": bytes(5000)}, tmp_path / "set.zip")
    content = bytearray((tmp_path / "set.zip").read_bytes())
    at = content.index(b"set/cell.jpg") + len(b"set/cell.jpg")
    content[at : at + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "set.zip").write_bytes(content)
    with pytest.raises(SettingsError, match=r"cell\.jpg in .*set\.zip cannot be read"):
        read(tmp_path)


def test_a_tar_without_its_end_is_named(tmp_path: Path) -> None:
    write_tar({f"{number}.jpg": bytes(20_000) for number in range(5)}, tmp_path / "set_a.tar", "set")
    whole = (tmp_path / "set_a.tar").read_bytes()
    (tmp_path / "set_a.tar").write_bytes(whole[:50_000])
    with pytest.raises(SettingsError, match=r"set/2\.jpg in .*set_a\.tar cannot be read: unexpected end"):
        read(tmp_path)


# As many names as the largest dataset has


class Listing:
    """Stands in for a folder on disk that holds `inside`, made as it is asked for; without any, for a file."""

    def __init__(self, name: str, inside: Callable[[], Iterator["Listing"]] | None = None) -> None:
        self.name, self._inside = name, inside

    def iterdir(self) -> Iterator["Listing"]:
        assert self._inside is not None
        return self._inside()

    def is_dir(self) -> bool:
        return self._inside is not None

    def is_file(self) -> bool:
        return self._inside is None

    def read_bytes(self) -> bytes:
        return b""


def thousand(first: int) -> Listing:
    last = min(first + 1000, NAMES_OF_MLL)
    return Listing(f"{first + 1:04}-{last}", lambda: (Listing(f"NGS_{number:05}.jpg") for number in range(first, last)))


def test_171375_names_need_the_memory_of_one_folder_of_them() -> None:
    top = Listing("set", lambda: (thousand(first) for first in range(0, NAMES_OF_MLL, 1000)))
    tracemalloc.start()
    try:
        count = sum(1 for _ in archive._in_folder(cast(Path, top), ""))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == NAMES_OF_MLL
    assert peak < 2_000_000


def peak_of_tar(path: Path, count: int) -> int:
    with path.open("wb") as tar:
        for number in range(count):
            tar.write(tarfile.TarInfo(f"set/{number}.jpg").tobuf(tarfile.USTAR_FORMAT))
        tar.write(bytes(1024))
    tracemalloc.start()
    try:
        assert sum(1 for _ in archive.files(path.parent, PLACES)) == count
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_tar_of_more_names_needs_no_more_memory(tmp_path: Path) -> None:
    """tarfile remembers its members, 1 kB each; here they are forgotten."""
    few, many = (peak_of_tar(tmp_path / "set_a.tar", count) for count in (100, 1000))
    assert many < few + 100_000
