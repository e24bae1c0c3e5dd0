"""Nuclei by their stain: azure where red cells have none, and their lobes taken together."""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from edgecell.segmenters.stain.layers import Layers
from edgecell.segmenters.stain.regions import Mask, components, dilated, disc, opened, points

Labels = NDArray[np.int32]

NUCLEUS_UM2 = 9.0
"""Least area of a nucleus with its lobes; a small lymphocyte's or a late erythroblast's has 20 and more, out of focus less."""
LOBE_UM2 = 1.2
LOBES_NEAR_UM = 1.6
LOBES_FAR_UM = 4.0
WHOLE_NUCLEUS_UM2 = 25.0
"""Lobes lie within LOBES_NEAR_UM of each other, or within LOBES_FAR_UM in one cytoplasm if only one could be a nucleus."""
FAR_LOBE_UM2 = 3.0
NUCLEAR_SHARE = 0.45
"""Nuclei have at least this share of the azure of the frame's darkest ones."""
LOBE_CENTRES_UM = 9.0
NECK_SHARE = 0.75
"""Two nuclei at most LOBE_CENTRES_UM apart are one cell's where the matter between them is hardly narrower."""
AZURE_SHARE = 0.5
AZURE_LEAST = 9.0
"""Azure (1/64) of a nucleus above that of red cells: in red cells' depths, and at least what JPEG makes of a grey edge."""


def azure_level(maps: Layers) -> float:
    """Azure from which on matter is nucleus or platelet rather than red cell."""
    return maps.red_azure + max(AZURE_SHARE * maps.red_depth, AZURE_LEAST)


def find_nuclei(maps: Layers, um: float) -> Labels:
    """Labels int32 (H, W) of nuclei, 1, 2, ..., each with all its lobes, at um per pixel."""
    level = azure_level(maps)
    dark = maps.azure[maps.azure > level]
    if dark.size:
        level = max(level, NUCLEAR_SHARE * float(np.percentile(dark, 95)))
    lobes = components(opened((maps.azure > level).astype(np.uint8), disc(0.3 / um)))
    sizes = lobes.areas * um**2
    sizes[0] = 0.0
    mask: Mask = (sizes >= LOBE_UM2).astype(np.uint8)[lobes.labels]
    near = components(dilated(mask, disc(LOBES_NEAR_UM / 2 / um))).labels * mask
    large: Mask = (sizes >= FAR_LOBE_UM2).astype(np.uint8)[lobes.labels]
    far = components(dilated(large, disc(LOBES_FAR_UM / 2 / um)) & maps.matter).labels * large
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


def join_in_one_cell(nuclei: Labels, depth_px: NDArray[np.float32], um: float) -> Labels:
    """Nuclei, joined where the matter between two is as wide as around them: lobes of one cell, not cells that touch.

    depth_px: distance (px) of matter to its rim, float32 (H, W).
    """
    pixels = points(nuclei)
    joined = np.arange(len(pixels) + 1, dtype=np.int32)
    centres = [p.mean(axis=0)[::-1] for p in pixels]
    for a, b in combinations(range(len(centres)), 2):
        if np.linalg.norm(centres[a] - centres[b]) * um <= LOBE_CENTRES_UM:
            line = np.rint(np.linspace(centres[a], centres[b], 24)).astype(np.intp)
            along = depth_px[line[:, 0], line[:, 1]]
            if along.min() >= NECK_SHARE * min(along[0], along[-1]):
                joined[joined == joined[b + 1]] = joined[a + 1]
    return np.unique(joined, return_inverse=True)[1].astype(np.int32)[nuclei]
