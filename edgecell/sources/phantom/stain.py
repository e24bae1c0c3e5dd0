"""May-Gruenwald-Giemsa, as colours seen on a white-balanced brightfield microscope, and the optical density that makes them.

Colours are sRGB on the clear background WHITE. Density is -ln(colour / WHITE) for each channel; densities add where cells
overlap.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]
Density = NDArray[np.float32]

WHITE: Final[Colour] = (253, 227, 204)
LAMP: Final[Colour] = (247, 222, 202)  # what the camera shows of a clear field, before vignette

RED_CELL: Final[Colour] = (197, 152, 153)
RED_CELL_GREY: Final[Colour] = (186, 152, 158)
CHROMATIN: Final[Colour] = (70, 27, 130)
CHROMATIN_DENSE: Final[Colour] = (60, 24, 120)
CHROMATIN_LOOSE: Final[Colour] = (98, 47, 141)
PARACHROMATIN: Final[Colour] = (152, 100, 165)
PARACHROMATIN_LOOSE: Final[Colour] = (140, 90, 160)

NEUTROPHIL_CYTOPLASM: Final[Colour] = (219, 181, 182)
NEUTROPHIL_GRANULE: Final[Colour] = (160, 102, 158)
EOSINOPHIL_CYTOPLASM: Final[Colour] = (204, 146, 156)
EOSINOPHIL_GRANULE: Final[Colour] = (184, 108, 133)
EOSINOPHIL_GRANULE_DARK: Final[Colour] = (163, 86, 124)
EOSINOPHIL_CLEAR: Final[Colour] = (200, 170, 182)
BASOPHIL_CYTOPLASM: Final[Colour] = (186, 140, 174)
BASOPHIL_NUCLEUS: Final[Colour] = (92, 45, 138)
BASOPHIL_GRANULE: Final[Colour] = (64, 23, 122)
MONOCYTE_CYTOPLASM: Final[Colour] = (184, 156, 182)
MONOCYTE_CYTOPLASM_BLUE: Final[Colour] = (150, 124, 174)
VACUOLE: Final[Colour] = (236, 210, 200)
LYMPHOCYTE_CYTOPLASM: Final[Colour] = (140, 122, 176)
LYMPHOCYTE_CYTOPLASM_PALE: Final[Colour] = (188, 164, 184)
ERYTHROBLAST_CYTOPLASM: Final[Colour] = (180, 147, 172)
ERYTHROBLAST_CYTOPLASM_BLUE: Final[Colour] = (132, 106, 162)
IMMATURE_CYTOPLASM: Final[Colour] = (190, 158, 180)
IMMATURE_CYTOPLASM_BLUE: Final[Colour] = (164, 134, 180)
IMMATURE_GRANULE: Final[Colour] = (104, 46, 138)
PLATELET_BODY: Final[Colour] = (192, 152, 176)
PLATELET_GRANULE: Final[Colour] = (112, 56, 146)


def density(colour: Colour) -> Density:
    """Density (3,) that turns WHITE into colour."""
    return np.log(np.asarray(WHITE, np.float32) / np.asarray(colour, np.float32))


def between(rng: np.random.Generator, one: Colour, other: Colour) -> Density:
    """A density somewhere between two colours, lighter or darker by some per cent."""
    share = np.float32(rng.random())
    mixed = (1 - share) * density(one) + share * density(other)
    return (mixed * np.float32(rng.normal(1.0, 0.06))).astype(np.float32)


def slide_strength(seed: int, stain: float) -> Density:
    """Factor (3,) on all densities of a slide: no two slides are stained alike."""
    rng = np.random.default_rng((seed, 5))
    factor: Density = (stain * rng.normal(1.0, 0.03) * rng.normal(1.0, 0.025, 3)).astype(np.float32)
    return factor
