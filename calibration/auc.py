"""Area under the ROC curve, each class against the rest: how well its probability ranks its cells above all others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Auc:
    """classes: by name, of those with enough cells. macro: their mean."""

    classes: dict[str, float]

    @property
    def macro(self) -> float:
        return sum(self.classes.values()) / len(self.classes)

    def summary(self) -> dict[str, object]:
        """As plain values."""
        return {"macro": self.macro, "classes": self.classes}


def auc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """The share of pairs (a positive, a negative) in which the positive has the higher score, ties counting half.

    scores, positive: (n,), both kinds present. By ranks (Mann-Whitney): ties share the mean of their ranks.
    """
    _, which, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[which]
    ones = int(positive.sum())
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * (len(scores) - ones)))


def against_the_rest(
    probabilities: NDArray[np.float64], truth: NDArray[np.int64], names: Sequence[str], enough: int
) -> Auc | None:
    """Of every class with at least `enough` cells in it and outside it; None without such a class. probabilities: (n, K)."""
    sides = [(int((truth == number).sum()), int((truth != number).sum())) for number in range(len(names))]
    fit = [number for number, side in enumerate(sides) if min(side) >= enough]
    return Auc(classes={names[each]: auc(probabilities[:, each], truth == each) for each in fit}) if fit else None
