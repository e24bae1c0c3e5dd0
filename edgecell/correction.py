"""The differential corrected for what the classifier is known to confuse. It stands beside the raw one and never replaces it.

A bundle's manifest may list, for labelled cells of its test split, how many of each class are decided as what, or not at all
(metrics named DATASET.decided_as.CLASS). Solved for the cells that were there, the counts of a slide give each class's
share free of that confusion, and of one class being left undecided more often than another (Rogan and Gladen, Am J
Epidemiol 1978;107:71, for more than two classes). It assumes that the slide's cells are confused as those were: on another
microscope they may not be. What is no cell, or no nucleated one, is taken for absent.

The confusion is itself known from some cells only. So the limits are quantiles of solutions with both drawn: rows of the
confusion from their Dirichlet posteriors, counts from gammas that give the Clopper-Pearson limits where nothing is confused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecell.bundle import CellClass, Manifest
from edgecell.errors import BundleError
from edgecell.intervals import CONFIDENCE

CONFUSION, UNDECIDED = ".decided_as.", "undecided"
METHOD = "counts solved for the confusion of labelled cells; quantiles of draws of both, Bonferroni-adjusted over the classes"
ENOUGH = 50
"""Labelled cells of a class below which its confusion is not known well enough. The limits were found to hold with as many."""
APART = ("platelet", "red_cell", "reject")
"""Groups of classes that are not corrected: no nucleated cells, and most of them never come before the classifier."""
DRAWS, SEED = 8000, 0
_WITHOUT = "leave the correction out: the counts as they are stay valid"
Draws = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """How labelled cells of `dataset` are decided by a bundle: class -> label, or UNDECIDED -> cells."""

    bundle: str
    dataset: str
    table: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedRow:
    """Percent of the differential's cells that are of the class, whatever they were taken for, with its limits."""

    label: str
    percent: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """rows: in the order of the classes, none while no cell was counted. n: decided cells that it was computed from, those of
    nucleated classes outside the differential included. cells: labelled cells that the confusion is known from."""

    rows: tuple[CorrectedRow, ...]
    n: int
    bundle: str
    dataset: str
    cells: int
    method: str = METHOD
    confidence: float = CONFIDENCE


def confusion_of(manifest: Manifest, dataset: str = "") -> Confusion:
    """What the bundle confuses on the cells of a dataset, by default the one with most labelled cells. Raises BundleError."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for name, table in manifest.metrics.items():
        source, mark, label = name.partition(CONFUSION)
        if mark and isinstance(table, Mapping):
            counts = {to: int(count) for to, count in table.items() if isinstance(count, int | float)}
            found.setdefault(source, {})[label] = counts
    if not found or (dataset and dataset not in found):
        what = f"bundle {manifest.name} {manifest.version} does not say what it confuses"
        known = f" on cells of {dataset}; it does on {', '.join(sorted(found))}" if found else ""
        fix = f"certify it anew with the workshop (python -m calibration certify), or {_WITHOUT}"
        raise BundleError(f"{what}{known}", fix=fix)
    chosen = dataset or max(found, key=lambda name: _cells(found[name]))
    return Confusion(bundle=f"{manifest.name} {manifest.version}", dataset=chosen, table=found[chosen])


def correct(counts: Mapping[str, int], confusion: Confusion, classes: Mapping[str, CellClass], draws: int = DRAWS) -> Corrected:
    """The differential of decided cells by label, corrected. classes: label -> what it means, as for the raw differential.
    draws: fewer are faster, and leave the limits rough. The same counts give the same limits.

    Raises BundleError where a class has too few labelled cells, or is taken for others as often as for itself.
    """
    labels = [label for label, meaning in classes.items() if meaning.group not in APART]
    known = np.array([_row(confusion, label, labels) for label in labels], np.float64).reshape(len(labels), len(labels) + 1)
    cells = np.array([counts.get(label, 0) for label in labels], np.float64)
    inside = np.array([classes[label].in_differential for label in labels], bool)
    rows: tuple[CorrectedRow, ...] = ()
    if cells[inside].sum():
        shares = _shares(_solved(known[None] / known.sum(axis=1)[:, None], cells[None]), inside)[0]
        low, high = _limits(known, cells, inside, draws)
        named = [label for label, counted in zip(labels, inside, strict=True) if counted]
        rows = tuple(
            CorrectedRow(label=label, percent=100 * share, low=100 * min(a, share), high=100 * max(b, share))
            for label, share, a, b in zip(named, *(each.tolist() for each in (shares, low, high)), strict=True)
        )
    return Corrected(rows=rows, n=int(cells.sum()), bundle=confusion.bundle, dataset=confusion.dataset, cells=int(known.sum()))


def _row(confusion: Confusion, label: str, labels: Sequence[str]) -> list[int]:
    """Of labelled cells of one class, how many are decided as each of `labels`, and how many are not. Raises BundleError."""
    table = confusion.table.get(label, {})
    total, own = sum(table.values()), table.get(label, 0)
    where = f"bundle {confusion.bundle}, cells of {confusion.dataset}"
    if total < ENOUGH:
        what = f"{where}: {total} labelled cells of {label} are too few to say what it is taken for, {ENOUGH} are needed"
        raise BundleError(what, fix=_WITHOUT)
    as_others = sum(count for to, count in table.items() if to not in (label, UNDECIDED))
    if own <= as_others:
        raise BundleError(f"{where}: {label} is taken for others as often as for itself", fix=_WITHOUT)
    decided = [table.get(to, 0) for to in labels]
    return [*decided, total - sum(decided)]


def _limits(known: Draws, cells: Draws, inside: NDArray[np.bool_], draws: int) -> tuple[Draws, Draws]:
    """Lower and upper limit (0-1) of each class of the differential, all of them together at CONFIDENCE.

    A Clopper-Pearson limit is a quantile of Beta(count, n - count + 1) below and of Beta(count + 1, n - count) above: of gammas
    with one cell more among the others, or of its own.
    """
    rng = np.random.default_rng(SEED)
    confusion = rng.gamma(known + 1 / known.shape[1], size=(draws, *known.shape))
    counts = np.where(cells > 0, rng.gamma(np.maximum(cells, 1), size=(draws, len(cells))), 0.0)
    more_of_others, more_of_it = rng.exponential(size=(2, draws))
    inverse = _inverse(confusion / confusion.sum(axis=2, keepdims=True))
    tail = (1 - CONFIDENCE) / int(inside.sum()) / 2
    low, high = [], []
    for place, number in enumerate(np.flatnonzero(inside)):
        above = counts.copy()
        above[:, number] += more_of_it
        high.append(np.quantile(_shares(_apply(inverse, above), inside)[:, place], 1 - tail))
        others = counts.sum(axis=1) - counts[:, number]
        below = counts * (1 + more_of_others / np.maximum(others, 1e-12))[:, None]
        below[:, number] = counts[:, number]
        low.append(np.quantile(_shares(_apply(inverse, below), inside)[:, place], tail))
    return np.array(low), np.array(high)


def _solved(confusion: Draws, counts: Draws) -> Draws:
    """Cells that were there, up to a factor. confusion: (draws, classes, classes + 1) with rows that sum to 1, the last column
    those undecided. counts: (draws, classes)."""
    return _apply(_inverse(confusion), counts)


def _inverse(confusion: Draws) -> Draws:
    """(draws, classes, classes): counts -> cells that were there."""
    return np.asarray(np.linalg.inv(confusion[:, :, :-1].transpose(0, 2, 1)), np.float64)


def _apply(inverse: Draws, counts: Draws) -> Draws:
    """No fewer than none were there."""
    found: Draws = np.matmul(inverse, counts[:, :, None])[:, :, 0]
    return found.clip(min=0.0)


def _shares(cells: Draws, inside: NDArray[np.bool_]) -> Draws:
    """Of the differential: (draws, its classes), each row sums to 1."""
    own = cells[:, inside]
    shares: Draws = own / np.maximum(own.sum(axis=1, keepdims=True), 1e-12)
    return shares


def _cells(table: Mapping[str, Mapping[str, int]]) -> int:
    return sum(sum(row.values()) for row in table.values())
