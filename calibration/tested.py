"""The test of a bundle's models: INT8, FP32 and both encodings on the same cells of one part of every dataset."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration import split
from calibration.cells import scored
from calibration.evaluate import run, score
from calibration.metrics import Figures, Share
from calibration.paired import paired
from calibration.recipe import Recipe
from edgecell.bundle import LOGITS, Confidence, Encoding, Metric
from edgecell.certificate import Figure
from edgecell.correction import CONFUSION, UNDECIDED

LOG = logging.getLogger("edgecell.calibration")
ENCODINGS: tuple[Encoding, ...] = ("u8s8", "float", "s8s8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """One dataset. int8: of u8s8, beside the float model. agreement: cells on which u8s8 and s8s8 name the same class."""

    dataset: str
    part: split.Part
    int8: Figures
    fp32: Figures
    agreement: Share

    @property
    def title(self) -> str:
        return f"{self.dataset}, {self.part} split, INT8"

    @property
    def prefix(self) -> str:
        """In front of the names of its figures. Those of the test split are the bundle's, and have no more than the dataset."""
        return self.dataset if self.part == "test" else f"{self.dataset}.{self.part}"

    def figures(self) -> dict[str, Figure]:
        """By name, as the certificate lists them. int8_drop: FP32 less INT8 accuracy in points; negative is a gain."""
        shares = {
            "accuracy": self.int8.accuracy,
            "decided": self.int8.decided,
            "accuracy_of_decided": self.int8.right_of_decided,
            "decided_and_wrong": self.int8.wrong,
            "accuracy_fp32": self.fp32.accuracy,
            "agreement_u8s8_s8s8": self.agreement,
        }
        n = self.int8.accuracy.n
        means = {"macro_f1": self.int8.macro, "macro_f1_without_reject": self.int8.without_reject}
        found = {name: of_share(share) for name, share in shares.items()}
        for name, mean in means.items():
            if mean:
                low, high = mean.f1.interval
                found[name] = Figure(value=mean.f1.value, n=n, low=low, high=high)
        if self.int8.beside_float:
            beside = self.int8.beside_float
            least, most = beside.difference.interval
            drop = 100 * (beside.lost - beside.gained) / n
            found["int8_drop"] = Figure(value=drop, n=n, low=-100 * most, high=-100 * least)
        return {f"{self.prefix}.{name}": figure for name, figure in found.items()}

    def metrics(self) -> dict[str, Metric]:
        """The figures as the manifest lists them."""
        low, high = self.int8.accuracy.interval
        named = {f"{self.prefix}.{name}": value for name, value in (("accuracy_low", low), ("accuracy_high", high))}
        values = {name: figure.value for name, figure in self.figures().items()}
        return {f"{self.prefix}.cells": float(self.int8.accuracy.n), **values, **named}

    def confusion(self) -> dict[str, dict[str, Metric]]:
        """As the manifest lists it for `edgecell.correction`: for each class that has cells, how many of them the device would
        count as what."""
        names = [each.name for each in self.int8.classes]
        tables: dict[str, dict[str, Metric]] = {
            name: {to: float(count) for to, count in zip([*names, UNDECIDED], row, strict=True) if count}
            for name, row in zip(names, self.int8.decided_as, strict=True)
        }
        return {f"{self.prefix}{CONFUSION}{name}": table for name, table in tables.items() if table}


def of_share(share: Share) -> Figure:
    """A share of cells as a figure of the certificate."""
    low, high = share.interval
    return Figure(value=share.value if share.n else None, n=share.n, low=low, high=high)


def measure(recipe: Recipe, confidence: Confidence, root: Path, folder: Path, part: split.Part) -> list[Tested]:
    """The models in `folder` on `part` of every dataset of the recipe that has cells with one label there."""
    found = []
    for data in recipe.data:
        cells = scored(recipe.preprocess, recipe.class_names, data, part, root)
        known = cells.truth >= 0
        if known.any():
            crops = cells.seen(recipe.preprocess)[known]
            found.append(_compare(recipe, confidence, data.dataset, part, crops, cells.truth[known], folder))
            LOG.info("%s %s: INT8 %s, FP32 %s", data.dataset, part, found[-1].int8.accuracy, found[-1].fp32.accuracy)
    return found


def _compare(
    recipe: Recipe,
    confidence: Confidence,
    dataset: str,
    part: split.Part,
    crops: NDArray[np.uint8],
    truth: NDArray[np.int64],
    folder: Path,
) -> Tested:
    int8, fp32, simulated = (run(folder, name, crops, recipe.preprocess)[LOGITS] for name in ENCODINGS)
    reject = [entry.name for entry in recipe.classes if entry.group == "reject"]
    tolerant = [group.classes for group in recipe.tolerant]
    int8_figures, fp32_figures = (
        score(logits, truth, confidence, recipe.class_names, reject=reject, tolerant=tolerant) for logits in (int8, fp32)
    )
    beside = paired(int8.argmax(axis=1), fp32.argmax(axis=1), truth)
    same = int8.argmax(axis=1) == simulated.argmax(axis=1)
    return Tested(
        dataset=dataset,
        part=part,
        int8=replace(int8_figures, beside_float=beside),
        fp32=fp32_figures,
        agreement=Share(count=int(same.sum()), n=len(same)),
    )
