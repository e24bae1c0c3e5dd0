"""Temperature and threshold from held-out answers to few cells, and how little few cells can say about them.

The rule. A threshold is a promise: of all cells at most LARGEST_WRONG are decided and wrong. A few dozen cells can break that
promise but not give it. So the old threshold stays, with two exceptions:

- where more than LARGEST_WRONG of the held-out cells are decided and wrong, it is raised until they no longer are;
- it is lowered only as far as the upper 95 % limit of that share (Clopper-Pearson, one-sided) stays within LARGEST_WRONG:
  not at all under 59 cells, with which even no error proves nothing, never below MAJORITY, and not while a class of the bundle
  has no labelled cell, for of that class's cells nothing is known. (Where half the classes were absent, lowering it for the
  others made up to 57 % of the absent ones' cells decided and wrong.)
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgecell.adapt.layer import Array, Labels
from edgecell.classify import softmax
from edgecell.domain import LEAST
from edgecell.tally import CONFIDENCE, clopper_pearson

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


def threshold(confidences: Array, right: NDArray[np.bool_], old: float, *, lower: bool) -> float:
    """The rule above. confidences, right: of held-out cells, (N,). lower: whether it may be lowered at all."""
    levels = list(_levels(confidences, right, old))
    n = len(right)
    raised = next((level for level, wrong in levels if level >= old and wrong / n <= LARGEST_WRONG), 1.0)
    if raised > old or not lower:
        return raised
    # the number of errors falls with the level, so the first that is proven good is the lowest
    return next((level for level, wrong in levels if level < old and upper_limit(wrong, n) <= LARGEST_WRONG), old)


def foreign_below(confidences: Array, old: float) -> float:
    """The mean confidence under which a slide is called foreign: as the workshop sets it, but on these cells, and never higher
    than the old one. confidences: (N,), of held-out cells that were not taken for "no cell". See edgecell.domain."""
    if not len(confidences):
        return old
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(confidences), (_DRAWS, min(len(confidences), LEAST)))
    return min(old, float(np.percentile(confidences[draws].mean(axis=1), 1)))


def upper_limit(count: int, n: int) -> float:
    """One-sided upper limit at CONFIDENCE."""
    return clopper_pearson(count, n, 2 * CONFIDENCE - 1)[1]


def _levels(confidences: Array, right: NDArray[np.bool_], old: float) -> Iterator[tuple[float, int]]:
    """Each threshold that could be chosen, rising, with the number of cells that are decided at it and wrong."""
    for level in np.unique([MAJORITY, old, *confidences[confidences > MAJORITY], 1.0]):
        yield float(level), int((~right & (confidences >= level)).sum())
