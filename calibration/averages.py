"""F1 and the averages over classes, from a confusion matrix, with 95 % intervals.

The interval of one class's F1 is exact: of the cells that are of the class or called so, the share that is both (the Jaccard
index J) is binomial, and F1 = 2J / (1 + J) rises with it, so Clopper-Pearson limits of J become limits of F1. An average over
classes has no such way: its interval is a percentile bootstrap over the cells (Efron and Tibshirani 1993), which is too narrow
where hardly any cell is wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecell.intervals import CONFIDENCE, clopper_pearson

DRAWS, SEED = 2000, 20240901
"""Of the bootstrap: the same cells give the same interval on every machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure that is no share of cells, with its 95 % interval."""

    value: float
    interval: tuple[float, float]

    def summary(self) -> dict[str, object]:
        """As plain values, under the names that a share has."""
        return {"value": self.value, "interval": self.interval}

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.4f} (95 % {low:.4f}-{high:.4f})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Averages:
    """Means over `classes` of precision, recall and F1. A class that is never called has a precision of 0 here."""

    classes: tuple[str, ...]
    precision: Estimate
    recall: Estimate
    f1: Estimate

    def summary(self) -> dict[str, object]:
        """As plain values."""
        figures = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return {"classes": self.classes, **{name: each.summary() for name, each in figures.items()}}


def f1(hits: int, false: int, missed: int) -> Estimate:
    """Of one class: cells called so rightly and wrongly, and those that were not. At least one of the three is not 0."""
    union = hits + false + missed
    low, high = (2 * limit / (1 + limit) for limit in clopper_pearson(hits, union, CONFIDENCE))
    return Estimate(value=2 * hits / (union + hits), interval=(low, high))


def averages(confusion: NDArray[np.int64], chosen: Sequence[int], names: Sequence[str], *, weighted: bool = False) -> Averages:
    """Over the classes of index `chosen`. confusion: cells (truth, called), all classes.

    weighted: by the cells of each class, else all classes count alike (macro).
    """
    total = int(confusion.sum())
    drawn = np.random.default_rng(SEED).multinomial(total, confusion.ravel() / total, DRAWS).reshape(-1, *confusion.shape)
    at = list(chosen)
    values = _means(confusion[None], at, weighted=weighted)[0]
    limits = np.quantile(_means(drawn, at, weighted=weighted), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    precision, recall, both = (
        Estimate(value=float(value), interval=(float(low), float(high)))
        for value, low, high in zip(values, *limits, strict=True)
    )
    return Averages(classes=tuple(names[each] for each in at), precision=precision, recall=recall, f1=both)


def _means(confusions: NDArray[np.int64], chosen: list[int], *, weighted: bool) -> NDArray[np.float64]:
    """Mean precision, recall and F1, (n, 3), of matrices (n, K, K)."""
    hits = np.diagonal(confusions, axis1=1, axis2=2)[:, chosen].astype(np.float64)
    of_class, called = confusions.sum(axis=2)[:, chosen], confusions.sum(axis=1)[:, chosen]
    each = np.stack([hits / np.maximum(called, 1), hits / np.maximum(of_class, 1), 2 * hits / np.maximum(called + of_class, 1)])
    weights = of_class if weighted else np.ones_like(of_class)
    means: NDArray[np.float64] = ((each * weights).sum(axis=2) / weights.sum(axis=1)).T
    return means
