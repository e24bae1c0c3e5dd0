"""What an adaptation gained, on cells held out: every labelled cell is answered once by a layer that never saw it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecell.adapt.choose import Adapted, Base, adapt_layer, folds
from edgecell.adapt.confidence import probabilities_at
from edgecell.adapt.layer import Array, Labels
from edgecell.bundle import Confidence
from edgecell.intervals import CONFIDENCE, clopper_pearson


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """To each cell: top, the most probable class (N,), and whether it is decided (N,)."""

    top: Labels
    decided: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """count of n, n > 0."""

    count: int
    n: int

    @property
    def value(self) -> float:
        return self.count / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Exact limits at CONFIDENCE (Clopper-Pearson)."""
        return clopper_pearson(self.count, self.n, CONFIDENCE)

    def as_json(self) -> dict[str, object]:
        return {"count": self.count, "n": self.n, "value": self.value, "interval": list(self.interval)}

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.value:.1f} % ({self.count}/{self.n}; {100 * low:.1f}-{100 * high:.1f})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """right: arg-max, undecided cells included. wrong: decided and wrong. All are shares of all cells."""

    right: Share
    decided: Share
    wrong: Share

    def as_json(self) -> dict[str, object]:
        return {"accuracy": self.right.as_json(), "coverage": self.decided.as_json(), "wrong": self.wrong.as_json()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """Before and after on the same cells, all together and by class. gained: cells that became right; lost: wrong."""

    before: Figures
    after: Figures
    by_class: dict[str, tuple[Figures, Figures]]
    gained: int
    lost: int

    @property
    def better(self) -> bool:
        """Whether more cells became right than chance explains: exact sign test of those that changed, two-sided 5 %."""
        changed = self.gained + self.lost
        return changed > 0 and clopper_pearson(self.gained, changed, CONFIDENCE)[0] > 0.5

    def as_json(self) -> dict[str, object]:
        classes = {name: {"before": a.as_json(), "after": b.as_json()} for name, (a, b) in self.by_class.items()}
        shares = {"before": self.before.as_json(), "after": self.after.as_json(), "classes": classes}
        return {**shares, "gained": self.gained, "lost": self.lost, "better": self.better}


def answers(logits: Array, confidence: Confidence) -> Answers:
    """logits: (N, K)."""
    probabilities = probabilities_at(logits, confidence.temperature)
    return Answers(top=probabilities.argmax(axis=1), decided=probabilities.max(axis=1) >= confidence.unsure_below)


def held_out(base: Base, features: Array, labels: Labels, *, complete: bool) -> Answers:
    """Cross-validated: all that adapting chooses is chosen anew without the fold. As `adapt_layer`."""
    part = folds(labels)
    top, decided = np.empty(len(labels), np.int64), np.empty(len(labels), np.bool_)
    for fold in np.unique(part):
        out = part == fold
        found: Adapted = adapt_layer(base, features[~out], labels[~out], complete=complete)
        given = answers(found.layer.logits(features[out]), found.confidence)
        top[out], decided[out] = given.top, given.decided
    return Answers(top=top, decided=decided)


def gain(before: Answers, after: Answers, labels: Labels, names: tuple[str, ...]) -> Gain:
    """Both to the same cells. names: of all classes; those without a cell are left out."""
    was, now = before.top == labels, after.top == labels
    return Gain(
        before=_figures(before, labels, labels == labels),
        after=_figures(after, labels, labels == labels),
        by_class=dict(_by_class(before, after, labels, names)),
        gained=int((now & ~was).sum()),
        lost=int((was & ~now).sum()),
    )


def _by_class(
    before: Answers, after: Answers, labels: Labels, names: tuple[str, ...]
) -> Iterator[tuple[str, tuple[Figures, Figures]]]:
    for number in np.unique(labels):
        own = labels == number
        yield names[number], (_figures(before, labels, own), _figures(after, labels, own))


def _figures(given: Answers, labels: Labels, some: NDArray[np.bool_]) -> Figures:
    right, decided, n = given.top == labels, given.decided, int(some.sum())
    return Figures(
        right=Share(count=int((right & some).sum()), n=n),
        decided=Share(count=int((decided & some).sum()), n=n),
        wrong=Share(count=int((decided & ~right & some).sum()), n=n),
    )
