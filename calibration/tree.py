"""The files of a data set by name, from a folder or straight out of a tar, in any order and without unpacking."""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from edgecell.errors import SettingsError


class Tree(Protocol):
    """names: of all files, relative to the top, with `/`. Hidden files and what lies in hidden folders are left out."""

    names: tuple[str, ...]

    def read(self, name: str) -> bytes: ...


@contextmanager
def opened(data: Path) -> Iterator[Tree]:
    """A folder or a tar. Raises SettingsError for anything else."""
    if data.is_dir():
        yield _Folder(data)
    elif data.is_file() and tarfile.is_tarfile(data):
        with tarfile.open(data) as tar:
            yield _Tar(tar)
    else:
        raise SettingsError(f"{data} is neither a folder nor a tar", fix="point --data at the data set's folder or tar")


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root
        found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        self.names = tuple(sorted(name for name in found if not _hidden(name)))

    def read(self, name: str) -> bytes:
        return (self._root / name).read_bytes()


class _Tar:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._members = {member.name.removeprefix("./"): member for member in tar if member.isfile()}
        self.names = tuple(sorted(name for name in self._members if not _hidden(name)))

    def read(self, name: str) -> bytes:
        stream = self._tar.extractfile(self._members[name])
        return stream.read() if stream else b""


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
