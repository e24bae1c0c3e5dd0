"""How well a segmenter outlines one white cell a picture, against masks drawn by hand.

The layout is that of the set `wbc_masks`: `images/<name>.png` beside `masks/<name>.png`, in a folder or a tar; in a mask the
nucleus is white, the cytoplasm grey and all else black. All pictures are one slide, in the order of their names: a segmenter
that measures the scale on red cells learns it as it goes, unless it is told.

Of the nucleated cells found in a picture the one that overlaps the drawn cell most is compared with it. A cell that was missed
counts with the little that it was overlapped, or 0.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.fields import IOU
from calibration.metrics import Share
from calibration.tree import opened
from edgecell.errors import SettingsError
from edgecell.imagefile import SUFFIXES
from edgecell.messages import NUCLEATED, Cell, Frame
from edgecell.protocols import Segmenter

ROUNDS = 1000
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """One picture, uint8 (H, W, 3) RGB, and where its cell is, bool (H, W), nucleus and cytoplasm."""

    name: str
    image: NDArray[np.uint8]
    cell: Mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """ious: of each picture, in order. pixel_um: the scale as the segmenter had it at the end; None if it did not know it."""

    ious: tuple[float, ...]
    pixel_um: float | None

    @property
    def mean(self) -> float:
        return float(np.mean(self.ious))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of the mean, by a bootstrap over pictures."""
        values = np.array(self.ious)
        picks = np.random.default_rng(0).integers(0, len(values), (ROUNDS, len(values)))
        low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
        return float(low), float(high)

    @property
    def found(self) -> Share:
        """Cells overlapped by IOU or more."""
        return Share(count=sum(iou >= IOU for iou in self.ious), n=len(self.ious))

    def summary(self) -> dict[str, object]:
        """All of it as plain values."""
        hits = [iou for iou in self.ious if iou >= IOU]
        return {
            "n": len(self.ious),
            "mask_iou": self.mean,
            "interval": self.interval,
            "median": float(np.median(self.ious)),
            "found": self.found.summary(),
            "mask_iou_of_found": float(np.mean(hits)) if hits else None,
            "pixel_um": self.pixel_um,
        }

    def __str__(self) -> str:
        low, high = self.interval
        scale = "unknown" if self.pixel_um is None else f"{self.pixel_um:.3f} um per pixel"
        return (
            f"mask IoU {self.mean:.3f} (95 % {low:.3f}-{high:.3f}), median {np.median(self.ious):.3f}, n={len(self.ious)}; "
            f"found at IoU {IOU}: {self.found}; scale at the end {scale}"
        )


def read_drawn(data: Path) -> Iterator[Drawn]:
    """The pictures of a set, sorted by name. Raises SettingsError."""
    with opened(data) as tree:
        images, masks = (_named(tree.names, folder) for folder in ("images", "masks"))
        if not images.keys() & masks.keys():
            raise SettingsError(f"{data} has no images/* with masks/* of the same name", fix="give a set in that layout")
        lost = sorted(images.keys() ^ masks.keys())
        if lost:
            raise SettingsError(f"{data}: {lost[0]} has an image or a mask, not both", fix="unpack the set again")
        for name in sorted(images):
            image = _decoded(tree.read(images[name]), cv2.IMREAD_COLOR_RGB, images[name])
            mask = _decoded(tree.read(masks[name]), cv2.IMREAD_GRAYSCALE, masks[name]) > 0
            if image.shape[:2] != mask.shape:
                raise SettingsError(f"{data}: {masks[name]} has not the size of its image", fix="unpack the set again")
            if not mask.any():
                raise SettingsError(f"{data}: {masks[name]} shows no cell", fix="leave the picture out, or draw its cell")
            yield Drawn(name=name, image=image, cell=mask)


def score(drawn: Iterable[Drawn], make: Callable[[], AbstractContextManager[Segmenter]], told_um: float | None) -> Figures:
    """A segmenter from `make` on the pictures. told_um: micrometres per pixel, None lets it measure them."""
    ious: list[float] = []
    scale: float | None = None
    with make() as segmenter:
        for index, each in enumerate(drawn):
            image = np.ascontiguousarray(each.image)
            image.flags.writeable = False
            frame = Frame(source_id="masks", index=index, captured_ns=0, image=image, pixel_um=told_um, label=each.name)
            seen = segmenter.segment(frame)
            scale = seen.pixel_um
            ious.append(max((overlap(cell, each.cell) for cell in seen.cells if cell.kind == NUCLEATED), default=0.0))
    return Figures(ious=tuple(ious), pixel_um=scale)


def overlap(cell: Cell, drawn: Mask) -> float:
    """Intersection over union of a found cell's mask and a drawn one."""
    x0, y0, x1, y1 = cell.box_px
    found = cell.mask > 0
    both = int((drawn[y0:y1, x0:x1] & found).sum())
    return both / (int(found.sum()) + int(drawn.sum()) - both)


def _named(names: Iterable[str], folder: str) -> dict[str, str]:
    paths = [PurePosixPath(name) for name in names]
    return {path.stem: str(path) for path in paths if path.parent.name == folder and path.suffix.lower() in SUFFIXES}


def _decoded(content: bytes, how: int, name: str) -> NDArray[np.uint8]:
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), how) if content else None
    if decoded is None:
        raise SettingsError(f"{name} is not an image", fix="unpack the set again")
    return decoded.astype(np.uint8, copy=False)
