"""Labelled cells: a folder with one folder a class, in it images of one centred cell each."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecell.adapt.layer import Labels
from edgecell.bundle import CellClass, sha256_of
from edgecell.errors import FrameCorrupt, SettingsError
from edgecell.imagefile import SUFFIXES, listed, load_image
from edgecell.preprocess import Preprocess, cut
from edgecell.stain import evened

LOG = logging.getLogger("edgecell.adapt")
FEWEST_CELLS, FEWEST_CLASSES = 10, 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labelled:
    """images: N times uint8 (H, W, 3) RGB. labels: (N,) class indices. sha256: of each image file.

    unreadable, copies: files that were left out, damaged ones and those that are the same as another.
    """

    images: tuple[NDArray[np.uint8], ...]
    labels: Labels
    sha256: tuple[str, ...]
    unreadable: tuple[Path, ...]
    copies: tuple[Path, ...]

    def crops(self, spec: Preprocess, pixel_um: float) -> NDArray[np.uint8]:
        """uint8 (N, size_px, size_px, 3): the window in the middle of each image, which has pixel_um um per pixel.

        All are taken for one slide, whose stain is evened out as in a run.
        """
        centres = ((each.shape[1] / 2, each.shape[0] / 2) for each in self.images)
        cuts = (cut(each, at, pixel_um, spec.crop_um, spec.size_px) for each, at in zip(self.images, centres, strict=True))
        return evened(np.stack(list(cuts)), spec)


def labelled_files(folder: Path, classes: tuple[CellClass, ...]) -> list[tuple[int, Path]]:
    """(class index, image file) of all cells below `folder`, in the order of the classes.

    Raises SettingsError: no such folder, no image in it, a folder that is no class, images in no class folder.
    """
    if not folder.is_dir():
        raise SettingsError(f"{folder}: no such folder", fix="give a folder with one folder a class")
    inside = sorted(each for each in folder.iterdir() if not each.name.startswith("."))
    stray = next((each for each in inside if each.is_file() and each.suffix.lower() in SUFFIXES), None)
    if stray is not None:
        raise SettingsError(f"{stray} is in no class folder", fix=f"move it to {folder}/CLASS/, e.g. {classes[0].name}/")
    by_class = sorted((class_of(each.name, classes), each) for each in inside if each.is_dir())
    full = [pair for pair in by_class if any(file.suffix.lower() in SUFFIXES for file in pair[1].rglob("*"))]
    if not full:
        raise SettingsError(f"{folder} holds no labelled cells", fix=f"put images into {folder}/{classes[0].name}/ and so on")
    return [(number, file) for number, each in full for file in listed(each)]


def read_labelled(files: Sequence[tuple[int, Path]], classes: tuple[CellClass, ...]) -> Labelled:
    """The cells of `labelled_files`. Images that cannot be read are reported and left out.

    A copy of an image counts once: held out and fitted at the same time it would flatter the figures. Raises SettingsError: one
    image in two classes, fewer than FEWEST_CELLS cells or FEWEST_CLASSES classes.
    """
    images: dict[str, NDArray[np.uint8]] = {}
    labels: dict[str, int] = {}
    unreadable, copies = [], []
    for number, file in files:
        image = loaded(file)
        if image is None:
            unreadable.append(file)
            continue
        sha256 = sha256_of(file)
        if labels.setdefault(sha256, number) != number:
            other = classes[labels[sha256]].name
            raise SettingsError(f"{file} is also in the folder of {other}", fix="keep it in the right one")
        if sha256 in images:
            copies.append(file)
        images[sha256] = image
    _enough(Counter(labels.values()))
    return Labelled(
        images=tuple(images.values()),
        labels=np.array(list(labels.values()), np.int64),
        sha256=tuple(images),
        unreadable=tuple(unreadable),
        copies=tuple(copies),
    )


def class_of(name: str, classes: tuple[CellClass, ...]) -> int:
    """The class that a folder means, by name or abbreviation, in small or capital letters. Raises SettingsError."""
    known = meanings(classes)
    if name.lower() in known:
        return known[name.lower()]
    close = get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {classes[known[close[0]]].name}? " if close else ""
    names = ", ".join(f"{each.name} ({each.abbreviation})" for each in classes)
    raise SettingsError(f"folder {name!r} is no class of the bundle", fix=f"{hint}name it one of: {names}")


def meanings(classes: tuple[CellClass, ...]) -> Mapping[str, int]:
    """What a folder may be called, in small letters -> class index.

    Names win over abbreviations; an abbreviation of two classes means neither.
    """
    short = Counter(each.abbreviation.lower() for each in classes)
    once = {each.abbreviation.lower(): at for at, each in enumerate(classes) if short[each.abbreviation.lower()] == 1}
    return {**once, **{each.name: at for at, each in enumerate(classes)}}


def loaded(file: Path) -> NDArray[np.uint8] | None:
    """The pixels of an image, None for one that cannot be read, which is reported."""
    try:
        return load_image(file)
    except FrameCorrupt as error:
        LOG.error("left out: %s", error)  # noqa: TRY400 one line, no traceback
        return None


def _enough(cells: Counter[int]) -> None:
    n = cells.total()
    if n < FEWEST_CELLS:
        raise SettingsError(f"{n} labelled cells can be read, which is too few", fix=f"label {FEWEST_CELLS} or better 100")
    if len(cells) < FEWEST_CLASSES:
        raise SettingsError("the labelled cells are of one class only", fix=f"label cells of {FEWEST_CLASSES} classes or more")
