"""How often the intervals hold when a run ends by its stop rule: exact for one class, simulated for all classes together.

Every cell is a look, which is the worst case: a run looks after every frame, so seldom more often.
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell.bundle import CellClass
from edgecell.intervals import CONFIDENCE, together
from edgecell.settings import StopSettings
from edgecell.stoprule import look

Array = NDArray[np.float64]
RARE = (0.55, 0.27, 0.08, 0.05, 0.03, 0.015, 0.005)
"""Shares of seven classes of a differential, some of them rare."""
MOST = 0.06
"""That limits may miss: together they are to hold in 94 % of all runs."""


def enough_at(points: float, classes: int, most: int) -> NDArray[np.int64]:
    """For n = 0, 1, ... most: the largest count of a class that is rare enough to end the run by, -1 for none. A count of n
    less that many is as good. Found with the rule itself."""
    known = {
        name: CellClass(name=name, abbreviation="", group="leukocyte", in_differential=True)
        for name in ("it", "rest", *(f"c{number}" for number in range(classes - 2)))
    }
    rule, at, found = StopSettings(width=points, classes=("it",)), -1, [-1]
    for n in range(1, most + 1):
        while at + 1 <= n and look(rule, {"it": at + 1, "rest": n - at - 1}, known).reached:
            at += 1
        found.append(at)
        if 2 * at >= n - 1:  # any count will do
            break
    return np.array(found)


def held(shares: tuple[float, ...], figures: int, most: int) -> NDArray[np.bool_]:
    """(classes, n, count): whether the exact limits of that count contain the share. They do where neither tail beyond the
    count is as rare as (1 - CONFIDENCE) / figures / 2, which needs no limits."""
    p, tail = np.array(shares)[:, None], (1 - CONFIDENCE) / figures / 2
    law = np.ones((len(shares), 1))
    found = np.ones((len(shares), most + 1, most + 1), bool)
    for n in range(1, most + 1):
        law = np.pad(law, ((0, 0), (0, 1))) * (1 - p) + np.pad(law, ((0, 0), (1, 0))) * p
        below, above = law.cumsum(axis=1), law[:, ::-1].cumsum(axis=1)[:, ::-1]
        found[:, n, : n + 1] = (below > tail) & (above > tail)
    return found


def test_the_law_and_the_limits_agree() -> None:
    shares = (0.004, 0.03, 0.4)
    table = held(shares, 7, 120)
    for n in (1, 40, 120):
        for count in range(n + 1):
            low, high = together(count, n, 7)
            assert [low <= p <= high for p in shares] == table[:, n, count].tolist()


@pytest.mark.parametrize(("points", "classes"), [(10.0, 2), (10.0, 7), (20.0, 7)])
def test_one_named_class_misses_little_more_often_than_without_a_rule(points: float, classes: int) -> None:
    """Exactly, over all proportions: a miss is at most half as likely again as (1 - CONFIDENCE) / classes."""
    stop = enough_at(points, classes, 3000)
    most, shares = len(stop) - 1, tuple(np.linspace(0.005, 0.5, 34).tolist())
    contained, missed, running = held(shares, classes, most), np.zeros(len(shares)), np.ones((len(shares), 1))
    for n in range(1, most + 1):
        p, counts = np.array(shares)[:, None], np.arange(n + 1)
        running = np.pad(running, ((0, 0), (0, 1))) * (1 - p) + np.pad(running, ((0, 0), (1, 0))) * p
        ends = (counts <= stop[n]) | (counts >= n - stop[n])
        missed += (running * (ends & ~contained[:, n, : n + 1])).sum(axis=1)
        running = np.where(ends, 0, running)
    assert running.sum() < 1e-9  # the rule ends every run
    assert missed.max() < 1.5 * (1 - CONFIDENCE) / classes
    assert missed.max() <= MOST


def ended(shares: tuple[float, ...], named: tuple[int, ...], points: float, runs: int, seed: int) -> tuple[Array, Array]:
    """Of so many runs by the rule: whether all intervals hold, and cells counted."""
    stop = enough_at(points, len(shares), 3000)
    most = len(stop) - 1
    contained, rng = held(shares, len(shares), most), np.random.default_rng(seed)
    ns, all_hold, cells = np.arange(1, most + 1), np.zeros(runs), np.zeros(runs)
    for run in range(runs):
        drawn = rng.choice(len(shares), p=shares, size=most)
        counts = (drawn[:, None] == np.arange(len(shares))).cumsum(axis=0)
        narrow = (counts <= stop[1:, None]) | (counts >= (ns - stop[1:])[:, None])
        at = int(narrow[:, named].all(axis=1).argmax())
        all_hold[run] = contained[np.arange(len(shares)), at + 1, counts[at]].all()
        cells[run] = at + 1
    return all_hold, cells


@pytest.mark.parametrize(
    ("shares", "named", "points"),
    [
        (RARE, (4,), 10.0),
        (RARE, (6,), 10.0),
        (RARE, (0,), 10.0),
        (RARE, tuple(range(7)), 20.0),
        ((0.07, 0.93), (0,), 10.0),
        ((0.1, 0.1, 0.8), (0, 1), 15.0),
    ],
)
def test_all_intervals_hold_together_under_the_width_rule(
    shares: tuple[float, ...], named: tuple[int, ...], points: float
) -> None:
    all_hold, cells = ended(shares, named, points, 1500, seed=5)
    assert all_hold.mean() >= 1 - MOST
    assert cells.min() > 20


def test_a_number_of_cells_costs_nothing() -> None:
    """A run ends with the frame that makes it enough: how many cells that frame shows has nothing to do with what they are."""
    rng, contained = np.random.default_rng(11), held(RARE, 7, 230)
    frames = rng.poisson(6, size=(1500, 80)).cumsum(axis=1)
    counted = frames[np.arange(1500), (frames >= 200).argmax(axis=1)]
    assert counted.min() >= 200
    counts = np.array([rng.multinomial(n, RARE) for n in counted])
    holds = contained[np.arange(7)[None], counted[:, None], counts].all(axis=1)
    assert holds.mean() >= CONFIDENCE
