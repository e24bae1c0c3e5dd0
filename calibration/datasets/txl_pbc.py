"""TXL-PBC: whole blood fields from four microscopes with boxes of white cells, red cells and platelets (MIT licence).

What it teaches a cell classifier: what is no cell at all (red-cell clumps, background, stain debris: class `not_a_cell`) and
platelets on four microscopes. Its white cells carry no type, but are at least no platelet and no `not_a_cell`; `TxlWhite` hands
them out with the types that two readers of this project left open (`txl_white.types.tsv`): made by eye, not by
haematologists, good enough to train with and not to score with. Only `train` is read, but for `TxlEmpty`.
"""

import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration import addresses
from calibration.adapter import Adapter, Fault
from calibration.facts import Facts, KnownClass
from calibration.fields import Boxes, Field, read_fields
from calibration.sample import Sample, windowed

WHITE, RED, PLATELET = 0, 1, 2
LEUKOCYTES = ("basophil", "eosinophil", "immature_granulocyte", "lymphocyte", "monocyte", "neutrophil")
RED_CELL_UM = 7.2  # typical diameter of a red cell on a smear
PBC_SIZES = ((360, 363), (363, 360), (366, 369), (369, 366))  # fields that are PBC images, perhaps of PBC's own test split
NOT_CELLS_A_FIELD, PLATELETS_A_FIELD = 3, 2


TYPES = Path(__file__).with_name("txl_white.types.tsv")

_LINEAGES = ("granulocytic", "granulocytic", "granulocytic", "lymphoid", "monocytic", "granulocytic")
_PLATELET = KnownClass(name="platelet", abbreviation="Platelet", folder="2", group="platelet", lineage="megakaryocytic")
_NOT_A_CELL = KnownClass(name="not_a_cell", abbreviation="", folder="", group="reject")
_WHITE = tuple(
    KnownClass(name=name, abbreviation="", folder="0", group="leukocyte", lineage=lineage)
    for name, lineage in zip(LEUKOCYTES, _LINEAGES, strict=True)
)
FACTS = Facts(
    title="TXL-PBC",
    licence="MIT",
    citation="TXL-PBC: a freely accessible labeled peripheral blood cell dataset (Gan et al. 2024)",
    page="https://github.com/lugan113/TXL-PBC_Dataset",
    files=addresses.TXL_PBC,
    pixel_um_source="assumed: each field's own red cells are 7.2 um across",
    grouped_by="field",
    alike=0.85,  # it has its fields squashed, turned and recoloured; two others do not look that much alike
    classes=(_PLATELET, _NOT_A_CELL),
)


class TxlPbc(Adapter):
    """Adapter of the TXL-PBC dataset, as windows cut from its fields: what is no cell, and platelets."""

    facts = FACTS

    def scan(self, root: Path) -> Iterator[Sample | Fault]:
        """Samples named `<field>/<kind><number>`, all from the `train` folder."""
        return (sample for sample in _all_windows(root) if "/white" not in sample.name)

    def whole(self, root: Path) -> Iterator[Sample]:
        return _fields(root, "train")


class TxlWhite(Adapter):
    """The white cells of TXL-PBC's fields that are no PBC images."""

    facts = replace(FACTS, citation="TXL-PBC (Gan et al. 2024), types narrowed down by eye in this project", classes=_WHITE)

    def scan(self, root: Path) -> Iterator[Sample | Fault]:
        """Samples named `<field>/white<number>`, labelled with the types left open; those of no use left out."""
        types = dict(line.split("\t") for line in TYPES.read_text().splitlines())
        for sample in _all_windows(root):
            if "/white" in sample.name:
                labels = tuple(types.get(sample.name, ",".join(LEUKOCYTES)).split(","))
                yield replace(sample, labels=labels)

    def whole(self, root: Path) -> Iterator[Sample]:
        return _fields(root, "train")


class TxlEmpty(Adapter):
    """Held aside from all training: windows of the `val` fields that show no white cell and no platelet in their middle."""

    facts = replace(FACTS, classes=(_NOT_A_CELL,))

    def scan(self, root: Path) -> Iterator[Sample | Fault]:
        """Samples named `<field>/not_a_cell<number>`."""
        return (sample for sample in _all_windows(root, "val") if "/not_a_cell" in sample.name)

    def whole(self, root: Path) -> Iterator[Sample]:
        return _fields(root, "val")


def _all_windows(root: Path, folder: str = "train") -> Iterator[Sample]:
    for field in read_fields(_place(root), folder):
        yield from _windows(field)


def _fields(root: Path, folder: str) -> Iterator[Sample]:
    """The fields themselves, which the split files list."""
    for field in read_fields(_place(root), folder):
        yield Sample(name=field.name, labels=(), content=field.image, pixel_um=None, slide=field.source)


def _place(root: Path) -> Path:
    found = sorted((*root.glob("txl_pbc*.tar"), *root.glob("txl_pbc*.zip")))
    return found[0] if found else root / "txl_pbc"


def square_pixels(field: Field) -> tuple[NDArray[np.uint8], Boxes, float] | None:
    """Image and boxes with square pixels and their um per pixel, from the field's own red-cell boxes; None with under five.

    Some fields were squashed to 416x416, so the two axes are measured apart.
    """
    height, width = field.image.shape[:2]
    size = np.array([width, height], np.float64)
    whole = _inside(field.boxes, size) & (field.kinds == RED)
    if whole.sum() < 5:
        return None
    across, down = np.median(field.boxes[whole, 2:] - field.boxes[whole, :2], axis=0)
    if (width, height) != (416, 416):
        return field.image, field.boxes, RED_CELL_UM / float(np.sqrt(across * down))
    stretch = np.maximum(1.0, np.array([down / across, across / down]))
    wide, high = np.round(size * stretch).astype(int).tolist()
    image = cv2.resize(field.image, (wide, high)).astype(np.uint8, copy=False)
    return image, field.boxes * np.tile(stretch, 2), RED_CELL_UM / float(max(across, down))


def _inside(boxes: Boxes, size: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(((boxes[:, :2] > 2) & (boxes[:, 2:] < size - 2)).all(axis=1), np.bool_)


def _windows(field: Field) -> Iterator[Sample]:
    square = square_pixels(field)
    if square is None:
        return
    image, boxes, pixel_um = square
    size = np.array([image.shape[1], image.shape[0]], np.float64)
    centres, halves = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    rng = np.random.default_rng(zlib.crc32(field.name.encode()))
    inner = _inside(boxes, size)
    for number in np.flatnonzero(inner & (field.kinds == WHITE)):
        if field.image.shape[:2] not in PBC_SIZES:
            yield windowed(f"{field.name}/white{number}", LEUKOCYTES, image, centres[number].tolist(), pixel_um, field.source)
    platelets = np.flatnonzero(inner & (field.kinds == PLATELET))
    for number in rng.permutation(platelets)[:PLATELETS_A_FIELD]:
        yield windowed(f"{field.name}/platelet{number}", ("platelet",), image, centres[number].tolist(), pixel_um, field.source)
    for place, centre in enumerate(_empty_places(rng, field.kinds, centres, halves, size, 1.5 / pixel_um)):
        yield windowed(f"{field.name}/not_a_cell{place}", ("not_a_cell",), image, centre.tolist(), pixel_um, field.source)


def _empty_places(
    rng: np.random.Generator,
    kinds: NDArray[np.int64],
    centres: NDArray[np.float64],
    halves: NDArray[np.float64],
    size: NDArray[np.float64],
    margin_px: float,
) -> list[NDArray[np.float64]]:
    """Places whose middle lies in no white cell and no platelet: one of them on a red cell, the others anywhere."""
    reds = rng.permutation(centres[kinds == RED])[:1]
    anywhere = rng.uniform(0.1, 0.9, (NOT_CELLS_A_FIELD * 2, 2)) * size
    taken = kinds != RED
    free = [
        place
        for place in np.concatenate([reds, anywhere])
        if not (np.abs(place - centres[taken]) < halves[taken] + margin_px).all(axis=1).any()
    ]
    return free[:NOT_CELLS_A_FIELD]
