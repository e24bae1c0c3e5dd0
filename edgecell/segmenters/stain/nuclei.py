"""Nuclei by their stain: azure where red cells have none, and their lobes taken together."""

import numpy as np
from numpy.typing import NDArray

from edgecell.segmenters.stain.density import histogram, percentile
from edgecell.segmenters.stain.layers import Layers
from edgecell.segmenters.stain.regions import Labels, Mask, dilated, disc, distance, labelled, opened, regions

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
    dark = histogram(maps.azure)
    dark[: int(level) + 1] = 0
    if dark.any():
        level = max(level, NUCLEAR_SHARE * percentile(dark, 95))
    mask = opened((maps.azure > np.uint8(min(level, 255))).view(np.uint8), disc(0.3 / um))
    places = np.flatnonzero(mask.view(np.bool_))
    numbers = labelled(mask).ravel()[places]
    sizes = (np.bincount(numbers, minlength=1) * um**2)[numbers]
    near = _within(sizes >= LOBE_UM2, places, LOBES_NEAR_UM / 2 / um, np.ones_like(mask))
    far = _within(sizes >= FAR_LOBE_UM2, places, LOBES_FAR_UM / 2 / um, maps.matter)
    groups = _join(near, far, um)
    keep = np.bincount(groups, minlength=1) * um**2 >= NUCLEUS_UM2
    keep[0] = False
    nuclei = np.zeros(mask.shape, np.int32)
    nuclei.ravel()[places] = (np.cumsum(keep) * keep).astype(np.int32)[groups]
    return nuclei


def _within(chosen: NDArray[np.bool_], places: NDArray[np.int64], reach_px: float, ground: Mask) -> Labels:
    """Groups (N,) of the chosen ones of the pixels `places` (N,): together where their surroundings, reach_px wide, touch."""
    mask = np.zeros_like(ground)
    mask.ravel()[places] = chosen
    return labelled(dilated(mask, disc(reach_px)) & ground).ravel()[places] * chosen


def _join(near: Labels, far: Labels, um: float) -> Labels:
    """Near groups (N,), joined where they share a far group (N,) of which at most one could be a whole nucleus."""
    areas = np.bincount(near, minlength=1) * um**2
    inside = near > 0
    pairs = np.unique(far[inside].astype(np.int64) * len(areas) + near[inside])
    joined = np.arange(len(areas), dtype=np.int32)
    for group in np.unique(pairs // len(areas)).tolist():
        parts = pairs[pairs // len(areas) == group] % len(areas)
        if group and int((areas[parts] >= WHOLE_NUCLEUS_UM2).sum()) <= 1:
            joined[parts] = parts[0]
    return joined[near]


def join_in_one_cell(nuclei: Labels, matter: Mask, um: float) -> Labels:
    """Nuclei, joined where the matter between two is as wide as around them: lobes of one cell, not cells that touch."""
    centres = regions(nuclei).centres[:, ::-1]
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2) * um
    pairs = np.argwhere(np.triu(apart <= LOBE_CENTRES_UM, 1)).tolist()
    if not pairs:
        return nuclei
    depth_px = distance(matter)
    joined = np.arange(len(centres) + 1, dtype=np.int32)
    for a, b in pairs:
        line = np.rint(np.linspace(centres[a], centres[b], 24)).astype(np.intp)
        along = depth_px[line[:, 0], line[:, 1]]
        if along.min() >= NECK_SHARE * min(along[0], along[-1]):
            joined[joined == joined[b + 1]] = joined[a + 1]
    return np.unique(joined, return_inverse=True)[1].astype(np.int32).take(nuclei)
