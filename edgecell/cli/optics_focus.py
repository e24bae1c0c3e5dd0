"""The range of the focus measure, from a turn through focus."""

import numpy as np
from numpy.typing import NDArray

from edgecell import clock
from edgecell.errors import NotMeasurable
from edgecell.gate import SHARPEST_UM, TOLERANCE, Limits, blur_um
from edgecell.messages import Frame
from edgecell.optics.file import Focus

LEAST_FRAMES, RANGE = 10, 1.5
"""A turn through focus has so many frames, and a softest one so many times as soft as the sharp ones."""
SHARP = 0.1
"""Share of a turn through focus that is in focus."""


def blur_of(frame: Frame, pixel_um: float) -> float:
    """Blur of the steepest borders, inf without any."""
    return blur_um(np.ascontiguousarray(frame.image[:, :, 1]), pixel_um)


def focus_range(blurs_um: NDArray[np.float64]) -> Focus:
    """blurs_um: (N,), of all frames that show borders. Raises NotMeasurable where focus was never met, or never left."""
    if len(blurs_um) < LEAST_FRAMES:
        what = f"{len(blurs_um)} pictures with borders of cells, {LEAST_FRAMES} are needed"
        raise NotMeasurable(what, fix="show cells, and take more pictures")
    sharpest, usual = round(float(np.quantile(blurs_um, SHARP)), 3), Limits().blur_um
    if sharpest >= usual:
        what = f"the sharpest pictures have a blur of {sharpest:.2f} um, and above {usual:g} um no cell is counted"
        raise NotMeasurable(what, fix="turn the fine focus through its best place; check the scale, and for oil on a dry lens")
    if blurs_um.max() < RANGE * sharpest:
        what = f"all pictures are as sharp as each other ({sharpest:.2f} to {blurs_um.max():.2f} um of blur)"
        raise NotMeasurable(what, fix="turn the fine focus from soft through sharp to soft while the pictures are taken")
    softest = min(usual, max(SHARPEST_UM, TOLERANCE * sharpest))
    return Focus(sharpest_um=sharpest, softest_um=round(softest, 3), frames=len(blurs_um), measured=clock.utc_now())
