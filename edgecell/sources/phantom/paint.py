"""A painting of one cell: layers of optical density on a square canvas."""

import math
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell.sources.phantom import stain, texture
from edgecell.sources.phantom.texture import DRAWN_UM, Field, Points

_MARGIN_UM: Final = 0.8
_SHARPENING: Final = 0.4  # smear scanners sharpen; so do most microscope cameras


class Painting:
    """mask: the cell. depth: um inside its border. density: what was painted so far, (side, side, 3)."""

    def __init__(self, outline_um: Points, radius_um: float, grain: texture.Grain) -> None:
        reach = float(np.abs(outline_um).max()) + _MARGIN_UM
        self.side = 2 * math.ceil(reach / DRAWN_UM) + 1
        self.radius_um = radius_um
        self.outline_um = outline_um
        self.mask = texture.filled(self.side, outline_um)
        self.depth = texture.depth_um(self.mask)
        self.density: NDArray[np.float32] = np.zeros((self.side, self.side, 3), np.float32)
        self._grain = grain

    @property
    def rho(self) -> Field:
        """0 in the middle, 1 on the outline, in proportion between."""
        y, x = np.indices((self.side, self.side), np.float32) - np.float32(self.side // 2)
        angles = np.arctan2(self.outline_um[:, 1], self.outline_um[:, 0])
        radii = np.hypot(*self.outline_um.T)
        order = np.argsort(angles)
        here = np.interp(np.arctan2(y, x), angles[order], radii[order], period=2.0 * math.pi)
        rho: Field = (np.hypot(x, y) * DRAWN_UM / here).astype(np.float32)
        return rho

    def grain(self, name: str, rng: np.random.Generator) -> Field:
        return self._grain.patch(rng, name, self.side)

    def lay(self, amount: Field, density: stain.Density) -> None:
        """Add stain."""
        self.density += amount[..., None] * density

    def over(self, cover: Field, density: stain.Density) -> None:
        """Paint over what is there, where cover is 1."""
        self.density += cover[..., None] * (density - self.density)

    def cytoplasm(self, density: stain.Density, rng: np.random.Generator, *, grain: str, rough: float, edge: float) -> None:
        """Fill the cell: uneven by `rough`, darker at the border by `edge`."""
        uneven = 1.0 + rough * self.grain(grain, rng) + 0.5 * rough * self.grain("cloud", rng)
        border = edge * np.exp(-((self.depth / 0.35) ** 2))
        self.lay(texture.blur(self.mask, 0.7) * np.maximum(uneven + border, 0.05).astype(np.float32), density)

    def nucleus(
        self,
        shape: Field,
        rng: np.random.Generator,
        *,
        chromatin: stain.Density,
        gaps: stain.Density,
        grain: str,
        open_share: float,
    ) -> None:
        """Paint a nucleus where shape is 1: dense chromatin with `open_share` of it open, dense at the border."""
        shape = shape * self.mask
        depth = texture.depth_um(shape)
        noise = 0.70 * self.grain(grain, rng) + 0.68 * self.grain("clump", rng) + 0.22 * self.grain("fine", rng)
        level = float(NormalDist().inv_cdf(1.0 - open_share))
        opened = texture.step(noise, level - 1.2, level + 1.8) * texture.step(depth, 0.10, 0.40)
        uneven = (1.0 - 0.07 * self.grain("clump", rng))[..., None] * chromatin
        self.over(texture.blur(shape, 0.6), uneven)
        self.over(opened * shape, gaps)

    def granules(self, places_um: Points, radii_um: NDArray[np.float64], density: stain.Density, cover: float) -> None:
        """Granules inside the cell."""
        spots = texture.blur(texture.dots(self.side, places_um, radii_um), 0.6)
        self.over(spots * texture.step(self.depth, 0.0, 0.2) * np.float32(cover), density)

    def finished(self) -> NDArray[np.float32]:
        """Density as the microscope shows it: a little sharpened, never below clear."""
        soft = texture.blur(self.density, 1.4)
        sharp: NDArray[np.float32] = np.maximum(self.density + np.float32(_SHARPENING) * (self.density - soft), 0.0)
        return texture.blur(sharp, 0.6)
