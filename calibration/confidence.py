"""Confidence that means what it says: one temperature, and the threshold below which a cell is unsure. Both from validation."""

import numpy as np
from numpy.typing import NDArray

from edgecell.classify import softmax

Logits = NDArray[np.float32]


def temperature(logits: Logits, truth: NDArray[np.int64]) -> float:
    """The temperature of least negative log likelihood (Guo et al. 2017), by golden-section search on its logarithm."""

    def cost(log_t: float) -> float:
        probabilities = softmax(logits, float(np.exp(log_t)))
        return -float(np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-12)).mean())

    low, high, ratio = np.log(0.05), np.log(20.0), (np.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if cost(left) < cost(right) else (left, high)
    return float(np.exp((low + high) / 2))


def threshold(confidences: NDArray[np.float64], right: NDArray[np.bool_], largest_error: float) -> float:
    """The smallest confidence at which the decided cells (those at or above it) err at most `largest_error`.

    1.0 where no confidence is enough: only what rounds to certainty is then decided.
    """
    order = np.argsort(-confidences, kind="stable")
    sorted_confidences = confidences[order]
    error = np.cumsum(~right[order]) / np.arange(1, len(order) + 1)
    last_of_tie = np.append(sorted_confidences[1:] < sorted_confidences[:-1], True)
    enough = np.flatnonzero((error <= largest_error) & last_of_tie)
    return float(sorted_confidences[enough[-1]]) if enough.size else 1.0
