"""The files of a data set by name, from a folder or straight out of a zip or tar, in any order and without unpacking."""

import tarfile
import zipfile
import zlib
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
    """A folder, a zip or a tar. Raises SettingsError for anything else."""
    if data.is_dir():
        yield _Folder(data)
    elif data.is_file() and tarfile.is_tarfile(data):
        with tarfile.open(data) as tar:
            yield _Tar(tar)
    elif data.is_file() and zipfile.is_zipfile(data):
        with zipfile.ZipFile(data) as archive:
            yield _Zip(archive)
    else:
        fix = "point --data at the data set's folder, zip or tar"
        raise SettingsError(f"{data} is neither a folder nor a zip nor a tar", fix=fix)


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


class _Zip:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        found = (name for name in archive.namelist() if not name.endswith("/"))
        self.names = tuple(sorted(name for name in found if not _hidden(name)))

    def read(self, name: str) -> bytes:
        try:
            return self._archive.read(name)
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError) as error:
            raise SettingsError(f"{name} cannot be read: {error}", fix="fetch the archive again") from error


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
