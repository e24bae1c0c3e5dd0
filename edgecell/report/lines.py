"""The figures of a report, one line each: what all its forms are made of."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from edgecell.marrow import Estimate, Marrow
from edgecell.report import loinc
from edgecell.report.run import Counted, RunReport

Part = Literal["differential", "corrected", "marrow", "apart", "unsure", "excluded", "total"]
Value = Literal["percent", "per_100", "ratio", "cells"]

UNITS = {"percent": "%", "per_100": "/100{WBCs}", "ratio": "{ratio}", "cells": "{cells}"}
"""UCUM, what is counted as its annotation."""


class Figure(NamedTuple):
    """cells: how many; None where it is of none that were counted. percent, low, high: of the differential, with limits; None
    where it is not in it, or has no cell at all.

    per_100: of nucleated red cells outside the differential, their number per 100 cells of it. ratio: of myeloid to erythroid
    cells, of which `cells` are myeloid; low and high are its limits then.
    """

    cells: int | None = None
    percent: float | None = None
    low: float | None = None
    high: float | None = None
    per_100: float | None = None
    ratio: float | None = None


class Line(NamedTuple):
    """name: a label, a reason of exclusion, or what the line is about. loinc: the code of its value, or "".

    value: which of the figures is the one that a laboratory reports; the others stand beside it.
    """

    part: Part
    name: str
    loinc: str
    value: Value
    machine: Figure
    reviewed: Figure

    @property
    def told(self) -> Figure:
        """The figure whose value is reported: as reviewed, but for a correction, which is the machine's alone."""
        return self.machine if self.part == "corrected" else self.reviewed

    def unit(self, name: str) -> str:
        """UCUM code of one of its figures, by the figure's name: limits are in the unit of what they are of."""
        return UNITS[self.value if name in ("low", "high") else name]


def lines(report: RunReport) -> list[Line]:
    """Every figure about cells: the differential in its order, corrected too where that was asked for, a marrow's ratios, what
    is counted apart, what is not counted, and the total."""
    return list(_lines(report))


def _lines(report: RunReport) -> Iterator[Line]:
    pair = report.machine, report.reviewed
    classes = {each.name: each for each in report.classes if each.group != "reject"}
    for label, meaning in classes.items():
        if meaning.in_differential:
            yield Line("differential", label, meaning.loinc, "percent", *(_inside(each, label) for each in pair))
    for row in report.corrected.rows if report.corrected else ():
        figure = Figure(percent=row.percent, low=row.low, high=row.high)
        yield Line("corrected", f"{row.label}_corrected", "", "percent", figure, Figure())
    if report.marrow is not None:
        both = report.marrow.machine, report.marrow.reviewed
        yield Line("marrow", "myeloid_erythroid_ratio", loinc.MYELOID_ERYTHROID, "ratio", *(_ratio(each) for each in both))
        yield Line("marrow", "blasts", "", "percent", *(_blasts(each) for each in both))
    strangers = sorted({*pair[0].counts, *pair[1].counts} - classes.keys())  # kinds that no classifier refines
    for label in [*(label for label, each in classes.items() if not each.in_differential), *strangers]:
        if label in classes and classes[label].group == "erythroid":
            yield Line("apart", label, classes[label].loinc, "per_100", *(_per_100(each, label) for each in pair))
        else:
            yield Line("apart", label, "", "cells", *(Figure(each.counts.get(label, 0)) for each in pair))
    yield Line("unsure", "unsure", "", "cells", *(Figure(each.unsure) for each in pair))
    for reason in sorted({*pair[0].excluded, *pair[1].excluded}):
        yield Line("excluded", reason, "", "cells", *(Figure(each.excluded.get(reason, 0)) for each in pair))
    yield Line("total", "cells_total", "", "cells", *(Figure(each.cells_total) for each in pair))


def _inside(cells: Counted, label: str) -> Figure:
    for row in cells.differential.rows:
        if row.label == label:
            return Figure(row.count, row.percent, row.low, row.high)
    return Figure(cells.counts.get(label, 0))


def _per_100(cells: Counted, label: str) -> Figure:
    count, n = cells.counts.get(label, 0), cells.differential.n
    return Figure(count, per_100=100 * count / n if n else None)


def _ratio(marrow: Marrow) -> Figure:
    value, low, high = _estimate(marrow.ratio)
    return Figure(marrow.myeloid, low=low, high=high, ratio=value)


def _blasts(marrow: Marrow) -> Figure:
    return Figure(marrow.blasts, *_estimate(marrow.blast_percent))


def _estimate(found: Estimate | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if found is None else (found.value, found.low, found.high)
