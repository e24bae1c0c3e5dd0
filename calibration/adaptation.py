"""How much a bundle gains from a few labelled cells of a microscope that it was not trained on: the curve over their number.

Cells are drawn again and again from the training and validation parts of a dataset, every class as often as the others; the
bundle's last layer is adapted to them and answers all cells that were not drawn. The test part is left alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.cells import scored
from calibration.evaluate import run
from calibration.recipe import Data
from calibration.split import Part
from edgecell.adapt.choose import Base, adapt_layer
from edgecell.adapt.layer import FEATURES, read_statistics
from edgecell.adapt.onnxfile import read_layer
from edgecell.adapt.report import answers, gain
from edgecell.bundle import Bundle
from edgecell.errors import SettingsError

PARTS: tuple[Part, ...] = ("train", "val")
MEASURES = ("accuracy", "coverage", "wrong")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pool:
    """The cells to draw from. features: float64 (N, W). labels: (N,)."""

    features: NDArray[np.float64]
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Point:
    """One number of labelled cells. before, after: (repeats, MEASURES), 0-1, of the cells not drawn; tested: how many these
    are. better: repeats in which more cells became right than chance explains."""

    cells: int
    tested: int
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    better: int

    def summary(self) -> dict[str, object]:
        """Mean, standard deviation, least and most over the repeats, of each measure."""
        both = {"before": self.before, "after": self.after}
        named = {when: dict(zip(MEASURES, map(_spread, table.T), strict=True)) for when, table in both.items()}
        return {"cells": self.cells, "tested": self.tested, "repeats": len(self.after), "better": self.better, **named}

    def __str__(self) -> str:
        parts = (f"{_text(self.before.T[at])} -> {_text(self.after.T[at])}" for at in range(len(MEASURES)))
        return f"{self.cells:5}" + "".join(f"{part:>28}" for part in parts)


HEAD = f"{'cells':>5}" + "".join(f"{f'{name}, %':>28}" for name in MEASURES)


def pool(bundle: Bundle, data: Data, classes: Sequence[str], root: Path) -> Pool:
    """Features by the bundle's own INT8 model. classes: those to use, all that the dataset has if none are named."""
    spec, names = bundle.manifest.preprocess, bundle.class_names
    if unknown := set(classes) - set(names):
        raise SettingsError(f"no class {min(unknown)}", fix=f"use some of: {', '.join(names)}")
    parts = [scored(spec, names, data, part, root) for part in PARTS]
    crops, truth = np.concatenate([part.seen(spec) for part in parts]), np.concatenate([part.truth for part in parts])
    wanted = [at for at, name in enumerate(names) if name in classes or not classes]
    chosen = np.isin(truth, wanted)
    features = run(bundle.path, "u8s8", crops[chosen], spec)[FEATURES]
    return Pool(features=features.astype(np.float64), labels=truth[chosen])


def curve(bundle: Bundle, cells: Pool, counts: Sequence[int], repeats: int) -> Iterator[Point]:
    """A point for each count. Repeat r of a count draws the same cells in every run."""
    base = Base(
        layer=read_layer(bundle.file("u8s8.onnx")), statistics=read_statistics(bundle), confidence=bundle.manifest.confidence
    )
    meant = {at for at, each in enumerate(bundle.manifest.classes) if each.group != "reject"}
    complete = meant <= set(cells.labels.tolist())
    for count in counts:
        found = [_repeat(base, cells, count, number, bundle.class_names, complete) for number in range(repeats)]
        yield Point(
            cells=count,
            tested=len(cells.labels) - count,
            before=np.array([before for before, _, _ in found]),
            after=np.array([after for _, after, _ in found]),
            better=sum(better for _, _, better in found),
        )


def draw(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Indices of `count` cells, class after class in turn. Raises SettingsError when that leaves none to test on."""
    if count >= len(labels):
        raise SettingsError(f"{count} of {len(labels)} cells leave none to test on", fix="draw fewer")
    rng = np.random.default_rng((seed, count))
    piles = [rng.permutation(np.flatnonzero(labels == number)).tolist() for number in np.unique(labels)]
    turns = (pile[turn] for turn in range(max(map(len, piles))) for pile in piles if turn < len(pile))
    return np.array([cell for cell, _ in zip(turns, range(count), strict=False)], np.int64)


def _repeat(
    base: Base, cells: Pool, count: int, seed: int, names: tuple[str, ...], complete: bool
) -> tuple[list[float], list[float], bool]:
    drawn = draw(cells.labels, count, seed)
    rest = np.setdiff1d(np.arange(len(cells.labels)), drawn)
    adapted = adapt_layer(base, cells.features[drawn], cells.labels[drawn], complete=complete)
    features = cells.features[rest]
    before = answers(base.layer.logits(features), base.confidence)
    after = answers(adapted.layer.logits(features), adapted.confidence)
    found = gain(before, after, cells.labels[rest], names)
    was, now = ([each.right.value, each.decided.value, each.wrong.value] for each in (found.before, found.after))
    return was, now, found.better


def _spread(values: NDArray[np.float64]) -> dict[str, float]:
    return {
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        "least": float(values.min()),
        "most": float(values.max()),
    }


def _text(values: NDArray[np.float64]) -> str:
    found = _spread(100 * values)
    return f"{found['mean']:.1f} ±{found['sd']:.1f}"
