"""Individuals -> sprites: the optical density of every cell, drawn once when the slide is laid under the microscope."""

import math
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.messages import PLATELET, RED_BLOOD_CELL
from edgecell.sources.phantom import stain, texture
from edgecell.sources.phantom.catalogue import Individual, catalogue
from edgecell.sources.phantom.nucleated import DRAWERS
from edgecell.sources.phantom.paint import Painting
from edgecell.sources.phantom.texture import DRAWN_UM, Field

Sprite = NDArray[np.int16]
STEPS: Final = 1000.0  # of one unit of density in a sprite


@lru_cache(maxsize=2)  # opening the same slide again costs nothing
def sprites(seed: int, stain_strength: float, pixel_um: float) -> tuple[Sprite, ...]:
    """The individuals of catalogue(seed) in turn 0, shared and not writeable.

    Each is int16 (side, side, 3), density x STEPS; its centroid is the middle of pixel side // 2.
    """
    grain = texture.Grain(np.random.default_rng((seed, 6)))
    strength = stain.slide_strength(seed, stain_strength)
    return tuple(_sprite(one, grain, strength, pixel_um) for one in catalogue(seed))


def turned(sprite: Sprite, turn: int) -> Sprite:
    """The sprite in one of the eight turns of catalogue.TURNS."""
    mirrored = sprite[:, ::-1] if turn >= 4 else sprite
    return np.ascontiguousarray(np.rot90(mirrored, turn % 4))


def _sprite(one: Individual, grain: texture.Grain, strength: stain.Density, pixel_um: float) -> Sprite:
    rng = np.random.default_rng((*one.seed, 7))
    painting = Painting(one.outline_um, one.radius_um, grain)
    if one.kind == RED_BLOOD_CELL:
        _red_blood_cell(painting, rng)
    elif one.kind == PLATELET:
        _platelet(painting, rng)
    else:
        DRAWERS[one.label](painting, rng)
    return _scaled(painting.finished() * (strength * np.float32(STEPS)), pixel_um)


def _scaled(drawn: Field, pixel_um: float) -> Sprite:
    """From DRAWN_UM to pixel_um, keeping an odd side so that the middle stays the middle."""
    if pixel_um != DRAWN_UM:
        side = 2 * math.ceil(drawn.shape[0] * DRAWN_UM / pixel_um / 2) + 1
        scale = DRAWN_UM / pixel_um
        shift = side // 2 - scale * (drawn.shape[0] // 2)
        sharp = cv2.GaussianBlur(drawn, (0, 0), 0.5 / scale) if scale < 1 else drawn
        drawn = cv2.warpAffine(sharp, np.array([[scale, 0.0, shift], [0.0, scale, shift]]), (side, side)).astype(np.float32)
    sprite: Sprite = np.round(drawn).astype(np.int16)
    sprite.setflags(write=False)
    return sprite


def _red_blood_cell(painting: Painting, rng: np.random.Generator) -> None:
    """A biconcave disc: thickness falls towards the middle (central pallor) and at the very rim."""
    body = stain.between(rng, stain.RED_CELL, stain.RED_CELL_GREY) * np.float32(rng.normal(1.0, 0.05))
    rho = painting.rho
    pallor = float(np.clip(rng.normal(0.66, 0.24), 0.0, 0.95))
    width, steep = float(rng.uniform(0.38, 0.62)), float(rng.uniform(2.2, 5.0))
    profile = 1.0 - pallor * np.exp(-((rho / width) ** steep)) + 0.12 * np.exp(-(((rho - 0.82) / 0.12) ** 2))
    profile += 0.03 * painting.grain("cloud", rng)
    rim = texture.step(painting.depth, -0.05, 0.25)
    painting.lay(texture.blur((painting.mask * profile * (0.65 + 0.35 * rim)).astype(np.float32), 0.8), body)


def _platelet(painting: Painting, rng: np.random.Generator) -> None:
    """A pale body with purple granules crowded towards its middle."""
    painting.lay(texture.blur(painting.mask, 1.5), stain.density(stain.PLATELET_BODY))
    crowd = texture.step(painting.depth, 0.0, 0.6)
    grains = texture.step(0.8 * painting.grain("lace", rng) + 0.5 * painting.grain("fine", rng) + crowd - 0.6, -1.0, 1.5)
    painting.over(grains * crowd * np.float32(rng.uniform(0.75, 1.0)), stain.density(stain.PLATELET_GRANULE))
