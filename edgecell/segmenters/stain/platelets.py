"""Platelets by their stain: small azure spots that lie free."""

import numpy as np
from numpy.typing import NDArray

from edgecell.segmenters.stain.layers import Layers
from edgecell.segmenters.stain.nuclei import azure_level
from edgecell.segmenters.stain.regions import Labels, Mask, dilated, disc, labelled, regions

SPOT_UM2 = (0.6, 16.0)
"""Areas of the azure body: platelets are 1 to 4.5 um across, their body less than their rim."""
LONGEST = 2.5
"""Times as long as wide; threads and cracks are longer."""
RIM_UM = 0.7
"""The pale rim around the azure body."""
NUCLEUS_APART_UM = 0.6
FAINTER = 0.9
"""Platelets hold less azure than nuclei."""
RING_UM = 0.6
COVERED = 0.35
"""Share of the surroundings, RING_UM wide, that may be cells: on red cells, spots are mostly artefacts and colour fringes."""


def find_platelets(maps: Layers, matter: Mask, nuclei: Labels, um: float) -> Labels:
    """Labels int32 (H, W) of platelets at um per pixel; `matter` is the cells' ground with holes filled."""
    azure: Mask = (maps.azure > np.uint8(min(FAINTER * azure_level(maps), 255))).view(np.uint8) & maps.matter
    labels = labelled(azure)
    found = regions(labels)
    sizes, (width, height) = found.areas * um**2, (found.boxes[:, 2:] - found.boxes[:, :2]).T
    keep = (sizes >= SPOT_UM2[0]) & (sizes <= SPOT_UM2[1])
    keep &= np.maximum(width, height) <= LONGEST * np.minimum(width, height)
    beside = dilated((nuclei > 0).view(np.uint8), disc(NUCLEUS_APART_UM / um)) & azure
    keep[labels[beside > 0] - 1] = False
    out = np.zeros_like(labels)
    for number, index in enumerate(np.flatnonzero(keep).tolist(), start=1):
        window = _around(found.boxes[index], (RIM_UM + 1.2) / um)
        body = (labels[window] == found.numbers[index]).view(np.uint8)
        whole = dilated(body, disc(RIM_UM / um)) > 0
        ring = (dilated(body, disc((RIM_UM + RING_UM) / um)) > 0) & ~whole
        if matter[window][ring].sum() <= COVERED * ring.sum():
            out[window][whole] = number
    return out


def _around(box: NDArray[np.int32], reach_px: float) -> tuple[slice, slice]:
    """The window of a box x0, y0, x1, y1 with reach_px on every side."""
    x0, y0, x1, y1 = box.tolist()
    reach = round(reach_px)
    return np.s_[max(0, y0 - reach) : y1 + reach, max(0, x0 - reach) : x1 + reach]
