"""Platelets by their stain: small azure spots that lie free."""

import numpy as np

from edgecell.segmenters.stain.layers import Layers
from edgecell.segmenters.stain.nuclei import Labels, azure_level
from edgecell.segmenters.stain.regions import Mask, components, dilated, disc

SPOT_UM2 = (0.6, 16.0)
"""Areas of the azure body: platelets are 1 to 4.5 um across, their body less than their rim."""
LONGEST = 2.5
"""Times as long as wide; threads and cracks are longer."""
RIM_UM = 0.7
"""The pale rim around the azure body."""
NUCLEUS_APART_UM = 0.6
COVERED = 0.35
"""Share of the surroundings that may be other cells. On top of a red cell, spots are mostly artefacts and chromatic edges."""


def find_platelets(maps: Layers, matter: Mask, nuclei: Labels, um: float) -> Labels:
    """Labels int32 (H, W) of platelets at um per pixel; `matter` is the cells' ground with holes filled."""
    spots = components((maps.azure > azure_level(maps)).astype(np.uint8) & maps.matter)
    nuclear = dilated((nuclei > 0).astype(np.uint8), disc(NUCLEUS_APART_UM / um))
    number = len(spots.areas)
    sizes, (width, height) = spots.areas * um**2, spots.boxes[:, 2:].T
    keep = (sizes >= SPOT_UM2[0]) & (sizes <= SPOT_UM2[1])
    keep &= np.maximum(width, height) <= LONGEST * np.minimum(width, height)
    keep &= np.bincount(spots.labels.ravel(), weights=nuclear.ravel(), minlength=number) == 0
    keep[0] = False
    bodies: Mask = keep.astype(np.uint8)[spots.labels]
    return _free(bodies, matter, um)


def _free(bodies: Mask, matter: Mask, um: float) -> Labels:
    """The bodies with their rims, without those that lie on or in other matter."""
    whole = components(dilated(bodies, disc(RIM_UM / um))).labels
    wider = components(dilated(bodies, disc((RIM_UM + 0.6) / um))).labels
    ring = (wider > 0) & (whole == 0)
    count = int(wider.max(initial=0)) + 1
    length = np.bincount(wider[ring], minlength=count)
    covered = np.bincount(wider[ring], weights=matter[ring], minlength=count)
    free = covered <= COVERED * np.maximum(length, 1)
    return (whole * free[wider]).astype(np.int32)
