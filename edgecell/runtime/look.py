"""What goes from thread to thread."""

from dataclasses import dataclass, replace

from edgecell.errors import EdgecellError, FrameCorrupt
from edgecell.gate import GateState
from edgecell.messages import Detected, Frame, FrameReport
from edgecell.pipeline import SlideState
from edgecell.protocols import Memory


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """What one look at a source gave: a frame, one that cannot be used, or (both None) nothing; and what became of it since.

    read_ns: monotonic clock when the look was over. index: of the frame, whole or not. lost: frames before this one that the
    source numbered and never gave.
    detected, gate, memory: of the frame, once it has been through gate and segmenter, and what these have learnt up to it.
    report, slide: of the frame, once its cells are classified, and what the run has told of its slide up to the end of the
    batch that it was in; more: how many of that batch come right behind it.
    failed, dropped: why it went no further, as `stage: reason`, "" while it goes on.
    """

    read_ns: int
    index: int | None = None
    lost: int = 0
    frame: Frame | None = None
    corrupt: FrameCorrupt | None = None
    detected: Detected | None = None
    gate: GateState | None = None
    memory: Memory | None = None
    report: FrameReport | None = None
    slide: SlideState | None = None
    more: int = 0
    failed: str = ""
    dropped: str = ""

    @property
    def name(self) -> str:
        """The frame's, "" if it has none."""
        return self.frame.label if self.frame else ""

    def without(self, reason: str) -> "Look":
        """The same, dropped: its image is let go."""
        return replace(self, frame=None, dropped=reason)


def words(error: BaseException) -> str:
    """Why a frame failed, in one line."""
    return error.what if isinstance(error, EdgecellError) else type(error).__name__
