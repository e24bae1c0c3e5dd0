"""Images of a dataset, read from a folder or straight out of a tar, in a fixed order."""

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from edgecell.errors import SettingsError
from edgecell.imagefile import SUFFIXES, natural


def images(root: Path, top: str, tars: str) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every image below folder `top` of `root`, or below it inside the tars matching the glob `tars`.

    A name starts with `top/`. Hidden files (a stray `.DS_1.jpg`) are passed over. Raises SettingsError when neither the folder
    nor a tar is there.
    """
    found = sorted(root.glob(tars))
    if (root / top).is_dir():
        return _in_folder(root, top)
    if found:
        return _in_tars(found, top)
    raise SettingsError(f"no folder {top}/ and no {tars} in {root}", fix="point --data at the folder that holds the dataset")


def _in_folder(root: Path, top: str) -> Iterator[tuple[str, bytes]]:
    paths = (path for path in (root / top).rglob("*") if path.is_file())
    for path in sorted(paths, key=lambda path: (natural(path.relative_to(root)), path.as_posix())):
        name = path.relative_to(root)
        if _wanted(PurePosixPath(name.as_posix())):
            yield name.as_posix(), path.read_bytes()


def _in_tars(tars: list[Path], top: str) -> Iterator[tuple[str, bytes]]:
    """In the order of the tars, so that each is read once from front to back."""
    for path in tars:
        with tarfile.open(path) as tar:
            for member in tar:
                name = PurePosixPath(member.name)  # drops a leading ./
                handle = tar.extractfile(member) if member.isfile() and name.parts[0] == top and _wanted(name) else None
                if handle is not None:
                    yield name.as_posix(), handle.read()


def _wanted(name: PurePosixPath) -> bool:
    return name.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in name.parts)
