"""Golden inputs: crops and fields of the phantom slide, so that no real image is ever in a bundle."""

import numpy as np
from numpy.typing import NDArray

from edgecell.halves import Halves
from edgecell.messages import NUCLEATED
from edgecell.preprocess import Preprocess, cut, resized
from edgecell.sources.phantom import PhantomSource
from edgecell.sources.phantom.truth import truth_of

SEED, FRAMES = 20240607, 80  # a slide that no demo shows
FIELDS = 3


def draw(spec: Preprocess, each: int = 6) -> NDArray[np.uint8]:
    """Up to `each` crops, uint8 (n, size_px, size_px, 3), of every kind of cell and platelet that the phantom draws."""
    options = PhantomSource.Options(seed=SEED, frames=FRAMES)
    taken: dict[str, list[NDArray[np.uint8]]] = {}
    with PhantomSource(options) as source:
        while (frame := source.read(1.0)) is not None:
            for cell in truth_of(options, frame.index):
                some = taken.setdefault(cell.label, [])
                if len(some) < each and cell.wholly_inside and (cell.kind == NUCLEATED or cell.label == "platelet"):
                    some.append(cut(frame.image, cell.centre_px, options.pixel_um, spec.crop_um, spec.size_px))
    return np.stack([crop for label in sorted(taken) for crop in taken[label]])


def fields(work_um: float, side_px: int) -> NDArray[np.uint8]:
    """Whole fields at work_um per pixel, uint8 (n, side_px, side_px, 3), from the upper left corner of a few frames."""
    options = PhantomSource.Options(seed=SEED, frames=FIELDS)
    side = round(side_px * work_um / options.pixel_um)
    taken = []
    with PhantomSource(options) as source:
        while (frame := source.read(1.0)) is not None:
            taken.append(resized(Halves(frame.image[:side, :side]), (side_px, side_px)))
    return np.stack(taken)
