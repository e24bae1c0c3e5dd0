"""Figures with their number of cells and their intervals."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from edgecell.tally import CONFIDENCE, clopper_pearson

ENOUGH = 50  # cells of a class below which no claim is made


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """count of n, with its exact 95 % interval (Clopper-Pearson)."""

    count: int
    n: int

    @property
    def value(self) -> float:
        return self.count / self.n if self.n else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        return clopper_pearson(self.count, self.n, CONFIDENCE) if self.n else (0.0, 1.0)

    def summary(self) -> dict[str, object]:
        """As plain values. value: not a number where n is 0, which JSON writes as null."""
        return {"count": self.count, "n": self.n, "value": self.value, "interval": self.interval}

    def __str__(self) -> str:
        if not self.n:
            return "none (0/0)"
        low, high = self.interval
        return f"{100 * self.value:.2f} % ({self.count}/{self.n}, 95 % {100 * low:.2f}-{100 * high:.2f})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFigures:
    """One class: n cells, precision and recall; None where too few cells support a claim."""

    name: str
    n: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A classifier on labelled cells. accuracy: arg-max, undecided cells included. wrong: decided and wrong, of all."""

    accuracy: Share
    decided: Share
    right_of_decided: Share
    wrong: Share
    classes: tuple[ClassFigures, ...]

    def summary(self) -> dict[str, object]:
        """All of it as plain values, shares as {count, n, value, interval}."""
        named = {
            "accuracy": self.accuracy,
            "decided": self.decided,
            "right_of_decided": self.right_of_decided,
            "wrong": self.wrong,
        }
        return {**{name: share.summary() for name, share in named.items()}, "classes": [asdict(each) for each in self.classes]}

    def __str__(self) -> str:
        head = [
            f"accuracy (arg-max, unsure cells included)  {self.accuracy}",
            f"decided                                    {self.decided}",
            f"right of the decided                       {self.right_of_decided}",
            f"decided and wrong, of all cells            {self.wrong}",
            f"{'class':24}{'n':>6}{'precision':>14}{'recall':>14}",
        ]
        rows = [f"{each.name:24}{each.n:6}{percent(each.precision):>14}{percent(each.recall):>14}" for each in self.classes]
        return "\n".join([*head, *rows])


def percent(value: float | None) -> str:
    """Of a class figure: None is too few cells for a claim."""
    return "insufficient" if value is None else f"{100 * value:.1f} %"


def figures(
    predicted: NDArray[np.int64], decided: NDArray[np.bool_], truth: NDArray[np.int64], names: Sequence[str]
) -> Figures:
    """predicted, truth: class indices (n,). decided: (n,)."""
    right = predicted == truth
    n, sure = len(truth), int(decided.sum())
    return Figures(
        accuracy=Share(count=int(right.sum()), n=n),
        decided=Share(count=sure, n=n),
        right_of_decided=Share(count=int((right & decided).sum()), n=sure),
        wrong=Share(count=int((~right & decided).sum()), n=n),
        classes=tuple(_class(name, predicted == number, truth == number) for number, name in enumerate(names)),
    )


def _class(name: str, called: NDArray[np.bool_], is_one: NDArray[np.bool_]) -> ClassFigures:
    n, hits = int(is_one.sum()), int((called & is_one).sum())
    enough = n >= ENOUGH
    precision = hits / int(called.sum()) if enough and called.any() else None
    return ClassFigures(name=name, n=n, precision=precision, recall=hits / n if enough else None)
