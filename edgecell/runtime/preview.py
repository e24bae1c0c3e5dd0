"""What the camera sees, for people: a shrunk picture of the newest frame with its cells, made on a thread of its own."""

import threading
from types import TracebackType
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from edgecell import clock
from edgecell.ledger import Identity
from edgecell.messages import Cell, Classification, FrameReport
from edgecell.wire import Preview, PreviewCell

EVERY_S: Final = 0.5
"""Between two previews, at least."""
LONGEST_PX: Final = 1024
"""Longer side of the picture."""
QUALITIES: Final = (80, 50, 20)
"""Of the JPEG; the next where it has more than MOST_BYTES, as noise has."""
MOST_BYTES: Final = 400_000
MOST_CELLS: Final = 2000
"""With the picture they stay below what a message may have: a cell takes some 120 bytes."""
LEAVE_S: Final = 0.1


class Previews:
    """Entered on the thread that runs the loop. Off, it does nothing.

    A frame is taken if the last was long enough ago and the thread has nothing in hand; else it is passed over, and nobody
    waits. The frame's image lives until its picture is made.
    """

    def __init__(self, identity: Identity, *, on: bool) -> None:
        self._identity, self._on = identity, on
        self._something = threading.Event()
        self._over = False
        self._wanted: tuple[FrameReport, NDArray[np.uint8]] | None = None
        self._made: Preview | None = None
        self._next_ns = 0
        self._sequence = 0

    def __enter__(self) -> Self:
        if self._on:
            self._thread = threading.Thread(target=self._work, name="edgecell-preview", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self._over = True
        self._something.set()
        if self._on:
            self._thread.join(LEAVE_S)

    def saw(self, report: FrameReport, image: NDArray[np.uint8]) -> None:
        """A frame that was looked at, or that the gate refused: who sees it can mend that."""
        now_ns = clock.monotonic_ns()
        if self._on and self._wanted is None and now_ns >= self._next_ns:
            self._next_ns = now_ns + round(EVERY_S * 1e9)
            self._wanted = report, image
            self._something.set()

    def latest(self) -> Preview | None:
        """One that was made since the last call."""
        made, self._made = self._made, None
        return made

    def _work(self) -> None:
        while True:
            self._something.wait()
            self._something.clear()
            if self._over:
                return
            if self._wanted is not None:
                self._made = made(*self._wanted, self._identity, self._sequence)
                self._sequence += 1
                self._wanted = None


def made(report: FrameReport, image: NDArray[np.uint8], identity: Identity, sequence: int) -> Preview:
    """image: uint8 (H, W, 3) RGB, the frame of the report."""
    answers = {each.cell_index: each for each in report.classifications}
    height, width = image.shape[:2]
    return Preview(
        device_id=identity.device_id,
        run_id=identity.run_id,
        sequence=sequence,
        frame_index=report.frame_index,
        width_px=width,
        height_px=height,
        accepted=report.verdict.accepted,
        reason=report.verdict.reason,
        focus=report.verdict.focus,
        mean_level=report.verdict.mean_level,
        saturated_fraction=report.verdict.saturated_fraction,
        cells=tuple(_told(cell, answers.get(cell.cell_index)) for cell in report.cells[:MOST_CELLS]),
        jpeg=_jpeg(image),
    )


def _told(cell: Cell, answer: Classification | None) -> PreviewCell:
    x0, y0, x1, y1 = map(int, cell.box_px)
    return PreviewCell(
        kind=cell.kind,
        label="" if answer is None else answer.label,
        confidence=None if answer is None or answer.confidence is None else round(answer.confidence, 3),
        decided=answer is not None and answer.decided,
        excluded=cell.excluded,
        box_px=(x0, y0, x1, y1),
    )


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    """Shrunk by a whole factor: that is several times as fast as any other, and nobody measures on it."""
    factor = -(-max(image.shape[:2]) // LONGEST_PX)
    if factor > 1:
        size = max(1, image.shape[1] // factor), max(1, image.shape[0] // factor)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    shrunk, raw = cv2.cvtColor(image, cv2.COLOR_RGB2BGR), b""
    for quality in QUALITIES:
        _, encoded = cv2.imencode(".jpg", shrunk, (cv2.IMWRITE_JPEG_QUALITY, quality))
        raw = encoded.tobytes()
        if len(raw) <= MOST_BYTES:
            break
    return raw
