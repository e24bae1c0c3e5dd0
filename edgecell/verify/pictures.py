"""What two engines are compared on: a bundle's golden pictures, or the images of a folder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecell.adapt.labelled import loaded, meanings
from edgecell.bundle import Bundle
from edgecell.errors import SourceUnavailable
from edgecell.golden import GOLDEN, read_golden
from edgecell.imagefile import listed, load_image
from edgecell.preprocess import cut
from edgecell.stain import evened

UNLABELLED = -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """Crops uint8 (N, S, S, 3), what each is called, and the class that one of its folders names, or UNLABELLED."""

    names: tuple[str, ...]
    crops: NDArray[np.uint8]
    labels: NDArray[np.int64]
    unreadable: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fields:
    """Whole fields: golden ones, uint8 (N, H, W, 3), or files, which are large and so read each time. pixel_um: None is to be
    measured."""

    names: tuple[str, ...]
    golden: NDArray[np.uint8] | None
    files: tuple[Path, ...]
    pixel_um: float | None
    unreadable: int = 0

    def images(self) -> Iterator[NDArray[np.uint8]]:
        """Pixels (H, W, 3) of each."""
        if self.golden is not None:
            yield from self.golden
        for file in self.files:
            yield load_image(file)


def golden_of(bundle: Bundle) -> Cells | Fields:
    """The bundle's golden cells, or fields of a segmenter's. Raises BundleCorrupt."""
    pictures = read_golden(bundle.file(GOLDEN), "float").crops
    spec = bundle.manifest.preprocess
    if bundle.manifest.task == "segment":
        names = tuple(f"golden field {at}" for at in range(len(pictures)))
        return Fields(names=names, golden=pictures, files=(), pixel_um=spec.crop_um / spec.size_px)
    names = tuple(f"golden cell {at}" for at in range(len(pictures)))
    return Cells(names=names, crops=pictures, labels=np.full(len(pictures), UNLABELLED))


def read_folder(bundle: Bundle, folder: Path, pixel_um: float | None) -> Cells | Fields:
    """Images of one centred cell each, or fields for a segmenter, in the folder and below.

    pixel_um: their micrometres per pixel; None is for cells the scale of the bundle's dataset, for fields to be measured. All
    cells are taken for one slide, whose stain is evened out as in a run. Raises SourceUnavailable when there is none.
    """
    files = listed(folder)
    if bundle.manifest.task == "segment":
        readable = tuple(file for file in files if loaded(file) is not None)
        made: Cells | Fields = Fields(
            names=tuple(map(str, readable)),
            golden=None,
            files=readable,
            pixel_um=pixel_um,
            unreadable=len(files) - len(readable),
        )
    else:
        made = _cells(bundle, folder, files, pixel_um)
    if made.unreadable == len(files):
        raise SourceUnavailable(f"{folder}: no image could be read", fix="see the lines above, one an image")
    return made


def _cells(bundle: Bundle, folder: Path, files: Sequence[Path], pixel_um: float | None) -> Cells:
    spec, known = bundle.manifest.preprocess, meanings(bundle.manifest.classes)
    names, crops, labels = [], [], []
    for file in files:
        image = loaded(file)
        if image is None:
            continue
        middle = image.shape[1] / 2, image.shape[0] / 2
        names.append(str(file))
        crops.append(cut(image, middle, pixel_um or spec.pixel_um, spec.crop_um, spec.size_px))
        folders = file.parent.relative_to(folder).parts if folder.is_dir() else ()
        labels.append(next((known[each.lower()] for each in folders if each.lower() in known), UNLABELLED))
    return Cells(
        names=tuple(names),
        crops=evened(np.stack(crops), spec) if crops else np.zeros((0, spec.size_px, spec.size_px, 3), np.uint8),
        labels=np.array(labels, np.int64),
        unreadable=len(files) - len(crops),
    )
