"""Two models on the same cells: is one of them right more often?"""

from dataclasses import dataclass
from math import comb, sqrt

import numpy as np
from numpy.typing import NDArray

from calibration.averages import Estimate

NORMAL = 1.959963984540054
"""Standard normal quantile of a two-sided 95 % interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """n cells. gained: only the first model is right. lost: only the second is."""

    n: int
    gained: int
    lost: int

    @property
    def difference(self) -> Estimate:
        """Accuracy of the first less that of the second, as shares of 1.

        Wald's interval with half a cell added to each of the four kinds (Agresti and Min 2005, Stat Med 24:729), which holds
        its 95 % with few discordant cells, too.
        """
        n, gained, lost = self.n + 2, self.gained + 0.5, self.lost + 0.5
        middle = (gained - lost) / n
        half = NORMAL * sqrt(gained + lost - (gained - lost) ** 2 / n) / n
        return Estimate(value=(self.gained - self.lost) / self.n, interval=(middle - half, middle + half))

    @property
    def p(self) -> float:
        """McNemar's exact test, two-sided: how often cells that are right on one side only would fall as unevenly by chance."""
        discordant, fewer = self.gained + self.lost, min(self.gained, self.lost)
        tail = sum(comb(discordant, count) for count in range(fewer + 1))
        return min(1.0, float(2 * tail / 2**discordant))

    def summary(self) -> dict[str, object]:
        """As plain values."""
        counts = {"n": self.n, "gained": self.gained, "lost": self.lost}
        return {**counts, "difference": self.difference.summary(), "mcnemar_p": self.p}

    def __str__(self) -> str:
        low, high = self.difference.interval
        points = f"{100 * self.difference.value:+.2f} points (95 % {100 * low:+.2f} to {100 * high:+.2f}"
        cells = f"of {self.n} cells only the first is right on {self.gained}, only the second on {self.lost}"
        return f"{points}; {cells}; exact McNemar p = {self.p:.3g})"


def paired(first: NDArray[np.int64], second: NDArray[np.int64], truth: NDArray[np.int64]) -> Paired:
    """first, second, truth: class indices (n,) of the same cells; n is not 0."""
    one, other = first == truth, second == truth
    return Paired(n=len(truth), gained=int((one & ~other).sum()), lost=int((~one & other).sum()))
