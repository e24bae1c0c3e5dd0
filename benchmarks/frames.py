"""What is measured on: folders of real mosaics (see `benchmarks.mosaic`), or frames drawn by the phantom.

A phantom slide has about as many nucleated cells as a smear has. Frames of exactly so many are laid out of pieces of it, one
nucleated cell in the middle of each, the rest from places without any; the seams cut red cells, which costs nothing to find.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.clock import monotonic_ns
from edgecell.imagefile import listed, load_image
from edgecell.messages import NUCLEATED, Frame
from edgecell.sources.phantom import PhantomSource
from edgecell.sources.phantom.options import Options
from edgecell.sources.phantom.truth import truth_of

Image = NDArray[np.uint8]
PIECE_UM = 20.0
"""Side of a piece: the window that the classifier sees."""
SLIDE_PX = (1920, 1200)
PIECES = 30
"""Different ones of each sort."""


def read(folder: Path) -> list[Image]:
    """All images of a folder. Raises EdgecellError."""
    return [load_image(file) for file in listed(folder)]


def drawn(count: int, size_px: tuple[int, int], seed: int = 7, pixel_um: float = 0.1) -> list[Image]:
    """Frames of a phantom slide, size (width, height)."""
    options = Options(seed=seed, width=size_px[0], height=size_px[1], pixel_um=pixel_um, frames=count)
    with PhantomSource(options) as source:
        return [frame.image for frame in iter(lambda: source.read(10.0), None)]


def laid(nucleated: int, size_px: tuple[int, int], pixel_um: float, seed: int = 7) -> Image:
    """One frame with so many nucleated cells, spread evenly over it. ValueError where it has no room for them."""
    side = round(PIECE_UM / pixel_um)
    columns, rows = size_px[0] // side, size_px[1] // side
    if nucleated > columns * rows:
        raise ValueError(f"{size_px[0]}x{size_px[1]} px of {pixel_um} um has room for {columns * rows} cells, not {nucleated}")
    chosen = set(np.linspace(0, columns * rows - 1, nucleated).round().astype(int).tolist())
    pieces = {kind: cycle(_pieces(side, pixel_um, seed, nucleated=kind)) for kind in (True, False)}
    image = cv2.resize(next(pieces[False]), size_px, interpolation=cv2.INTER_NEAREST)
    for place in range(columns * rows):
        y, x = side * (place // columns), side * (place % columns)
        image[y : y + side, x : x + side] = next(pieces[place in chosen])
    return image.astype(np.uint8, copy=False)


def as_frame(image: Image, index: int) -> Frame:
    return Frame(source_id="benchmark", index=index, captured_ns=monotonic_ns(), image=image)


@lru_cache
def _pieces(side: int, pixel_um: float, seed: int, *, nucleated: bool) -> list[Image]:
    """PIECES squares of a phantom slide: with one nucleated cell, in the middle, or with none near."""
    return [piece.copy() for piece in islice(_found(side, pixel_um, seed, nucleated=nucleated), PIECES)]


def _found(side: int, pixel_um: float, seed: int, *, nucleated: bool) -> Iterator[Image]:
    options = Options(seed=seed, width=SLIDE_PX[0], height=SLIDE_PX[1], pixel_um=pixel_um)
    with PhantomSource(options) as source:
        while frame := source.read(10.0):
            cells = truth_of(options, frame.index)
            centres = np.array([cell.centre_px for cell in cells if cell.kind == NUCLEATED]).reshape(-1, 2)
            for x, y in centres.tolist() if nucleated else _grid(side):
                near = np.abs(centres - (x, y)).max(axis=1, initial=0) < side
                inside = side / 2 <= x <= SLIDE_PX[0] - side / 2 and side / 2 <= y <= SLIDE_PX[1] - side / 2
                if inside and near.sum() == nucleated:
                    left, top = int(x - side / 2), int(y - side / 2)
                    yield frame.image[top : top + side, left : left + side]


def _grid(side: int) -> Iterator[tuple[float, float]]:
    for y in range(side // 2, SLIDE_PX[1] - side // 2, side):
        for x in range(side // 2, SLIDE_PX[0] - side // 2, side):
            yield float(x), float(y)
