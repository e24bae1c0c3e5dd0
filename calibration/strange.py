"""Strange slides, made of known cells: how far may a slide look foreign before its labels go wrong?

All cells of a made-up slide get one and the same stain, lamp and optics, from what the datasets show up to far beyond what
training showed. On each the mean confidence is known, as the device will know it, and so is what the decided cells are worth.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from calibration.augment import appearance
from calibration.cells import ScoredCells
from calibration.recipe import Augment, Recipe

SLIDES = 240
CELLS = 120
FURTHEST = 3.0
"""Times the recipe's own strength: on the furthest, a third of the cells or less is decided."""
NEIGHBOURS = 24
"""Slides of similar mean confidence that are looked at together: some 2,000 decided cells."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StrangeSlide:
    """crops: uint8 (n, size_px, size_px, 3), all changed alike. truth: (n,). strength: in times the recipe's."""

    crops: NDArray[np.uint8]
    truth: NDArray[np.int64]
    strength: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a model makes of a slide: mean confidence, cells, those decided, those decided and wrong."""

    mean_confidence: float
    cells: int
    decided: int
    wrong: int


def slides(recipe: Recipe, known: Sequence[ScoredCells]) -> Iterator[StrangeSlide]:
    """SLIDES, of each of the datasets in turn, of their cells with one label; none where no dataset has cells."""
    rng = np.random.default_rng((recipe.training.seed, 2))
    for number in range(SLIDES if known else 0):
        cells = known[number % len(known)]
        labelled = np.flatnonzero(cells.truth >= 0)
        chosen = rng.choice(labelled, min(CELLS, len(labelled)), replace=False)
        strength, seed = float(rng.uniform(0, FURTHEST)), int(rng.integers(1 << 32))
        how = stronger(recipe.training.augment, strength, lit=bool(rng.random() < recipe.training.augment.light))
        crops = [appearance(np.random.default_rng(seed), cells.crops[at], recipe.preprocess, how) for at in chosen]
        yield StrangeSlide(crops=np.stack(crops), truth=cells.truth[chosen], strength=strength)


def stronger(how: Augment, strength: float, *, lit: bool) -> Augment:
    """What changes a whole slide, at `strength` times the recipe's; what is a matter of chance cell by cell is off."""
    scaled = {name: getattr(how, name) * strength for name in ("stain", "density", "channels", "dyes", "tone", "blur_um")}
    return replace(how, **scaled, light=float(lit), grey=0.0)


def foreign_below(seen: Sequence[Seen], largest_error: float) -> float:
    """The mean confidence down to which the decided cells of similar slides, taken together, err at most `largest_error`.

    Where they do so on all slides it is that of the strangest ones: beyond them nothing is known. 0 for fewer slides than
    NEIGHBOURS.
    """
    by_confidence = sorted(seen, key=lambda each: -each.mean_confidence)
    windows = [by_confidence[at : at + NEIGHBOURS] for at in range(len(by_confidence) - NEIGHBOURS + 1)]
    for window in windows:
        if sum(each.wrong for each in window) > largest_error * sum(each.decided for each in window):
            return window[NEIGHBOURS // 2].mean_confidence
    return windows[-1][NEIGHBOURS // 2].mean_confidence if windows else 0.0
