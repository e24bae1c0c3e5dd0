"""Figures with their number of cells and their intervals."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.auc import Auc
from calibration.averages import Averages, Estimate, averages, f1
from calibration.paired import Paired
from calibration.tolerance import Groups, tolerated
from edgecell.intervals import CONFIDENCE, clopper_pearson

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
    """One class of n cells, `called` how often it was the answer. Without ENOUGH cells nothing is claimed: all else is None.

    tolerant_precision, tolerant_recall: with answers from its tolerance groups taken for right; None for a class in no group.
    """

    name: str
    n: int
    called: int
    precision: Share | None
    recall: Share | None
    f1: Estimate | None
    tolerant_precision: Share | None = None
    tolerant_recall: Share | None = None

    def summary(self) -> dict[str, object]:
        """As plain values; null is "insufficient", or for the tolerant ones "in no group"."""
        named = {
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "tolerant_precision": self.tolerant_precision,
            "tolerant_recall": self.tolerant_recall,
        }
        plain = {name: each and each.summary() for name, each in named.items()}
        return {"name": self.name, "n": self.n, "called": self.called, **plain}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A classifier on labelled cells. accuracy: arg-max, undecided cells included. wrong: decided and wrong, of all.

    tolerant: accuracy with tolerance groups; None without groups. macro, weighted: over the classes with ENOUGH cells, None
    without one; without_reject: macro over those of them that are cells, None where that is the same.
    confusion: cells by (truth, called). decided_as: the same of those decided, with a last column for the others.
    auc, beside_float: None where they were not measured.
    """

    accuracy: Share
    decided: Share
    right_of_decided: Share
    wrong: Share
    classes: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    decided_as: tuple[tuple[int, ...], ...] = ()
    tolerant: Share | None = None
    macro: Averages | None = None
    weighted: Averages | None = None
    without_reject: Averages | None = None
    auc: Auc | None = None
    beside_float: Paired | None = None

    def summary(self) -> dict[str, object]:
        """All of it as plain values, shares as {count, n, value, interval}."""
        shares = {"accuracy": self.accuracy, "decided": self.decided}
        shares |= {"right_of_decided": self.right_of_decided, "wrong": self.wrong}
        optional = {
            "tolerant": self.tolerant,
            "macro": self.macro,
            "weighted": self.weighted,
            "without_reject": self.without_reject,
            "auc": self.auc,
            "beside_float": self.beside_float,
        }
        return {
            **{name: share.summary() for name, share in shares.items()},
            **{name: each and each.summary() for name, each in optional.items()},
            "classes": [each.summary() for each in self.classes],
            "confusion": self.confusion,
        }

    def __str__(self) -> str:
        named: dict[str, object | None] = {
            "accuracy (arg-max, unsure cells included)": self.accuracy,
            "the same, neighbouring stages tolerated": self.tolerant,
            "decided": self.decided,
            "right of the decided": self.right_of_decided,
            "decided and wrong, of all cells": self.wrong,
            **{f"macro F1 over {_over(each)}": each.f1 for each in (self.macro, self.without_reject) if each},
            **({f"weighted F1 over {_over(self.weighted)}": self.weighted.f1} if self.weighted else {}),
            **({f"AUC, macro over {len(self.auc.classes)} classes": f"{self.auc.macro:.4f}"} if self.auc else {}),
            "accuracy less that of the float model": self.beside_float,
        }
        head = [f"{title:43}{value}" for title, value in named.items() if value is not None]
        columns = f"{'class':24}{'n':>6}{'precision':>24}{'recall':>24}{'F1':>24}"
        return "\n".join([*head, columns, *(_row(each) for each in self.classes)])


def _over(some: Averages) -> str:
    return f"{len(some.classes)} classes"


def _row(each: ClassFigures) -> str:
    return f"{each.name:24}{each.n:6}" + "".join(f"{percent(one):>24}" for one in (each.precision, each.recall, each.f1))


def percent(figure: Share | Estimate | None) -> str:
    """Of a class, with its interval. None is too few cells for a claim; a class that is never called has no precision."""
    if figure is None:
        return "insufficient"
    if isinstance(figure, Share) and not figure.n:
        return "never called"
    low, high = figure.interval
    return f"{100 * figure.value:.1f} % ({100 * low:.1f}-{100 * high:.1f})"


def figures(
    predicted: NDArray[np.int64],
    decided: NDArray[np.bool_],
    truth: NDArray[np.int64],
    names: Sequence[str],
    *,
    reject: Collection[str] = (),
    tolerant: Groups = (),
) -> Figures:
    """predicted, truth: class indices (n,). decided: (n,). reject: classes that are no cells. tolerant: see `tolerated`."""
    right = predicted == truth
    n, sure = len(truth), int(decided.sum())
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    decided_as = np.zeros((len(names), len(names) + 1), np.int64)
    np.add.at(decided_as, (truth, np.where(decided, predicted, len(names))), 1)
    allowed = tolerated(names, tolerant)
    enough = np.flatnonzero(confusion.sum(axis=1) >= ENOUGH).tolist()
    cells = [number for number in enough if names[number] not in reject]
    return Figures(
        accuracy=Share(count=int(right.sum()), n=n),
        decided=Share(count=sure, n=n),
        right_of_decided=Share(count=int((right & decided).sum()), n=sure),
        wrong=Share(count=int((~right & decided).sum()), n=n),
        classes=tuple(_class(name, number, confusion, allowed) for number, name in enumerate(names)),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        decided_as=tuple(tuple(row) for row in decided_as.tolist()),
        tolerant=Share(count=int(confusion[allowed].sum()), n=n) if tolerant else None,
        macro=averages(confusion, enough, names) if enough else None,
        weighted=averages(confusion, enough, names, weighted=True) if enough else None,
        without_reject=averages(confusion, cells, names) if cells and cells != enough else None,
    )


def _class(name: str, number: int, confusion: NDArray[np.int64], allowed: NDArray[np.bool_]) -> ClassFigures:
    is_one, called_so = confusion[number], confusion[:, number]
    n, called, hits = int(is_one.sum()), int(called_so.sum()), int(confusion[number, number])
    if n < ENOUGH:
        return ClassFigures(name=name, n=n, called=called, precision=None, recall=None, f1=None)
    kin = allowed[number]
    grouped = int(kin.sum()) > 1
    return ClassFigures(
        name=name,
        n=n,
        called=called,
        precision=Share(count=hits, n=called),
        recall=Share(count=hits, n=n),
        f1=f1(hits, called - hits, n - hits),
        tolerant_precision=Share(count=int(called_so[kin].sum()), n=called) if grouped else None,
        tolerant_recall=Share(count=int(is_one[kin].sum()), n=n) if grouped else None,
    )
