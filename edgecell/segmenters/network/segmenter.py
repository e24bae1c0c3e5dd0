"""The part `network`: frame in, cells out."""

from collections.abc import Iterator
from types import TracebackType
from typing import Annotated, ClassVar

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from edgecell.bundle import Bundle
from edgecell.edge import excluded
from edgecell.messages import Cell, Frame, Segmentation
from edgecell.optics.scale import LEAST_CELLS, RED_CELL_UM, SAME_OPTICS, PixelScale, Scale
from edgecell.protocols import Engine, Memory, Probe
from edgecell.segmenters.network.decode import INSIDE, owners
from edgecell.segmenters.network.look import Look, Network, tempered
from edgecell.segmenters.network.ruler import first_look, round_red_cells

UNDECIDED = 2.0
"""Above every score. At an unknown scale a platelet may be a nucleated cell that is far away, so no kind is decided."""


class NetworkOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """model: name of a shipped bundle of task "segment", or a folder. pixel_um: micrometres per pixel if known; None measures
    it on the red cells of the run."""

    model: str = "cells3"
    pixel_um: Annotated[float, msgspec.Meta(ge=0.01, le=2)] | None = None


class NetworkSegmenter:
    """Finds the kinds of cell that its bundle names, with the score of each.

    Frames are uint8 RGB. One instance is one run: the scale is pooled over the frames it has seen. Raises InferenceError when
    the engine fails; odd images have no cells.
    """

    Options: ClassVar[type[NetworkOptions]] = NetworkOptions

    def __init__(self, engine: Engine, bundle: Bundle, options: NetworkOptions | None = None) -> None:
        """engine: holds the bundle's model; whoever opened it closes it."""
        self.kinds: tuple[str, ...] = bundle.class_names
        self._network = Network(engine, bundle)
        self._confidence = bundle.manifest.confidence
        self._told_um = bundle.manifest.preprocess.pixel_um
        self._scale = PixelScale((options or NetworkOptions()).pixel_um)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        return None

    @classmethod
    def probe(cls) -> Probe:
        return Probe(usable=True, version=f"opencv {cv2.__version__}")

    @property
    def memory(self) -> Memory:
        """The scale, frame by frame."""
        return self._scale.memory

    def remember(self, memory: Memory) -> None:
        """Go on with the scale of an earlier process. ValueError where it is none."""
        self._scale.remember(memory)

    def segment(self, frame: Frame) -> Segmentation:
        """Every cell of the frame, those at its border too, marked `edge`. Raises InferenceError."""
        scale = self._scale.told(frame.pixel_um)
        if scale.pixel_um is not None:
            seen = self._network.look(frame.image, scale.pixel_um)
        else:
            seen, scale = self._measure(frame)
        cells = tuple(_cells(frame, seen, scale, self.kinds, self._confidence.temperature))
        unsure_below = UNDECIDED if scale.pixel_um is None else self._confidence.unsure_below
        return Segmentation(cells=cells, pixel_um=scale.pixel_um, pixel_um_source=scale.source, unsure_below=unsure_below)

    def _measure(self, frame: Frame) -> tuple[Look, Scale]:
        """The cells at the scale of the run, as far as it is firm and the frame's own red cells do not contradict it."""
        firm = self._scale.firm()
        seen = first_look(frame.image, self._network) if firm is None else self._network.look(frame.image, firm)
        diameters = round_red_cells(seen, self._network, frame.image.shape)
        if firm is not None and diameters.size >= LEAST_CELLS:
            own_um = RED_CELL_UM / float(np.median(diameters))
            if abs(own_um / firm - 1.0) > SAME_OPTICS:
                seen = first_look(frame.image, self._network)
                diameters = round_red_cells(seen, self._network, frame.image.shape)
        return seen, self._scale.pooled(diameters.tolist())


def _cells(frame: Frame, seen: Look, scale: Scale, kinds: tuple[str, ...], temperature: float) -> Iterator[Cell]:
    """The cells that were seen, in pixels of the frame."""
    height, width = frame.image.shape[:2]
    corners = np.clip(np.rint(seen.boxes), 0, (width - 1, height - 1, width, height)).astype(np.int64)
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2] + 1)
    labels = owners(seen.found, seen.maps)
    share = np.rint(255 / (1 + np.exp(-seen.maps[INSIDE][0]))).astype(np.uint8)
    scores = tempered(seen.found.scores, temperature)
    um, centres = scale.pixel_um, (seen.boxes[:, :2] + seen.boxes[:, 2:]) / 2
    for index, (x0, y0, x1, y1) in enumerate(corners.tolist()):
        box, kind = (x0, y0, x1, y1), kinds[int(seen.found.kinds[index])]
        centre = float(centres[index, 0]), float(centres[index, 1])
        mask = _mask(labels, share, index + 1, box, seen.steps)
        yield Cell(
            frame_index=frame.index,
            cell_index=index,
            kind=kind,
            box_px=box,
            centre_px=centre,
            mask=mask,
            area_um2=None if um is None else int(cv2.countNonZero(mask)) * um**2,
            excluded=excluded(kind, box, centre, (width, height), um),
            scores=scores[index],
        )


def _mask(
    labels: NDArray[np.int32], share: NDArray[np.uint8], number: int, box: tuple[int, int, int, int], steps: tuple[float, float]
) -> NDArray[np.uint8]:
    """uint8 0/1 inside the box: between grid cells, how surely a pixel is the cell's (share, 0-255) is interpolated."""
    x0, y0, x1, y1 = box
    top, left = max(0, int(y0 / steps[1]) - 1), max(0, int(x0 / steps[0]) - 1)
    window = np.s_[top : int(y1 / steps[1]) + 2, left : int(x1 / steps[0]) + 2]
    part = share[window]
    mine = np.where(labels[window] == number, part, np.minimum(part, 255 - part))
    size = max(1, round(mine.shape[1] * steps[0])), max(1, round(mine.shape[0] * steps[1]))
    fine = cv2.resize(mine, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    y, x = y0 - round(top * steps[1]), x0 - round(left * steps[0])
    mask = np.right_shift(fine[y : y + y1 - y0, x : x + x1 - x0], np.uint8(7))
    below, beside = y1 - y0 - mask.shape[0], x1 - x0 - mask.shape[1]
    if below or beside:  # the grid is rounded: at the frame's far border it may end a pixel early
        mask = np.pad(mask, ((0, below), (0, beside)), mode="edge")
    return mask
