"""How often intervals hold: at a fixed number of cells, under a width rule, for a marrow's ratios, and corrected for confusion.

    python -m benchmarks.coverage [--runs 2000]
    python -m benchmarks.coverage --search 140 --runs 800          # for the worst differential under a width rule
    python -m benchmarks.coverage --bundle marrow7 --data DIR      # real cells: counted, corrected, and what they are


Every cell is a look at the stop rule, which is the worst case: a run looks after every frame. What is exact comes from the
binomial law itself, without limits, so that it is a check of them.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration import recipe
from calibration.tested import Tested, measure
from edgecell import correction, marrow, tally
from edgecell.bundle import Bundle, CellClass, open_bundle
from edgecell.correction import UNDECIDED, Confusion, CorrectedRow, confusion_of, correct
from edgecell.errors import BundleError
from edgecell.intervals import CONFIDENCE, together
from edgecell.messages import Tally
from edgecell.settings import StopSettings
from edgecell.stoprule import look
from edgecell.wire import DifferentialRow

Array = NDArray[np.float64]
Shares = Sequence[float]
RARE = (0.55, 0.27, 0.08, 0.05, 0.03, 0.015, 0.005)
"""Shares of seven classes of a differential, some of them rare."""
CELLS = (100, 200, 500, 1000)
EVERY = tuple(range(len(RARE)))
RULES = (((0,), 10.0), ((4,), 10.0), ((6,), 10.0), ((4,), 5.0), (EVERY, 10.0), (EVERY, 20.0))
"""Named classes of RARE, and points."""
ONE_NAMED = ((5.0, 2), (10.0, 2), (10.0, 7), (20.0, 7))
"""Points, and classes of the differential."""
CONFUSED = ((0.95, 0.045, 150), (0.85, 0.1, 150), (0.7, 0.1, 100), (0.5, 0.45, correction.ENOUGH))
"""Share of cells decided rightly, share left undecided, labelled cells of each class."""
DRAWS = 1500
"""Of a correction's limits; a report takes more, which makes them smoother and no wider."""
RECIPES = Path(recipe.__file__).parent / "recipes"
MOST = 3000
"""Cells after which no run goes on."""
MARROW = {"blast": "blast", "myelocyte": "granulocytic", "erythroblast": "erythroid", "lymphocyte": "lymphoid"}
NUCLEATED = ("basophil", "eosinophil", "erythroblast", "immature_granulocyte", "lymphocyte", "monocyte", "neutrophil")
SLIDE = np.array([0.01, 0.03, 0.05, 0.02, 0.27, 0.07, 0.55])
"""Of the nucleated cells of a slide, in the order of NUCLEATED."""


def named(names: Sequence[str], apart: str = "") -> dict[str, CellClass]:
    """Classes of a differential, one of them `apart` from it. lineage: as MARROW has it."""
    return {
        name: CellClass(
            name=name, abbreviation="", group="leukocyte", lineage=MARROW.get(name, ""), in_differential=name != apart
        )
        for name in names
    }


@lru_cache(maxsize=8)
def enough_at(points: float, classes: int) -> NDArray[np.int64]:
    """For n = 0, 1, ... MOST: the largest count of a class that is rare enough to end the run by, -1 for none. A count of n
    less that many is as good. Found with the rule itself."""
    known = named(["it", "rest", *(f"c{number}" for number in range(classes - 2))])
    rule, at, found = StopSettings(width=points, classes=("it",)), -1, [-1]
    for n in range(1, MOST + 1):
        while at + 1 <= n and look(rule, {"it": at + 1, "rest": n - at - 1}, known).reached:
            at += 1
        found.append(at)
        if 2 * at >= n - 1:  # any count will do
            break
    return np.array(found)


def held(shares: Shares, figures: int, most: int) -> NDArray[np.bool_]:
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


def cumulated(shares: Shares, cells: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(cells, classes): counts after each cell of one run."""
    drawn = rng.choice(len(shares), p=shares, size=cells)
    counts: NDArray[np.int64] = (drawn[:, None] == np.arange(len(shares))).cumsum(axis=0)
    return counts


def stopped(shares: Shares, by: Sequence[int], points: float, runs: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """The counts of runs that end when the classes `by` have intervals narrower than so many points."""
    stop, rng = enough_at(points, len(shares)), np.random.default_rng(seed)
    ns = np.arange(1, len(stop))
    for _ in range(runs):
        counts = cumulated(shares, len(ns), rng)
        narrow = (counts <= stop[1:, None]) | (counts >= (ns - stop[1:])[:, None])
        yield counts[int(narrow[:, by].all(axis=1).argmax())]


def under_width(shares: Shares, by: Sequence[int], points: float, runs: int, seed: int) -> tuple[float, float]:
    """Share of such runs whose intervals all hold, and mean number of cells."""
    contained = held(shares, len(shares), len(enough_at(points, len(shares))) - 1)
    ended = list(stopped(shares, by, points, runs, seed))
    holds = [contained[np.arange(len(shares)), counts.sum(), counts].all() for counts in ended]
    return float(np.mean(holds)), float(np.mean([counts.sum() for counts in ended]))


def worst(trials: int, runs: int) -> tuple[float, str]:
    """Of so many differentials drawn at random, 2 to 7 classes, any of them named, 8 to 40 points: the share of runs of the
    worst one whose intervals all hold, in ten times as many runs of other cells, and which it is."""
    rng, found = np.random.default_rng(3), []
    for trial in range(trials):
        classes, points = int(rng.integers(2, 8)), float(rng.choice([8, 10, 12, 15, 20, 30, 40]))
        shares = rng.dirichlet(np.full(classes, rng.choice([0.3, 0.7, 1, 3])))
        by = rng.choice(classes, int(rng.integers(1, classes + 1)), replace=False).tolist()
        found.append((under_width(shares.tolist(), by, points, runs, trial)[0], shares.tolist(), by, points))
    _, likely, by, points = min(found)
    told = f"{', '.join(f'{100 * share:.1f}' for share in likely)} %, number {', '.join(map(str, by))} within {points:g} points"
    return under_width(likely, by, points, 10 * runs, trials)[0], told


def missed(points: float, classes: int) -> Array:
    """Exactly: how often the interval of the named class misses, for shares of 0.5 to 50 %."""
    stop, shares = enough_at(points, classes), np.linspace(0.005, 0.5, 34)
    contained, found, running = held(shares.tolist(), classes, len(stop) - 1), np.zeros(len(shares)), np.ones((len(shares), 1))
    for n in range(1, len(stop)):
        p, counts = shares[:, None], np.arange(n + 1)
        running = np.pad(running, ((0, 0), (0, 1))) * (1 - p) + np.pad(running, ((0, 0), (1, 0))) * p
        ends = (counts <= stop[n]) | (counts >= n - stop[n])
        found += (running * (ends & ~contained[:, n, : n + 1])).sum(axis=1)
        running = np.where(ends, 0, running)
    if running.sum() > 1e-9:
        raise AssertionError(f"a run by {points} points does not end within {MOST} cells")
    return found


def fixed(n: int, runs: int, seed: int) -> tuple[float, float]:
    """Of so many differentials of n cells: share whose limits all hold, and the mean width in points."""
    samples = np.random.default_rng(seed).multinomial(n, RARE, size=runs)
    table = np.array([together(count, n, len(RARE)) for count in range(int(samples.max()) + 1)])
    low, high = table[samples].transpose(2, 0, 1)
    return float(((low <= RARE) & (np.array(RARE) <= high)).all(axis=1).mean()), float(100 * (high - low).mean())


def marrow_holds(counts: Sequence[int], shares: Shares) -> bool:
    """Whether both limits of a marrow hold. In the order of MARROW; no ratio is claimed without an erythroid cell."""
    found = marrow.ratios(dict(zip(MARROW, counts, strict=True)), named(list(MARROW)))
    blasts, ratio = found.blast_percent, found.ratio
    holds = blasts is None or blasts.low <= 100 * shares[0] <= (blasts.high or 0)
    if ratio is None:
        return holds
    true = shares[1] / shares[2]
    return holds and ratio.low <= true and (ratio.high is None or true <= ratio.high)


def confused(rng: np.random.Generator, right: float, undecided: float) -> Array:
    """Probabilities of label given truth, the last column undecided; what else is wrong goes where chance puts it."""
    size = len(NUCLEATED)
    made = np.zeros((size, size + 1))
    for at in range(size):
        others = [other for other in range(size) if other != at]
        made[at, others] = rng.dirichlet(np.full(size - 1, 0.5)) * (1 - right - undecided)
        made[at, at], made[at, size] = right, undecided
    return made


def confusion(rows: NDArray[np.int64]) -> Confusion:
    """rows: cells by truth and label, the last column those undecided."""
    labels = [*NUCLEATED, UNDECIDED]
    table = {name: dict(zip(labels, row, strict=True)) for name, row in zip(NUCLEATED, rows.tolist(), strict=True)}
    return Confusion(bundle="toy 1.0.0", dataset="toy", table=table)


def corrected(
    n: int, right: float, undecided: float, labelled: int, runs: int, draws: int = DRAWS
) -> tuple[float, float, float]:
    """Slides of n counted cells, with that many labelled cells a class: share whose corrected limits all hold, their mean width
    in points, and share whose raw limits do."""
    rng, classes = np.random.default_rng(n), named(NUCLEATED, apart="erythroblast")
    truth = confused(rng, right, undecided)
    seen = SLIDE @ truth[:, : len(NUCLEATED)]
    inside = np.array([name != "erythroblast" for name in NUCLEATED])
    shares = 100 * SLIDE[inside] / SLIDE[inside].sum()
    holds, raw, widths = 0, 0, []
    for _ in range(runs):
        known = confusion(np.array([rng.multinomial(labelled, row) for row in truth]))
        counts = dict(zip(NUCLEATED, rng.multinomial(n, seen / seen.sum()).tolist(), strict=True))
        rows = correct(counts, known, classes, draws).rows
        holds += all(row.low <= share <= row.high for row, share in zip(rows, shares, strict=True))
        widths += [row.high - row.low for row in rows]
        plain = tally.differential(Tally(counts=counts), classes).rows
        raw += all(row.low <= share <= row.high for row, share in zip(plain, shares, strict=True))
    return holds / runs, float(np.mean(widths)), raw / runs


def on_real_cells(bundle: Bundle, found: Iterable[Tested]) -> Iterator[str]:
    """A table a dataset: of cells that the bundle's confusion was not measured on, each class's true share beside the counted
    and the corrected one."""
    classes = {each.name: each for each in bundle.manifest.classes}
    inside = [name for name, meaning in classes.items() if meaning.in_differential]
    for each in found:
        table = dict(zip(classes, each.int8.decided_as, strict=True))
        counts = {name: sum(row[at] for row in table.values()) for at, name in enumerate(classes)}
        total = sum(sum(table[name]) for name in inside)
        try:
            rows = correct(counts, confusion_of(bundle.manifest, each.dataset), classes).rows
        except BundleError as error:
            yield f"{each.dataset}: not corrected: {error.what}"
            continue
        plain = tally.differential(Tally(counts=counts), classes)
        where = f"{bundle.manifest.name}, {each.dataset}, {each.part} split"
        yield f"{where}: {total} cells of the differential, {plain.n} decided as its classes"
        yield "\n| class | true % | counted, with its limits | corrected, with its limits |\n|---|---|---|---|"
        for raw, better in zip(plain.rows, rows, strict=True):
            true = 100 * sum(table[raw.label]) / total
            yield f"| {raw.label} | {true:.1f} | {_told(raw, true)} | {_told(better, true)} |"


def _told(row: DifferentialRow | CorrectedRow, true: float) -> str:
    outside = "" if row.low <= true <= row.high else ", **outside**"
    return f"{row.percent:.1f} ({row.low:.1f}-{row.high:.1f}){outside}"


def lines(runs: int) -> Iterator[str]:
    """The tables."""
    yield f"Seven classes ({', '.join(f'{100 * share:g} %' for share in RARE)}), {runs} runs a line."
    yield "\n| cells | all limits hold | mean width, points |\n|---|---|---|"
    for n in CELLS:
        holds, width = fixed(n, runs, seed=n)
        yield f"| {n} | {100 * holds:.1f} % | {width:.1f} |"
    yield "\n| stop rule | cells, mean | all limits hold |\n|---|---|---|"
    for by, points in RULES:
        holds, cells = under_width(RARE, by, points, runs, seed=3)
        which = "all classes" if len(by) > 1 else f"the class of {100 * RARE[by[0]]:g} %"
        yield f"| {which} within {points:g} points | {cells:.0f} | {100 * holds:.1f} % |"
    yield "\n| exact: one named class | limits miss at most | without a rule |\n|---|---|---|"
    for points, classes in ONE_NAMED:
        worst = missed(points, classes).max()
        yield f"| of {classes}, within {points:g} points | {100 * worst:.2f} % | {100 * (1 - CONFIDENCE) / classes:.2f} % |"
    yield "\n| marrow | M:E and blasts hold |\n|---|---|"
    shares = (0.05, 0.6, 0.25, 0.1)
    for n in CELLS:
        samples = np.random.default_rng(n).multinomial(n, shares, size=runs)
        yield f"| {n} cells | {100 * np.mean([marrow_holds(each.tolist(), shares) for each in samples]):.1f} % |"
    ended = [marrow_holds(each.tolist(), shares) for each in stopped(shares, [0], 10.0, runs, seed=3)]
    yield f"| blasts within 10 points | {100 * np.mean(ended):.1f} % |"
    yield "\n| right, undecided, labelled cells | n | corrected limits hold | width | raw limits hold |\n|---|---|---|---|---|"
    for right, undecided, labelled in CONFUSED:
        for n in CELLS:
            holds, width, raw = corrected(n, right, undecided, labelled, max(1, runs // 5))
            how = f"{100 * right:g} %, {100 * undecided:g} %, {labelled}"
            yield f"| {how} | {n} | {100 * holds:.1f} % | {width:.1f} | {100 * raw:.1f} % |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2000, help="a line; of corrected slides a fifth")
    parser.add_argument(
        "--search", type=int, help="Differentials drawn at random, to find one whose intervals hold least often."
    )
    parser.add_argument("--bundle", help="A shipped classifier, on the validation cells of its recipe instead.")
    parser.add_argument("--data", type=Path, help="Folder that holds the recipe's datasets.")
    asked = parser.parse_args()
    if asked.bundle:
        bundle, how = open_bundle(asked.bundle), recipe.load(RECIPES / f"{asked.bundle}.toml")[0]
        said = on_real_cells(bundle, measure(how, bundle.manifest.confidence, asked.data or Path(), bundle.path, "val"))
    elif asked.search:
        said = (f"{100 * share:.1f} % hold: {told}" for share, told in [worst(asked.search, asked.runs)])
    else:
        said = lines(asked.runs)
    for line in said:
        print(line, flush=True)


if __name__ == "__main__":
    main()
