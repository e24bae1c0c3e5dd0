"""Ratios of a bone marrow count: myeloid to erythroid cells, and the share of blasts.

What a class is, its manifest says: `lineage` has the word "granulocytic", "erythroid" or "blast" ("granulocytic blast" is
both). Myeloid is the granulocytic lineage; authors differ on monocytes and on blasts of no lineage, which are in neither part
here. Pure: counts in, figures out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from edgecell.bundle import CellClass
from edgecell.intervals import CONFIDENCE, together

METHOD = "Clopper-Pearson, Bonferroni-adjusted over the two ratios"
MYELOID, ERYTHROID, BLAST = "granulocytic", "erythroid", "blast"
_FIGURES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure with its limits. high: None where there is no upper limit."""

    value: float
    low: float
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Marrow:
    """The ratios of decided cells. Both limits together hold at `confidence`, by `method`.

    ratio: myeloid / erythroid cells; it has a lower limit only where no erythroid cell was seen, so value is None then.
    n: cells of the differential, of which blast_percent is the share of blasts, in percent.
    missing: why a figure is None, in words.
    """

    myeloid: int
    erythroid: int
    ratio: Estimate | None
    blasts: int
    n: int
    blast_percent: Estimate | None
    missing: tuple[str, ...]
    method: str = METHOD
    confidence: float = CONFIDENCE


def ratios(counts: Mapping[str, int], classes: Mapping[str, CellClass]) -> Marrow:
    """counts: decided cells by label, the machine's or as reviewed. classes: label -> what it means."""
    myeloid, erythroid = (_cells(lineage, counts, classes) for lineage in (MYELOID, ERYTHROID))
    inside = {label: meaning for label, meaning in classes.items() if meaning.in_differential}
    n, blasts = sum(counts.get(label, 0) for label in inside), _cells(BLAST, counts, inside)
    why_no_ratio = _none_of(classes, MYELOID, ERYTHROID) or ("" if erythroid else "no erythroid cell was counted")
    why_no_share = _none_of(inside, BLAST) or ("" if n else "no cell of the differential was counted")
    return Marrow(
        myeloid=myeloid,
        erythroid=erythroid,
        ratio=None if why_no_ratio else _ratio(myeloid, erythroid),
        blasts=blasts,
        n=n,
        blast_percent=None if why_no_share else _percent(blasts, n),
        missing=tuple(f"{figure}: {why}" for figure, why in (("M:E ratio", why_no_ratio), ("blasts", why_no_share)) if why),
    )


def _ratio(one: int, other: int) -> Estimate:
    """Of two counts, other > 0: given their sum, the first is binomial, and odds rise with the proportion."""
    low, high = together(one, one + other, _FIGURES)
    return Estimate(value=one / other, low=low / (1 - low), high=high / (1 - high) if high < 1 else None)


def _percent(count: int, n: int) -> Estimate:
    low, high = together(count, n, _FIGURES)
    return Estimate(value=100 * count / n, low=100 * low, high=100 * high)


def _is(meaning: CellClass, lineage: str) -> bool:
    return lineage in meaning.lineage.split()


def _cells(lineage: str, counts: Mapping[str, int], classes: Mapping[str, CellClass]) -> int:
    return sum(counts.get(label, 0) for label, meaning in classes.items() if _is(meaning, lineage))


def _none_of(classes: Mapping[str, CellClass], *lineages: str) -> str:
    """What the classes lack, in words; "" if nothing."""
    lacking = [lineage for lineage in lineages if not any(_is(meaning, lineage) for meaning in classes.values())]
    return f"the bundle has no class that is {' or '.join(lacking)}" if lacking else ""
