"""Coverage against error: how many cells get an answer, and how many of the answers are wrong, at every threshold.

What is called a reject class is never answered, whatever the threshold: the device counts it as unsure.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.metrics import Share

STATED = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)
"""Coverages, as shares of all cells, that the table is made for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """threshold: confidence down to which cells are answered. answered: of all cells. wrong: of those answered."""

    threshold: float
    answered: Share
    wrong: Share

    def summary(self) -> dict[str, object]:
        """As plain values."""
        return {"threshold": self.threshold, "answered": self.answered.summary(), "wrong": self.wrong.summary()}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coverage:
    """n cells, of which the `confidence` (m,), falling, and `right` (m,) of those that can be answered."""

    n: int
    confidence: NDArray[np.float64]
    right: NDArray[np.bool_]

    def curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coverage and error of all thresholds that tell cells apart: cells of one confidence come together."""
        answered, wrong = np.arange(1, len(self.right) + 1), np.cumsum(~self.right)
        last = np.append(self.confidence[1:] < self.confidence[:-1], True)[: len(self.right)]
        return answered[last] / self.n, wrong[last] / answered[last]

    def at(self, threshold: float) -> Point:
        """With cells of at least this confidence answered."""
        answered = int((self.confidence >= threshold).sum())
        wrong = Share(count=int((~self.right[:answered]).sum()), n=answered)
        return Point(threshold=threshold, answered=Share(count=answered, n=self.n), wrong=wrong)

    def table(self) -> tuple[Point, ...]:
        """At the STATED coverages, or the next one above that a threshold can give; without those that none can."""
        wanted = [int(np.ceil(share * self.n - 1e-9)) for share in STATED]
        return tuple(self.at(float(self.confidence[count - 1])) for count in wanted if 0 < count <= len(self.right))


def coverage(confidence: NDArray[np.float64], right: NDArray[np.bool_], answerable: NDArray[np.bool_]) -> Coverage:
    """confidence, right, answerable: (n,)."""
    chosen = np.flatnonzero(answerable)
    order = chosen[np.argsort(-confidence[chosen], kind="stable")]
    return Coverage(n=len(right), confidence=confidence[order], right=right[order])
