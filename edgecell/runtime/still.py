"""Notices a camera that gives the same picture again and again."""

import numpy as np
from numpy.typing import NDArray

from edgecell.condition import Trouble, Troubles
from edgecell.messages import Frame

STEP_PX = 8
"""Every 8th pixel of every 8th row nearly always tells pictures apart, at the cost of some microseconds: the noise of a sensor
changes most of them. All are compared only where those agree."""
STUCK_FRAMES = 5
"""Repeats in a row after which the camera counts as stuck. A driver that hands one buffer out twice does so now and then."""


class Still:
    """The pictures of a live source. No two are the same to the last bit, so one that is was not taken anew."""

    def __init__(self, source_id: str) -> None:
        self._source_id = source_id
        self._before: NDArray[np.uint8] | None = None
        self._repeats = 0

    def repeats(self, frame: Frame) -> bool:
        """Whether this is the picture of the frame before."""
        now, before = frame.image, self._before
        grid = np.s_[::STEP_PX, ::STEP_PX]
        same = before is not None and np.array_equal(now[grid], before[grid]) and np.array_equal(now, before)
        self._before, self._repeats = now, self._repeats + 1 if same else 0
        return same

    @property
    def troubles(self) -> Troubles:
        if self._repeats < STUCK_FRAMES:
            return {}
        return {"stuck": Trouble(f"{self._source_id} is stuck: the same picture {self._repeats} times more")}
