"""The slides of an archive: which images belong together, and in which order."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgecell.cli.count import OVERLAY_SUFFIX
from edgecell.errors import SourceUnavailable
from edgecell.imagefile import SUFFIXES, natural

TOP = "."
"""Name of the slide whose images lie in the archive's own folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slide:
    """name: its folder (or file), relative to the archive. files: its images, relative too, in the order of reading."""

    name: str
    files: tuple[str, ...]


def slides(root: Path, *, of_file: bool) -> Iterator[Slide]:
    """The slides below a folder in natural order, one folder's names in memory at a time. A folder's own images are one slide;
    of_file: each image is one. Raises SourceUnavailable for a folder that cannot be read.

    Hidden files and folders, pictures that `edgecell count --overlay` drew and links to folders are left out.
    """
    for slide in _below(root, TOP):
        if of_file:
            yield from (Slide(name=file, files=(file,)) for file in slide.files)
        else:
            yield slide


def _below(root: Path, folder: str) -> Iterator[Slide]:
    try:
        with os.scandir(root / folder) as found:
            entries = [entry for entry in found if not entry.name.startswith(".")]
    except OSError as error:
        raise SourceUnavailable(f"{root / folder}: {error.strerror}", fix="check the path and its permissions") from None
    entries.sort(key=lambda entry: (natural(Path(entry.name)), entry.name))
    files = tuple(_joined(folder, entry.name) for entry in entries if _is_image(entry))
    if files:
        yield Slide(name=folder, files=files)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _below(root, _joined(folder, entry.name))


def _is_image(entry: "os.DirEntry[str]") -> bool:
    name = entry.name
    return Path(name).suffix.lower() in SUFFIXES and not name.endswith(OVERLAY_SUFFIX) and entry.is_file()


def _joined(folder: str, name: str) -> str:
    return name if folder == TOP else f"{folder}/{name}"
