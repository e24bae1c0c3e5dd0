"""The part `network`: frame in, cells out."""

from collections.abc import Iterator
from types import TracebackType
from typing import Annotated, ClassVar

import cv2
import msgspec
import numpy as np
from typing_extensions import Self

from edgecell.bundle import Bundle
from edgecell.edge import excluded
from edgecell.messages import Cell, Frame, Segmentation
from edgecell.optics.scale import LEAST_CELLS, RED_CELL_UM, SAME_OPTICS, PixelScale, Scale
from edgecell.protocols import Engine, Memory, Probe
from edgecell.segmenters.network.look import Look, Network, tempered
from edgecell.segmenters.network.outline import CellOutline, Grid
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
            seen = self._network.look(frame.halves, scale.pixel_um)
        else:
            seen, scale = self._measure(frame)
        cells = tuple(_cells(frame, seen, scale, self.kinds, self._confidence.temperature))
        unsure_below = UNDECIDED if scale.pixel_um is None else self._confidence.unsure_below
        return Segmentation(cells=cells, pixel_um=scale.pixel_um, pixel_um_source=scale.source, unsure_below=unsure_below)

    def _measure(self, frame: Frame) -> tuple[Look, Scale]:
        """The cells at the scale of the run, as far as it is firm and the frame's own red cells do not contradict it."""
        firm = self._scale.firm()
        seen = first_look(frame.halves, self._network) if firm is None else self._network.look(frame.halves, firm)
        diameters = round_red_cells(seen, self._network, frame.image.shape)
        if firm is not None and diameters.size >= LEAST_CELLS:
            own_um = RED_CELL_UM / float(np.median(diameters))
            if abs(own_um / firm - 1.0) > SAME_OPTICS:
                seen = first_look(frame.halves, self._network)
                diameters = round_red_cells(seen, self._network, frame.image.shape)
        return seen, self._scale.pooled(diameters.tolist())


def _cells(frame: Frame, seen: Look, scale: Scale, kinds: tuple[str, ...], temperature: float) -> Iterator[Cell]:
    """The cells that were seen, in pixels of the frame."""
    height, width = frame.image.shape[:2]
    corners = np.clip(np.rint(seen.boxes), 0, (width - 1, height - 1, width, height)).astype(np.int64)
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2] + 1)
    grid = Grid(seen)
    scores = tempered(seen.found.scores, temperature)
    um, centres = scale.pixel_um, (seen.boxes[:, :2] + seen.boxes[:, 2:]) / 2
    rows = zip(corners.tolist(), centres.tolist(), seen.found.kinds.tolist(), scores, strict=True)
    for index, ((x0, y0, x1, y1), (x, y), number, own) in enumerate(rows):
        box, centre, kind = (x0, y0, x1, y1), (x, y), kinds[number]
        yield Cell(
            frame_index=frame.index,
            cell_index=index,
            kind=kind,
            box_px=box,
            centre_px=centre,
            outline=CellOutline(grid, index + 1, box, um),
            excluded=excluded(kind, box, centre, (width, height), um),
            scores=own,
        )
