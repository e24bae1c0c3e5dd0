"""One class of the differential as bars with limits: what the machine counted, under it what people made of it."""

import math
from collections.abc import Iterable
from typing import Any

from reportlab.graphics.shapes import Drawing, Line, Rect

from edgecell.report.lines import Figure
from edgecell.report.pdf.style import INK, LINE, MACHINE, REVIEWED

WIDTH, BAR, GAP = 118.0, 5.0, 2.0
"""In points."""


def axis(figures: Iterable[Figure]) -> float:
    """The percentage at the right end: a multiple of 10 that no limit passes."""
    return max(10.0, 10.0 * math.ceil(max((each.high or 0.0 for each in figures), default=0.0) / 10))


def bars(machine: Figure, reviewed: Figure | None, most: float) -> Any:
    """most: the percentage at the right end."""
    pairs = [(machine, MACHINE), *([(reviewed, REVIEWED)] if reviewed else [])]
    height = len(pairs) * (BAR + GAP)
    drawing = Drawing(WIDTH, height)
    for mark in range(5):
        drawing.add(Line(WIDTH * mark / 4, 0, WIDTH * mark / 4, height, strokeColor=LINE, strokeWidth=0.3))
    for number, (figure, colour) in enumerate(pairs):
        if figure.percent is not None:
            _bar(drawing, figure, colour, height - number * (BAR + GAP) - GAP / 2 - BAR, most)
    return drawing


def _bar(drawing: Any, figure: Figure, colour: Any, bottom: float, most: float) -> None:
    percent, low, high = (WIDTH * (value or 0.0) / most for value in (figure.percent, figure.low, figure.high))
    middle = bottom + BAR / 2
    drawing.add(Rect(0, bottom, percent, BAR, fillColor=colour, strokeColor=None))
    drawing.add(Line(low, middle, high, middle, strokeColor=INK, strokeWidth=0.7))
    for end in (low, high):
        drawing.add(Line(end, bottom + 1, end, bottom + BAR - 1, strokeColor=INK, strokeWidth=0.7))
