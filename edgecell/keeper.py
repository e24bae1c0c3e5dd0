"""Keeps every window in the journal before its counts are published; while the journal cannot be written, both wait."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgecell import clock
from edgecell.condition import Trouble, Troubles
from edgecell.errors import JournalBlocked, JournalError
from edgecell.imagefile import portrait
from edgecell.journal.chain import sha256
from edgecell.journal.chainfile import Receipt
from edgecell.journal.crops import Crop
from edgecell.journal.events import RunEnded, Window
from edgecell.journal.journal import Recorder
from edgecell.journal.reader import State, place
from edgecell.ledger import Ledger
from edgecell.messages import FrameReport
from edgecell.resume import RunState, to_state
from edgecell.wire import CountsMessage, Heartbeat, Message, to_wire

LOG = logging.getLogger(__name__)
RETRY_S = 1.0
"""Between two tries at a journal that is blocked."""
PATIENCE_S = 60.0
"""Of tries in vain before the run fails. Meanwhile cells gather in memory, some 0.5 KB each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    """Counts on their way into the journal, with all that is kept beside them."""

    message: CountsMessage
    window: Window
    state: State
    end: RunEnded | None


class Keeper:
    """Between the books and the bus, on their thread. Without a recorder it lets everything through."""

    def __init__(self, recorder: Recorder | None, ledger: Ledger) -> None:
        self._recorder, self._ledger = recorder, ledger
        self._waiting: _Waiting | None = None
        self._blocked, self._disk = "", ""
        self._blocked_ns = self._retry_ns = 0
        self._receipt: Receipt | None = None
        self._crops: list[Crop] = []
        self._wants_crops = False

    @property
    def waits(self) -> bool:
        """Whether a window waits for the journal: until it is in, no other may be closed."""
        return self._waiting is not None

    @property
    def troubles(self) -> Troubles:
        """Counts are held back while the journal is blocked, so neither spoils them."""
        blocked = {"journal": Trouble(f"{self._blocked}: counts are held back", spoils=False)} if self._blocked else {}
        return {**blocked, **({"disk": Trouble(self._disk, spoils=False, degrades=False)} if self._disk else {})}

    def start(self) -> None:
        """The run begins. Raises JournalError."""
        if self._recorder:
            self._receipt = self._recorder.start()
            self._disk, self._wants_crops = self._recorder.room(), self._recorder.wants_crops()

    def saw(self, report: FrameReport, image: NDArray[np.uint8]) -> None:
        """A frame that was counted, for pictures of the cells that a classifier labelled. image: uint8 (H, W, 3) RGB."""
        if not self._wants_crops or self.waits:
            return
        labelled = {answer.cell_index for answer in report.classifications if answer.probabilities is not None}
        for cell in report.cells:
            if cell.cell_index in labelled:
                self._crops.append(Crop(report.frame_index, cell.cell_index, portrait(image, cell.box_px)))

    def kept(self, messages: Sequence[Message], state: RunState, end: RunEnded | None = None) -> list[Message]:
        """The messages that may be published, in order, with their place in the journal: counts once it has them.

        The counts among them must be the latest that the ledger closed. state: after them. end: they are the last of the run.
        While the journal is blocked (a full disk) the window waits and the next one grows. It is tried again every RETRY_S;
        after PATIENCE_S, or at the end of the run, JournalBlocked is raised. Raises JournalError.
        """
        if self._recorder is None:
            return list(messages)
        out: list[Message] = self._tried(self._recorder, at_once=end is not None)
        for message in messages:
            if isinstance(message, CountsMessage):
                self._waiting = _Waiting(
                    message=message, window=self._window(self._recorder, message), state=to_state(state), end=end
                )
                self._retry_ns = 0
                out += self._tried(self._recorder, at_once=end is not None)
                self._disk, self._wants_crops = self._recorder.room(), self._recorder.wants_crops()
            else:
                out.append(self.placed(message))
        return out

    def placed(self, beat: Heartbeat) -> Heartbeat:
        """With the run's latest place in the journal: who hears it has a head to compare a chain with, also between windows."""
        return beat if self._receipt is None else msgspec.structs.replace(beat, **_told(self._receipt))

    def _window(self, recorder: Recorder, message: CountsMessage) -> Window:
        topic, payload = to_wire(message)
        closed, crops = self._ledger.closed, self._stored(recorder)
        cells = (msgspec.structs.replace(cell, crop=crops.get((cell.frame, cell.index))) for cell in closed.cells)
        return Window(
            run_id=message.run_id,
            sequence=message.sequence,
            frames=closed.frames,
            cells=tuple(cells) if crops else closed.cells,
            topic=topic,
            message=msgspec.Raw(payload),
        )

    def _stored(self, recorder: Recorder) -> dict[tuple[int, int], str]:
        """The window's pictures, put away: frame and cell -> sha256. A window is not lost because they are."""
        crops, self._crops = self._crops, []
        try:
            recorder.keep_crops(crops)
        except JournalError as error:
            LOG.warning("%d crops are not kept: %s", len(crops), error)
            return {}
        return {(crop.frame, crop.cell): sha256(crop.png) for crop in crops}

    def _tried(self, recorder: Recorder, *, at_once: bool) -> list[Message]:
        """The counts that wait, if the journal takes them. at_once: now or never."""
        now, waiting = clock.monotonic_ns(), self._waiting
        if waiting is None or (now < self._retry_ns and not at_once):
            return []
        try:
            receipt = recorder.commit(waiting.window, waiting.state, waiting.end)
        except JournalBlocked as error:
            self._blocked_ns = self._blocked_ns if self._blocked else now
            if at_once or now - self._blocked_ns > PATIENCE_S * 1e9:
                raise
            self._retry_ns = now + round(RETRY_S * 1e9)
            self._blocked = error.what
            return []
        self._waiting, self._blocked, self._receipt = None, "", receipt
        return [msgspec.structs.replace(waiting.message, **_told(receipt))]


def _told(receipt: Receipt) -> dict[str, Any]:
    return place(receipt.position, receipt.head, receipt.signature)
