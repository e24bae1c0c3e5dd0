"""Dirt on sensor, lens or condenser: it stays in place while the slide moves.

With every new field each place is clear now and then, but for one that something covers. So of a batch of fields the brightest
that each place was is kept, and what is dark there in two batches, equally so, is dirt.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

FIELDS = 20
"""Fields of a batch. A place that was clear in none of two batches is covered: where cells lie over two thirds of a smear, that
comes about once in ten million places."""
DEPTH = 0.08
"""Share of the light that dirt takes at least."""
AREA = 4
"""Pixels of the small image that a spot covers at least: each is a hundredth of the frame's longer side."""
DOUBTFUL = 0.02
"""Share of the frame on which dirt makes counts doubtful. A spot as large as a red cell was taken for one in every eighth frame
(a tenth of the light missing) to every third (0.4): counts grow about as the share does."""
ALIKE = 0.8
"""How alike two batches must show a spot: what both miss of the light there by what either misses. Dirt is the same in every
field, 0.8 to 0.99; a white cell that is in the middle of every field, on slides that somebody looks through for these, has at
most 0.52 (TXL-PBC, train)."""

_FULL = 250.0  # what the background is set to for batches: what is brighter, a halo, is cut off at 255
_LIT = 20.0  # grey values: what is darker shows no background
_SPOT = 15  # small px, widest dirt that is told from the fall-off of the lamp

Small = NDArray[np.uint8]


class Dirt(NamedTuple):
    """text: what to say of it. share: of the frame, 0-1."""

    text: str
    share: float

    @property
    def doubtful(self) -> bool:
        """Whether counts are not to be relied on."""
        return self.share >= DOUBTFUL


def even(green: Small, level: float) -> Small:
    """A small image, uint8 (h, w), made so bright that its background, now of that level, is the same in every one."""
    return np.asarray(cv2.convertScaleAbs(green, alpha=_FULL / max(_LIT, level)), np.uint8)


def spots(one: Small, other: Small) -> Dirt | None:
    """Places that are darker than all around them in every field of two batches, and equally so; None where there are none.

    one, other: of each batch, how bright each place was at most: the maximum of its `even` pictures, uint8 (h, w).
    """
    depth, again = _depth(one), _depth(other)
    both, either = np.minimum(depth, again), np.maximum(depth, again)
    number, labels, boxes, centres = cv2.connectedComponentsWithStats((either > DEPTH).astype(np.uint8), connectivity=8)
    areas = {at: int(boxes[at, cv2.CC_STAT_AREA]) for at in range(1, number)}
    areas = {at: area for at, area in areas.items() if area >= AREA and _share(both, either, labels == at) > ALIKE}
    if not areas:
        return None
    x, y = 100 * (centres[max(areas, key=areas.__getitem__)] + 0.5) / (depth.shape[1], depth.shape[0])
    some = "a spot" if len(areas) == 1 else f"{len(areas)} spots"
    where = f"{'' if len(areas) == 1 else 'the largest '}{x:.0f} % from the left, {y:.0f} % from the top"
    share = sum(areas.values()) / depth.size
    text = f"dirt: {some} stayed in place while the slide moved, on {100 * share:.1f} % of the frame ({where})"
    return Dirt(text, share)


def _share(part: NDArray[np.float32], whole: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    return float(part[where].sum() / whole[where].sum())


def _depth(clear: Small) -> NDArray[np.float32]:
    """Share of the light that is missing at each place beside its surroundings: the fall-off of a lamp is not."""
    level = np.maximum(clear, 1).astype(np.float32)
    height, width = level.shape
    y, x = (each.ravel() for each in np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j])
    lamp = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    fall_off = (lamp @ np.linalg.lstsq(lamp, np.log(level).ravel(), rcond=None)[0]).reshape(level.shape)
    even = level / np.exp(fall_off).astype(np.float32)
    closed = cv2.morphologyEx(even, cv2.MORPH_CLOSE, np.ones((_SPOT, _SPOT), np.uint8))
    return np.asarray(1 - even / closed, np.float32)
