"""Files of a dataset, read from a folder or straight out of a tar, in a fixed order."""

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from edgecell.errors import SettingsError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Sort key with numbers by value: image 2 before image 10."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part)


def _folder_files(root: Path, top: str) -> Iterator[tuple[str, bytes]]:
    paths = (path for path in (root / top).rglob("*") if path.is_file())
    for path in sorted(paths, key=lambda path: natural(path.relative_to(root).as_posix())):
        yield path.relative_to(root).as_posix(), path.read_bytes()


def _tar_files(tars: list[Path], top: str) -> Iterator[tuple[str, bytes]]:
    for path in tars:
        with tarfile.open(path) as tar:
            for member in tar:
                handle = tar.extractfile(member) if member.isfile() and member.name.startswith(f"{top}/") else None
                if handle is not None:
                    yield member.name, handle.read()


def files(root: Path, top: str, tars: str) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every file below folder `top` of `root`, or below it inside the tars matching the glob `tars`.

    Hidden files (a stray `.DS_1.jpg`) are passed over. Raises SettingsError when neither the folder nor a tar is there.
    """
    found = sorted(root.glob(tars))
    if (root / top).is_dir():
        listing = _folder_files(root, top)
    elif found:
        listing = _tar_files(found, top)
    else:
        raise SettingsError(
            f"no folder {top}/ and no {tars} in {root}", fix="point --data at the folder that holds the dataset"
        )
    return ((name, content) for name, content in listing if not Path(name).name.startswith("."))
