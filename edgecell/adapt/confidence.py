"""Temperature and threshold from held-out answers to few cells, and how little few cells can say about them.

The rule. A threshold is a promise: of all cells at most LARGEST_WRONG are decided and wrong. A few dozen cells can break that
promise but not give it. So the old threshold stays, with three exceptions:

- where more than LARGEST_WRONG of the held-out cells are decided and wrong, it is raised until they no longer are;
- it is lowered until as many held-out cells are decided as the old bundle decides of them, while no more are wrong than there;
- it is lowered further as far as the upper 95 % limit of that share (Clopper-Pearson, one-sided) stays within LARGEST_WRONG:
  not at all under 59 cells, with which even no error proves nothing, and not while a class of the bundle has no labelled cell,
  for of that class's cells nothing is known. (Where four of eight classes were labelled, a hundred cells, lowering it so made
  38 % of the absent classes' cells decided and wrong; before it was 7 %, with the threshold kept 16 %.)

It is never lowered below MAJORITY, nor to where the confidences themselves expect more than half of LARGEST_WRONG to be wrong.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecell.adapt.layer import Array, Labels
from edgecell.classify import softmax
from edgecell.domain import LEAST
from edgecell.intervals import CONFIDENCE, clopper_pearson

LARGEST_WRONG = 0.05
MAJORITY = 0.5
_DRAWS = 2000
LOOSE, TIGHT = 0.5, 0.25
"""Standard deviations of the logarithm of a temperature around the old one: for a layer whose scale is its own, and for the
result. Looser, ten cells that were all right made the layer so sure of itself that up to 6 % were decided and wrong."""


def temperature(logits: Array, labels: Labels, old: float, spread: float) -> float:
    """The most probable one: likelihood of the cells (Guo et al. 2017) times a log-normal belief around `old`.

    spread: LOOSE or TIGHT.
    """
    centre, ratio = float(np.log(old)), (np.sqrt(5) - 1) / 2

    def cost(log_t: float) -> float:
        return loss(logits, labels, float(np.exp(log_t))) + ((log_t - centre) / spread) ** 2 / 2

    low, high = centre - 3.0, centre + 3.0
    while high - low > 1e-4:  # golden section
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if cost(left) < cost(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def probabilities_at(logits: Array, at: float) -> Array:
    """(N, K) -> (N, K), as the device computes them at temperature `at`."""
    return softmax(logits.astype(np.float32), at)


def loss(logits: Array, labels: Labels, at: float) -> float:
    """Sum over the cells of the negative log likelihood at temperature `at`."""
    true = probabilities_at(logits, at)[np.arange(len(labels)), labels]
    return -float(np.log(np.maximum(true, 1e-12)).sum())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """How labelled cells were answered. confidences, right: (N,)."""

    confidences: Array
    right: NDArray[np.bool_]

    def decided(self, level: float) -> int:
        """Cells that are decided at threshold `level`."""
        return int((self.confidences >= level).sum())

    def wrong(self, level: float) -> int:
        """Cells that are decided and wrong."""
        return int((~self.right & (self.confidences >= level)).sum())

    def expected(self, level: float) -> float:
        """Share of all cells that would be decided and wrong if every confidence meant what it says."""
        return float((1 - self.confidences[self.confidences >= level]).sum()) / len(self.right)


def seen(logits: Array, labels: Labels, at: float) -> Seen:
    """Of logits (N, K) at temperature `at`."""
    probabilities = probabilities_at(logits, at)
    return Seen(confidences=probabilities.max(axis=1), right=probabilities.argmax(axis=1) == labels)


def threshold(now: Seen, before: Seen, old: float, *, complete: bool) -> float:
    """The rule above. now: held-out cells by adapted layers. before: the same ones by the old layer, whose threshold is `old`.

    complete: every class that can be counted has labelled cells.
    """
    n = len(now.right)
    levels = np.unique([MAJORITY, old, *now.confidences[now.confidences > MAJORITY], 1.0]).tolist()
    raised = next((level for level in levels if level >= old and now.wrong(level) <= LARGEST_WRONG * n), 1.0)
    if raised > old:
        return raised

    def proven(level: float) -> bool:
        return complete and upper_limit(now.wrong(level), n) <= LARGEST_WRONG

    def restores(level: float) -> bool:
        return now.decided(level) <= before.decided(old) and now.wrong(level) <= before.wrong(old)

    below = (level for level in levels if level < old and now.expected(level) <= LARGEST_WRONG / 2)
    return next((level for level in below if proven(level) or restores(level)), old)


def foreign_below(confidences: Array, old: float) -> float:
    """The mean confidence under which a slide is called foreign: what LEAST of these cells hardly ever fall below (the 1st
    percentile), never higher than the old one. confidences: (N,), of held-out cells not taken for "no cell"."""
    if not len(confidences):
        return old
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(confidences), (_DRAWS, min(len(confidences), LEAST)))
    return min(old, float(np.percentile(confidences[draws].mean(axis=1), 1)))


def upper_limit(count: int, n: int) -> float:
    """One-sided upper limit at CONFIDENCE."""
    return clopper_pearson(count, n, 2 * CONFIDENCE - 1)[1]
