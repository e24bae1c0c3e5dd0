"""Is a confidence of 0.9 right nine times in ten? The reliability diagram and the expected calibration error."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.metrics import Share

BINS = 15
"""Of equal width, as in Guo et al. 2017, arXiv 1706.04599."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """The cells of a confidence of `low` to `high`: their mean confidence, and how many are right."""

    low: float
    high: float
    confidence: float
    right: Share

    def summary(self) -> dict[str, object]:
        """As plain values."""
        return {"low": self.low, "high": self.high, "confidence": self.confidence, "right": self.right.summary()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """bins: those with cells."""

    bins: tuple[Bin, ...]

    @property
    def error(self) -> float:
        """Expected calibration error: how far confidence and accuracy are apart, mean over the cells."""
        n = sum(each.right.n for each in self.bins)
        return sum(each.right.n * abs(each.right.value - each.confidence) for each in self.bins) / n

    def summary(self) -> dict[str, object]:
        """As plain values."""
        return {"expected_calibration_error": self.error, "bins": [each.summary() for each in self.bins]}


def reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> Reliability:
    """confidence: (n,), 0-1. right: (n,). A confidence on the border of two bins is in the upper one, 1 in the last."""
    at = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = []
    for number in np.unique(at).tolist():
        mine = at == number
        share = Share(count=int(right[mine].sum()), n=int(mine.sum()))
        bins.append(Bin(low=number / BINS, high=(number + 1) / BINS, confidence=float(confidence[mine].mean()), right=share))
    return Reliability(bins=tuple(bins))
