"""Red cells as a ruler: at which scale does a frame make sense to the network, when nobody tells."""

import numpy as np
from numpy.typing import NDArray

from edgecell.halves import Halves
from edgecell.messages import RED_BLOOD_CELL
from edgecell.optics.scale import LEAST_CELLS, RED_CELL_UM
from edgecell.segmenters.network.look import Look, Network

SIDES_PX = (128, 256, 512, 1024)
"""Longer sides of the network's input tried at first: the frame may be 4 red cells across, or 50. They lie a factor of 2 apart,
and the network was trained to find cells that are shown 1.5 times too large or too small."""
BOX_TO_CELL = 7.2 / 7.6
"""A red cell's diameter by the side of its box. People draw boxes a little wide, and cells are not quite round: measured on the
fields that the network learnt from, against the areas that the segmenter `stain` finds there."""
FITTING = 1.5
"""Red cells within this factor of the expected size speak for a scale."""
ROUND = 1.3
"""Length by width of the boxes of round cells, at most."""
CLOSE = 0.05
"""Nothing changes between two looks at scales as close as this."""
BORDER_PX = 1.5


def round_red_cells(seen: Look, network: Network, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Diameters (px of the frame) of the red cells that are round and off the border, (N,)."""
    if RED_BLOOD_CELL not in network.names:
        return np.zeros(0)
    boxes = seen.boxes[seen.found.kinds == network.names.index(RED_BLOOD_CELL)]
    size = boxes[:, 2:] - boxes[:, :2]
    inner = (boxes[:, :2] > BORDER_PX).all(axis=1) & (boxes[:, 2:] < np.array([shape[1], shape[0]]) - BORDER_PX).all(axis=1)
    chosen = size[inner & (size.max(axis=1, initial=0) <= ROUND * size.min(axis=1, initial=np.inf))]
    diameters: NDArray[np.float64] = BOX_TO_CELL * np.sqrt(chosen.prod(axis=1))
    return diameters


def first_look(halves: Halves, network: Network) -> Look:
    """The cells at the scale at which most of the frame is red cells of the right size. Raises InferenceError."""
    shape = halves.halved(0).shape
    side = max(shape[:2])
    tried = (work_px for work_px in SIDES_PX if work_px <= max(2 * side, SIDES_PX[0]))
    looks = [network.look(halves, network.work_um * work_px / side) for work_px in tried]
    return _refined(halves, max(looks, key=lambda seen: _evidence(seen, network, shape)), network)


def _evidence(seen: Look, network: Network, shape: tuple[int, ...]) -> float:
    """Share of the frame that red cells of about the expected size fill, those counted most that the network is sure of."""
    if RED_BLOOD_CELL not in network.names:
        return 0.0
    kind = network.names.index(RED_BLOOD_CELL)
    red = seen.found.kinds == kind
    size = np.sqrt((seen.boxes[red, 2:] - seen.boxes[red, :2]).prod(axis=1))
    fits = np.abs(np.log(np.maximum(size, 1e-9) * seen.pixel_um / RED_CELL_UM)) < np.log(FITTING)
    return float((size**2 * seen.found.scores[red, kind])[fits].sum()) / (shape[0] * shape[1])


def _refined(halves: Halves, seen: Look, network: Network) -> Look:
    """The cells at the scale that the red cells seen give, where that is another."""
    for _ in range(2):
        diameters = round_red_cells(seen, network, halves.halved(0).shape)
        if diameters.size < LEAST_CELLS:
            break
        pixel_um = RED_CELL_UM / float(np.median(diameters))
        if abs(pixel_um / seen.pixel_um - 1.0) < CLOSE:
            break
        seen = network.look(halves, pixel_um)
    return seen
