"""The files of a dataset by name, from a folder, a zip or a tar, without unpacking and one in memory at a time.

What is kept is a name a file, and of a zip its table of contents; a tar is read once from front to back, compressed or not.
"""

import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from edgecell.errors import SettingsError
from edgecell.imagefile import SUFFIXES

_DIGITS = re.compile(r"\d+")
Read = Callable[[], bytes]
"""Gives the content of a file; of one in a tar only until the next file is asked for. Raises SettingsError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a dataset may lie: in folder `top`, or below `top` inside archives that match one of the globs `archives`.

    top: "" for archives that are read whole.
    """

    top: str
    archives: tuple[str, ...] = ()


def files(root: Path, places: Sequence[Place]) -> Iterator[tuple[str, Read]]:
    """(name below the place's top, Read) of every file of the first place that is there: its folder before its archives.

    In natural order (cell_2 before cell_10), but those of a tar in its own. Raises SettingsError when no place is there.
    """
    for place in places:
        if place.top and (root / place.top).is_dir():
            return _in_folder(root / place.top, "")
        if found := _archives(root, place):
            return (each for path in found for each in _in_archive(path, place.top))
    wanted = " or ".join(_said(place) for place in places)
    raise SettingsError(f"no {wanted} in {root}", fix="point --data at the folder that holds the dataset")


def junk(name: str) -> str:
    """Why a file is no image of a dataset, "" if it may be one. Hidden: `.DS_1.jpg`, as desktops leave them behind."""
    path = PurePosixPath(name)
    if any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
        return "hidden, or left behind by a desktop"
    return "" if path.suffix.lower() in SUFFIXES else "no image file by its name"


def in_order(name: str) -> str:
    """Sorting key that reads numbers as numbers, as one short text: a dataset has many names."""
    return f"{_DIGITS.sub(_padded, name.lower())} {name}"


def _padded(digits: re.Match[str]) -> str:
    return digits[0].zfill(12)


def _archives(root: Path, place: Place) -> list[Path]:
    return sorted({path for pattern in place.archives for path in root.glob(pattern) if path.is_file()})


def _said(place: Place) -> str:
    return " or ".join([f"{place.top}/"] * bool(place.top) + list(place.archives))


def _in_folder(folder: Path, below: str) -> Iterator[tuple[str, Read]]:
    """One directory's names in memory at a time, and those above it."""
    for path in sorted(folder.iterdir(), key=lambda path: in_order(path.name)):
        if path.is_dir():
            yield from _in_folder(path, f"{below}{path.name}/")
        elif path.is_file():
            yield below + path.name, path.read_bytes


def _in_archive(path: Path, top: str) -> Iterator[tuple[str, Read]]:
    if zipfile.is_zipfile(path):
        return _in_zip(path, top)
    if tarfile.is_tarfile(path):
        return _in_tar(path, top)
    raise SettingsError(f"{path} is neither a zip nor a tar", fix="unpack it, or fetch it again")


def _in_zip(path: Path, top: str) -> Iterator[tuple[str, Read]]:
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist(), key=in_order):
            below = _below(name, top)
            if below and not name.endswith("/"):
                yield below, partial(_from_zip, archive, path, name)


def _from_zip(archive: zipfile.ZipFile, path: Path, name: str) -> bytes:
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise SettingsError(f"{name} in {path} cannot be read: {error}", fix="fetch the archive again") from error


def _in_tar(path: Path, top: str) -> Iterator[tuple[str, Read]]:
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                below = _below(member.name, top)
                if below and member.isfile():
                    yield below, partial(_from_tar, tar, path, member)
                tar.members = []  # type: ignore[attr-defined]  # or it would remember every member to the end
    except (tarfile.TarError, EOFError, OSError) as error:
        raise SettingsError(f"{path} cannot be read to its end: {error}", fix="fetch the archive again") from error


def _from_tar(tar: tarfile.TarFile, path: Path, member: tarfile.TarInfo) -> bytes:
    try:
        handle = tar.extractfile(member)
        return handle.read() if handle else b""
    except (tarfile.TarError, EOFError, OSError) as error:
        raise SettingsError(f"{member.name} in {path} cannot be read: {error}", fix="fetch the archive again") from error


def _below(name: str, top: str) -> str:
    """A member's path below `top`, without a leading `./`; "" if it is not there."""
    path = PurePosixPath(name)
    if top and (not path.parts or path.parts[0] != top):
        return ""
    return path.relative_to(top).as_posix() if top else path.as_posix()
