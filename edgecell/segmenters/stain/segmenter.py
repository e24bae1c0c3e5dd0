"""The part `stain`: frame in, cells out."""

from collections.abc import Iterator
from types import TracebackType
from typing import Annotated, ClassVar, NamedTuple

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from edgecell.edge import excluded
from edgecell.messages import NUCLEATED, PLATELET, RED_BLOOD_CELL, Cell, Frame, Segmentation
from edgecell.optics.scale import LEAST_CELLS, RED_CELL_UM, SAME_OPTICS, PixelScale, Scale
from edgecell.protocols import Memory, Probe
from edgecell.segmenters.stain.cells import Piece
from edgecell.segmenters.stain.ruler import Look, first_look, look, round_red_cells


class StainOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """pixel_um: micrometres per pixel if known; None measures it on the red cells of the run."""

    pixel_um: Annotated[float, msgspec.Meta(ge=0.01, le=2)] | None = None


class StainSegmenter:
    """Finds nucleated cells, red cells and platelets by stain, size and shape; nothing is learnt.

    Frames are uint8 RGB. One instance is one run: the scale is pooled over the frames it has seen. Raises nothing for odd
    images; a frame without matter has no cells.
    """

    kinds: tuple[str, ...] = (NUCLEATED, RED_BLOOD_CELL, PLATELET)
    Options: ClassVar[type[StainOptions]] = StainOptions

    def __init__(self, options: StainOptions | None = None) -> None:
        self._scale = PixelScale((options or StainOptions()).pixel_um)

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
        """Every cell of the frame, those at its border too, marked `edge`."""
        scale = self._scale.told(frame.pixel_um)
        if scale.pixel_um is not None:
            seen = look(frame.image, scale.pixel_um)
        else:
            seen, scale = self._measure(frame)
        return Segmentation(cells=tuple(_cells(frame, seen, scale)), pixel_um=scale.pixel_um, pixel_um_source=scale.source)

    def _measure(self, frame: Frame) -> tuple[Look, Scale]:
        """The cells at the scale of the run, as far as it is firm and the frame's own red cells do not contradict it."""
        firm = self._scale.firm()
        seen = first_look(frame.image) if firm is None else look(frame.image, firm)
        diameters = round_red_cells(seen, frame.image.shape)
        if firm is not None and diameters.size >= LEAST_CELLS:
            own_um = RED_CELL_UM / float(np.median(diameters))
            if abs(own_um / firm - 1.0) > SAME_OPTICS:
                seen = first_look(frame.image)
                diameters = round_red_cells(seen, frame.image.shape)
        return seen, self._scale.pooled(diameters.tolist())


def _cells(frame: Frame, seen: Look, scale: Scale) -> Iterator[Cell]:
    """The pieces that were seen, in pixels of the frame."""
    height, width = frame.image.shape[:2]
    fx, fy = seen.factors
    corners = np.array([piece.box for piece in seen.pieces], np.float64).reshape(-1, 4) / (fx, fy, fx, fy)
    corners = np.clip(np.rint(corners), 0, (width - 1, height - 1, width, height)).astype(np.int64)
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2] + 1)
    um = scale.pixel_um
    for index, (piece, (x0, y0, x1, y1)) in enumerate(zip(seen.pieces, corners.tolist(), strict=True)):
        box = x0, y0, x1, y1
        centre = piece.centre[0] / fx, piece.centre[1] / fy
        yield Cell(
            frame_index=frame.index,
            cell_index=index,
            kind=piece.kind,
            box_px=box,
            centre_px=centre,
            outline=PieceOutline(piece, (x1 - x0, y1 - y0), None if um is None else piece.area / (fx * fy) * um**2),
            excluded=excluded(piece.kind, box, centre, (width, height), um),
        )


class PieceOutline(NamedTuple):
    """One cell's. size: of its box, (width, height) in pixels of the frame. um2: its area, None where the scale is unknown."""

    piece: Piece
    size: tuple[int, int]
    um2: float | None

    def mask(self) -> NDArray[np.uint8]:
        full = cv2.resize(self.piece.mask * np.uint8(255), self.size, interpolation=cv2.INTER_LINEAR)
        return np.right_shift(full.astype(np.uint8, copy=False), np.uint8(7))

    def area_um2(self) -> float | None:
        return self.um2
