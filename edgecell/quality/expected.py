"""How far a count of the same slide may be off by chance: where it lies with a given confidence, once a reference is known.

Both ends count what chance adds to the reference as well, so a reference of few fields or cells gives wide limits, and says so.
"""

import math
from statistics import NormalDist

CONFIDENCE = 0.99
"""With which all counts and shares of one check together lie within their limits, where the slide shows what it showed."""


def mean_limits(mean: float, sd: float, fields: int, now: int, confidence: float) -> tuple[float, float]:
    """Where the mean over `now` fields lies, after one of `fields` fields was `mean`, with a standard deviation of `sd` from
    field to field; at least as much as counts have that fall at random (Poisson)."""
    variance = max(sd**2, (mean * fields + 1) / fields)
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(variance * (1 / fields + 1 / now))
    return max(0.0, mean - reach), mean + reach


def count_limits(count: int, n: int, now: int, confidence: float) -> tuple[int, int]:
    """How many of `now` cells are of a class, after `count` of `n` were.

    Quantiles of the beta-binomial distribution that follows from Jeffreys' prior, Beta(1/2, 1/2). ValueError for count > n.
    """
    if not 0 <= count <= n:
        raise ValueError(f"{count} of {n} is no share")
    a, b, tail = count + 0.5, n - count + 0.5, (1 - confidence) / 2
    low, total = 0, 0.0
    for k in range(now + 1):
        total += math.exp(_log_choose(now, k) + _log_beta(k + a, now - k + b) - _log_beta(a, b))
        if total <= tail:
            low = k + 1
        if total >= 1 - tail:
            return low, k
    return low, now


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
