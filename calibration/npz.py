"""Arrays inside an .npz, row by row: an npz is a zip of .npy files, and one row after the other can be read out of it.

Nothing is unpickled, and no array is held whole: 224 px images of a dataset need 2.6 GB, a row of them 150 kB.
"""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edgecell.errors import SettingsError


def shape(path: Path, key: str) -> tuple[int, ...]:
    """Shape of array `key`. Raises as `rows`."""
    with _open(path) as archive, _member(archive, path, key) as stream:
        return _header(stream, path, key)


def rows(path: Path, key: str) -> Iterator[NDArray[np.uint8]]:
    """The uint8 array `key` along its first axis. Each row belongs to the caller.

    Raises SettingsError: no npz, no such array, another type or order of its values, an end that is missing.
    """
    with _open(path) as archive, _member(archive, path, key) as stream:
        count, *rest = _header(stream, path, key)
        size = int(np.prod(rest, dtype=np.int64))
        for number in range(count):
            try:
                content = stream.read(size)
            except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
                raise SettingsError(f"{key} in {path} is damaged at row {number}: {error}", fix="fetch it again") from error
            if len(content) < size:
                raise SettingsError(f"{key} in {path} ends at row {number} of {count}", fix="fetch it again")
            yield np.frombuffer(bytearray(content), np.uint8).reshape(rest)


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise SettingsError(f"{path} cannot be read: {error}", fix="fetch it again") from error


def _member(archive: zipfile.ZipFile, path: Path, key: str) -> IO[bytes]:
    try:
        return archive.open(f"{key}.npy")
    except KeyError:
        found = ", ".join(sorted(name.removesuffix(".npy") for name in archive.namelist()))
        raise SettingsError(f"{path} has no array {key}; it has: {found}", fix="give the file as published") from None


def _header(stream: IO[bytes], path: Path, key: str) -> tuple[int, ...]:
    try:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        found, in_columns, dtype = read(stream)
    except ValueError as error:
        raise SettingsError(f"{key} in {path} is no .npy array: {error}", fix="fetch it again") from error
    if dtype != np.uint8 or in_columns or not found:
        raise SettingsError(f"{key} in {path} is {dtype} {found}, not rows of uint8", fix="give the file as published")
    return tuple(int(side) for side in found)
