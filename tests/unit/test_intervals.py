import numpy as np
import pytest

from edgecell.intervals import CONFIDENCE, clopper_pearson, incomplete_beta, together


# The quantiles of the beta distribution by SciPy 1.17, and the closed form for 0 of n and n of n.
@pytest.mark.parametrize(
    ("count", "n", "confidence", "low", "high"),
    [
        (1, 10, 0.95, 0.002528579, 0.4450161),
        (5, 10, 0.95, 0.1870860, 0.8129140),
        (0, 100, 0.95, 0.0, 1 - 0.025**0.01),
        (100, 100, 0.99, 0.005**0.01, 1.0),
        (0, 1, 0.95, 0.0, 0.975),
    ],
)
def test_clopper_pearson_limits(count: int, n: int, confidence: float, low: float, high: float) -> None:
    assert clopper_pearson(count, n, confidence) == pytest.approx((low, high), abs=5e-8)


@pytest.mark.parametrize(("count", "n"), [(0, 0), (-1, 3), (4, 3)])
def test_what_is_no_proportion_is_refused(count: int, n: int) -> None:
    with pytest.raises(ValueError, match="not a proportion"):
        clopper_pearson(count, n, CONFIDENCE)


def test_incomplete_beta_against_closed_forms() -> None:
    for x in (0.0, 1e-9, 0.2, 0.5, 0.77, 1.0):
        assert incomplete_beta(x, 1, 1) == pytest.approx(x)
        assert incomplete_beta(x, 3, 1) == pytest.approx(x**3)
        assert incomplete_beta(x, 1, 4) == pytest.approx(1 - (1 - x) ** 4)
    assert incomplete_beta(0.5, 1e6, 1e6) == pytest.approx(0.5)


@pytest.mark.parametrize(("n", "width"), [(100, 0.135), (200, 0.091), (500, 0.056), (1000, 0.039)])
def test_the_limits_of_all_classes_hold_together(n: int, width: float) -> None:
    """Simultaneous coverage with rare classes, where Goodman's limits fall to 92 %. width: their mean over the classes."""
    shares = np.array([0.6, 0.3, 0.06, 0.02, 0.01, 0.008, 0.002])
    samples = np.random.default_rng(7).multinomial(n, shares, size=2000)
    table = np.array([together(count, n, len(shares)) for count in range(int(samples.max()) + 1)])
    low, high = table[samples].transpose(2, 0, 1)
    assert ((low <= shares) & (shares <= high)).all(axis=1).mean() >= 0.95
    assert (high - low).mean() == pytest.approx(width, abs=0.0005)
