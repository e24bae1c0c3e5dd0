"""A small labelled set drawn by the phantom, in the two layouts that a laboratory's own cells come in.

    crops/<class>/<field>_<number>.png                         a cell each, in the middle
    fields/images/<field>.jpg  fields/labels/<field>.txt       whole fields with YOLO boxes, names in fields/classes.txt

It shows the way from labelled cells to a bundle. Nothing of it says anything about real cells.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.messages import NUCLEATED
from edgecell.sources.phantom import PhantomSource
from edgecell.sources.phantom.catalogue import DIAMETERS_UM
from edgecell.sources.phantom.options import Options
from edgecell.sources.phantom.truth import TrueCell, truth_of

CROP_PX = 240
CLASSES = tuple(DIAMETERS_UM)
"""By their number in the labels."""
WIDTH, HEIGHT = 960, 720


def options(seed: int, fields: int) -> Options:
    """Of the slide that the fields are seen on."""
    return Options(seed=seed, frames=fields, width=WIDTH, height=HEIGHT)


def write(out: Path, seed: int, fields: int) -> Counter[str]:
    """Draw the set below `out` and say how many cells of each class the labels have."""
    how = options(seed, fields)
    counts: Counter[str] = Counter()
    for folder in ("images", "labels"):
        (out / "fields" / folder).mkdir(parents=True, exist_ok=True)
    (out / "fields" / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    with PhantomSource(how) as source:
        while (frame := source.read(1.0)) is not None:
            name = f"field_{frame.index:03d}"
            cells = truth_of(how, frame.index)
            _save(out / "fields" / "images" / f"{name}.jpg", frame.image)
            (out / "fields" / "labels" / f"{name}.txt").write_text("".join(_line(cell) for cell in cells))
            counts.update(cell.label for cell in cells)
            for number, (cell, crop) in enumerate(_crops(cells, frame.image)):
                (out / "crops" / cell.label).mkdir(parents=True, exist_ok=True)
                _save(out / "crops" / cell.label / f"{name}_{number}.png", crop)
    return counts


def _line(cell: TrueCell) -> str:
    """YOLO's `class x y width height`, in shares of the field."""
    x0, y0, x1, y1 = cell.box_px
    x, y, width, height = (x0 + x1) / 2 / WIDTH, (y0 + y1) / 2 / HEIGHT, (x1 - x0) / WIDTH, (y1 - y0) / HEIGHT
    return f"{CLASSES.index(cell.label)} {x:.6f} {y:.6f} {width:.6f} {height:.6f}\n"


def _crops(cells: tuple[TrueCell, ...], image: NDArray[np.uint8]) -> Iterator[tuple[TrueCell, NDArray[np.uint8]]]:
    """Nucleated cells whose window lies wholly in the field."""
    for cell in cells:
        x0, y0 = (round(at) - CROP_PX // 2 for at in cell.centre_px)
        if cell.kind == NUCLEATED and min(x0, y0) >= 0 and x0 + CROP_PX <= WIDTH and y0 + CROP_PX <= HEIGHT:
            yield cell, image[y0 : y0 + CROP_PX, x0 : x0 + CROP_PX]


def _save(path: Path, image: NDArray[np.uint8]) -> None:
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
