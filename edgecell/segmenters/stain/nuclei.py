"""Nuclei by their stain: azure where red cells have none, and their lobes taken together."""

import numpy as np
from numpy.typing import NDArray

from edgecell.segmenters.stain.layers import Layers
from edgecell.segmenters.stain.regions import Mask, components, dilated, disc, opened

Labels = NDArray[np.int32]

NUCLEUS_UM2 = 9.0
"""Least area of a nucleus with its lobes; a small lymphocyte's or a late erythroblast's has 20 and more, out of focus less."""
LOBE_UM2 = 1.2
LOBES_NEAR_UM = 1.6
LOBES_FAR_UM = 4.0
WHOLE_NUCLEUS_UM2 = 25.0
"""Lobes lie within LOBES_NEAR_UM of each other, or within LOBES_FAR_UM in one cytoplasm if only one could be a nucleus."""
AZURE_SHARE = 0.55
AZURE_LEAST = 9.0
"""Azure (1/64) of a nucleus above that of red cells: in red cells' depths, and at least what JPEG makes of a grey edge."""


def azure_level(maps: Layers) -> float:
    """Azure from which on matter is nucleus or platelet rather than red cell."""
    return maps.red_azure + max(AZURE_SHARE * maps.red_depth, AZURE_LEAST)


def find_nuclei(maps: Layers, um: float) -> Labels:
    """Labels int32 (H, W) of nuclei, 1, 2, ..., each with all its lobes, at um per pixel."""
    stained = (maps.azure > azure_level(maps)).astype(np.uint8)
    lobes = components(opened(stained, disc(0.3 / um)))
    big = (lobes.areas * um**2 >= LOBE_UM2).astype(np.uint8)
    big[0] = 0
    mask: Mask = big[lobes.labels]
    near = components(dilated(mask, disc(LOBES_NEAR_UM / 2 / um))).labels * mask
    far = components(dilated(mask, disc(LOBES_FAR_UM / 2 / um)) & maps.matter).labels * mask
    groups = _join(near, far, um)
    keep = np.bincount(groups.ravel()) * um**2 >= NUCLEUS_UM2
    keep[0] = False
    return (np.cumsum(keep) * keep).astype(np.int32)[groups]


def _join(near: Labels, far: Labels, um: float) -> Labels:
    """Near groups, joined where they share a far group of which at most one could be a whole nucleus."""
    areas = np.bincount(near.ravel()) * um**2
    inside = near > 0
    pairs = np.unique(far[inside].astype(np.int64) * len(areas) + near[inside])
    joined = np.arange(len(areas), dtype=np.int32)
    for group in np.unique(pairs // len(areas)).tolist():
        parts = pairs[pairs // len(areas) == group] % len(areas)
        if group and int((areas[parts] >= WHOLE_NUCLEUS_UM2).sum()) <= 1:
            joined[parts] = parts[0]
    return joined[near]
