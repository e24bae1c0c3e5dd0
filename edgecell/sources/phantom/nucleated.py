"""The seven nucleated classes, each drawn from what a haematologist knows it by."""

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from edgecell.sources.phantom import stain, texture
from edgecell.sources.phantom.catalogue import wavy_outline
from edgecell.sources.phantom.paint import Painting
from edgecell.sources.phantom.texture import Field, Points


def _lobes(painting: Painting, rng: np.random.Generator, count: int, lobe_um: float, ring: float, spread: float) -> Field:
    """Lobes beaded along an arc around the cell's middle, joined by thin bridges.

    lobe_um: radius of a lobe. ring: radius of the arc over the cell's. spread: angle from one lobe to the next.
    """
    start, turn = rng.uniform(0.0, 2.0 * math.pi), rng.choice([-1.0, 1.0])
    along = np.linspace(-0.5, count - 0.5, 14 * count)
    from_lobe = np.abs(along - np.round(along))  # 0 in a lobe's middle, 0.5 between two
    bead = np.clip(np.round(along), 0, count - 1).astype(int)
    sizes = lobe_um * np.clip(rng.normal(1.0, 0.10, count), 0.8, 1.25)
    waist = rng.uniform(0.13, 0.52, count)[bead]  # thin threads to mere notches
    widths = sizes[bead] * (waist + (1.0 - waist) * np.clip(1.15 * np.cos(math.pi * from_lobe) ** 0.8, 0.0, 1.0))
    ends = (along > 0.0) & (along < count - 1.0)
    angles = start + turn * spread * (along + 0.10 * rng.standard_normal(count)[bead])
    wave = 1.0 + 0.18 * np.cos(rng.uniform(0.8, 1.6) * along + rng.uniform(0.0, 2.0 * math.pi))
    radii = painting.radius_um * np.clip(ring * wave, 0.1, 0.62)
    path = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
    path -= 0.4 * path.mean(axis=0)
    beaded = texture.dots(painting.side, path[ends], widths[ends])
    tips = texture.dots(painting.side, path[[7, -8]], sizes[[0, -1]])
    thread = texture.line(painting.side, path[7:-7], float(rng.uniform(0.25, 0.45)))
    return np.maximum(texture.step(texture.blur(np.maximum(beaded, tips), 1.6), 0.3, 0.7), thread)


def _round_nucleus(
    painting: Painting, rng: np.random.Generator, share: float, offset: float, waves: float = 0.02
) -> tuple[Points, tuple[float, float]]:
    """An almost round nucleus of `share` of the cell's radius, off its middle by `offset` of what room there is."""
    radius = share * painting.radius_um
    angle = rng.uniform(0.0, 2.0 * math.pi)
    room = offset * (painting.radius_um - radius)
    centre = (room * math.cos(angle), room * math.sin(angle))
    return wavy_outline(rng, radius, 0.06, waves, 0.0) + centre, centre


def _folded(painting: Painting, rng: np.random.Generator, share: float, bend: float, fat: float) -> Field:
    """A kidney to horseshoe: a thick bow. bend: half its opening angle. fat: thickness over the cell's radius."""
    middle = rng.uniform(0.0, 2.0 * math.pi)
    angles = middle + np.linspace(-bend, bend, 9)
    bow = share * painting.radius_um
    path = np.stack([np.cos(angles), np.sin(angles)], axis=1) * bow
    path -= 0.35 * path.mean(axis=0)
    widths = fat * painting.radius_um * (1.0 + 0.14 * rng.standard_normal(9)) * (0.92 + 0.16 * np.abs(np.linspace(-1, 1, 9)))
    smooth = np.convolve(np.pad(widths, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    return texture.step(texture.blur(texture.dots(painting.side, path, smooth), 2.0), 0.35, 0.65)


def neutrophil(painting: Painting, rng: np.random.Generator) -> None:
    """2-5 small dense lobes on thin bridges, pale pink cytoplasm with fine lilac granules."""
    body = stain.density(stain.NEUTROPHIL_CYTOPLASM) * np.float32(rng.normal(1.0, 0.08))
    painting.cytoplasm(body, rng, grain="lace", rough=0.16, edge=0.25)
    count = int(rng.integers(150, 420))
    places = texture.scattered(rng, count, 1.15 * painting.radius_um)
    painting.granules(
        places, rng.uniform(0.06, 0.15, count), stain.density(stain.NEUTROPHIL_GRANULE), float(rng.uniform(0.4, 0.9))
    )
    lobes = int(rng.choice([2, 3, 4, 5], p=[0.08, 0.42, 0.36, 0.14]))
    size = {2: 2.2, 3: 1.9, 4: 1.68, 5: 1.55}[lobes] * painting.radius_um / 6.7
    shape = _lobes(painting, rng, lobes, size, 0.50, {2: 1.9, 3: 1.5, 4: 1.2, 5: 1.05}[lobes])
    _dense_nucleus(painting, rng, shape, 0.22)


def _dense_nucleus(painting: Painting, rng: np.random.Generator, shape: Field, open_share: float) -> None:
    chromatin = stain.between(rng, stain.CHROMATIN, stain.CHROMATIN_DENSE)
    gaps = stain.density(stain.PARACHROMATIN)
    painting.nucleus(shape, rng, chromatin=chromatin, gaps=gaps, grain="lace", open_share=open_share)


def eosinophil(painting: Painting, rng: np.random.Generator) -> None:
    """Two lobes, and the whole cytoplasm packed with coarse orange-red granules."""
    painting.cytoplasm(stain.density(stain.EOSINOPHIL_CYTOPLASM), rng, grain="lace", rough=0.10, edge=0.35)
    hof = painting.mask * texture.step(painting.grain("cloud", rng), 1.1, 1.9)
    painting.over(hof, stain.density(stain.EOSINOPHIL_CLEAR))
    for colour, count in ((stain.EOSINOPHIL_GRANULE, 620), (stain.EOSINOPHIL_GRANULE_DARK, 240)):
        places = texture.scattered(rng, count, 1.02 * painting.radius_um)
        painting.granules(places, rng.uniform(0.14, 0.27, count), stain.density(colour), 0.7)
    lobes = int(rng.choice([2, 3], p=[0.85, 0.15]))
    size = {2: 2.55, 3: 2.1}[lobes] * painting.radius_um / 6.9
    shape = _lobes(painting, rng, lobes, size, 0.52, {2: 2.3, 3: 1.6}[lobes])
    _dense_nucleus(painting, rng, shape, 0.30)


def basophil(painting: Painting, rng: np.random.Generator) -> None:
    """Coarse, nearly black-purple granules over everything: the nucleus is guessed rather than seen."""
    painting.cytoplasm(stain.density(stain.BASOPHIL_CYTOPLASM), rng, grain="lace", rough=0.18, edge=0.5)
    shape = _folded(painting, rng, 0.36, 1.7, 0.50)
    chromatin = stain.density(stain.BASOPHIL_NUCLEUS)
    painting.nucleus(shape, rng, chromatin=chromatin, gaps=stain.density(stain.PARACHROMATIN), grain="clump", open_share=0.5)
    # Granules stand out over the cell's border: it looks beaded.
    for least, most, cover in ((0.10, 0.20, 0.6), (0.14, 0.32, 0.9)):
        count = int(rng.integers(120, 240))
        places = texture.scattered(rng, count, 0.98 * painting.radius_um)
        spots = texture.dots(painting.side, places, rng.uniform(least, most, count))
        painting.over(texture.blur(spots, 0.8) * np.float32(cover), stain.density(stain.BASOPHIL_GRANULE))


def monocyte(painting: Painting, rng: np.random.Generator) -> None:
    """The largest: a folded nucleus of lacy chromatin, grey-blue ground-glass cytoplasm, vacuoles."""
    body = stain.between(rng, stain.MONOCYTE_CYTOPLASM, stain.MONOCYTE_CYTOPLASM_BLUE)
    painting.cytoplasm(body, rng, grain="lace", rough=0.12, edge=0.30)
    count = int(rng.integers(40, 110))
    places = texture.scattered(rng, count, painting.radius_um)
    painting.granules(places, rng.uniform(0.08, 0.14, count), stain.density(stain.IMMATURE_GRANULE), 0.35)
    holes = int(rng.integers(0, 14))
    painting.granules(
        texture.scattered(rng, holes, 0.92 * painting.radius_um),
        rng.uniform(0.2, 0.6, holes),
        stain.density(stain.VACUOLE),
        0.85,
    )
    shape = _folded(painting, rng, float(rng.uniform(0.34, 0.48)), float(rng.uniform(1.1, 2.1)), float(rng.uniform(0.36, 0.46)))
    chromatin = stain.between(rng, stain.CHROMATIN, stain.CHROMATIN_LOOSE)
    gaps = stain.density(stain.PARACHROMATIN_LOOSE)
    painting.nucleus(shape, rng, chromatin=chromatin, gaps=gaps, grain="lace", open_share=0.50)


def lymphocyte(painting: Painting, rng: np.random.Generator) -> None:
    """Small, with a round dense nucleus that leaves a thin pale-blue rim."""
    body = stain.between(rng, stain.LYMPHOCYTE_CYTOPLASM, stain.LYMPHOCYTE_CYTOPLASM_PALE)
    painting.cytoplasm(body, rng, grain="lace", rough=0.15, edge=0.6)
    outline, _ = _round_nucleus(painting, rng, float(rng.uniform(0.83, 0.95)), 0.75, 0.018)
    chromatin = stain.between(rng, stain.CHROMATIN, stain.CHROMATIN_DENSE)
    gaps = stain.density(stain.CHROMATIN_LOOSE) * np.float32(0.85)
    shape = texture.filled(painting.side, outline)
    painting.nucleus(shape, rng, chromatin=chromatin, gaps=gaps, grain="lace", open_share=0.35)


def erythroblast(painting: Painting, rng: np.random.Generator) -> None:
    """A small, round, almost black nucleus in smooth grey-pink to blue cytoplasm."""
    body = stain.between(rng, stain.ERYTHROBLAST_CYTOPLASM, stain.ERYTHROBLAST_CYTOPLASM_BLUE)
    painting.cytoplasm(body, rng, grain="clump", rough=0.06, edge=0.30)
    outline, _ = _round_nucleus(painting, rng, float(rng.uniform(0.55, 0.70)), float(rng.uniform(0.2, 0.8)), 0.008)
    chromatin = stain.density(stain.CHROMATIN_DENSE) * np.float32(1.04)
    gaps = stain.density(stain.PARACHROMATIN)
    shape = texture.filled(painting.side, outline)
    painting.nucleus(shape, rng, chromatin=chromatin, gaps=gaps, grain="clump", open_share=float(rng.uniform(0.04, 0.16)))


def immature_granulocyte(painting: Painting, rng: np.random.Generator) -> None:
    """Myelocyte or metamyelocyte: a large round, oval or indented nucleus, and azurophil granules, also over the nucleus."""
    body = stain.between(rng, stain.IMMATURE_CYTOPLASM, stain.IMMATURE_CYTOPLASM_BLUE)
    painting.cytoplasm(body, rng, grain="clump", rough=0.10, edge=0.25)
    outline, _ = _round_nucleus(painting, rng, float(rng.uniform(0.68, 0.82)), 0.85, 0.03)
    shape = texture.filled(painting.side, outline)
    if rng.random() < 0.35:
        shape = _folded(painting, rng, 0.30, 1.0, 0.50)
    chromatin = stain.between(rng, stain.CHROMATIN, stain.CHROMATIN_LOOSE)
    gaps = stain.density(stain.PARACHROMATIN)
    painting.nucleus(shape, rng, chromatin=chromatin, gaps=gaps, grain="lace", open_share=0.38)
    count = int(rng.integers(250, 800))
    places = texture.scattered(rng, count, 1.02 * painting.radius_um)
    granule = stain.between(rng, stain.IMMATURE_GRANULE, stain.CHROMATIN)
    painting.granules(places, rng.uniform(0.06, 0.15, count), granule, float(rng.uniform(0.55, 0.9)))


DRAWERS: Final[Mapping[str, Callable[[Painting, np.random.Generator], None]]] = {
    "basophil": basophil,
    "eosinophil": eosinophil,
    "erythroblast": erythroblast,
    "immature_granulocyte": immature_granulocyte,
    "lymphocyte": lymphocyte,
    "monocyte": monocyte,
    "neutrophil": neutrophil,
}
