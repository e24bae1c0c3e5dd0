"""Notices a camera that gives the same picture again and again."""

import zlib

from edgecell.condition import Trouble, Troubles
from edgecell.messages import Frame

STEP_PX = 8
"""Every 8th pixel of every 8th row tells pictures apart: the noise of a sensor changes nearly all of them."""
STUCK_FRAMES = 5
"""Repeats in a row after which the camera counts as stuck. A driver that hands one buffer out twice does so now and then."""


class Still:
    """The pictures of a live source. No two are the same to the last bit, so one that is was not taken anew."""

    def __init__(self, source_id: str) -> None:
        self._source_id = source_id
        self._digest: tuple[tuple[int, ...], int] | None = None
        self._repeats = 0

    def repeats(self, frame: Frame) -> bool:
        """Whether this is the picture of the frame before."""
        digest = frame.image.shape, zlib.crc32(frame.image[::STEP_PX, ::STEP_PX].tobytes())
        same = digest == self._digest
        self._digest, self._repeats = digest, self._repeats + 1 if same else 0
        return same

    @property
    def troubles(self) -> Troubles:
        if self._repeats < STUCK_FRAMES:
            return {}
        return {"stuck": Trouble(f"{self._source_id} is stuck: the same picture {self._repeats} times more")}
