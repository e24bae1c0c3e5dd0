"""A field with its cells drawn on it: boxes and labels by class, what was not counted in grey, a legend with the counts.

Lines and letters grow with the picture, so that they can still be seen when a large one is shrunk to a screen.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.messages import NOTICE, PLATELET, RED_BLOOD_CELL, Classification, FrameReport

Colour = tuple[int, int, int]
# Okabe and Ito's palette, made for colour-blind readers, darkened where it would vanish on a bright field
PALETTE: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 128, 95),
    (204, 60, 140),
    (120, 60, 180),
    (150, 110, 0),
    (20, 20, 20),
    (0, 150, 190),
)
RED, PLATE, GREY, UNSURE = (200, 40, 40), (150, 60, 200), (150, 150, 150), (255, 140, 0)
FONT = cv2.FONT_HERSHEY_SIMPLEX
LEAST_PX = 720
"""Height to which a small field is magnified, by whole pixels."""
UNIT_PX = 1280
"""Longer side of a picture whose lines are 2 px wide and whose legend is LEGEND_PX wide."""
LEGEND_PX = 250
LINE_PX = 20


def draw(image: NDArray[np.uint8], report: FrameReport, labels: Sequence[str]) -> NDArray[np.uint8]:
    """RGB uint8 (H, W, 3) -> the annotated picture, RGB uint8: the field, magnified to at least 720 px, and a legend.

    labels: what a cell can be counted as. A cell with another label (a reject class's), or not decided, is drawn as unsure.
    """
    zoom = max(1, -(-LEAST_PX // image.shape[0]))
    field = np.repeat(np.repeat(image, zoom, axis=0), zoom, axis=1)
    unit = max(1.0, max(field.shape[:2]) / UNIT_PX)
    colours = dict(zip(labels, PALETTE * (1 + len(labels) // len(PALETTE)), strict=False))
    colours |= {kind: colour for kind, colour in ((RED_BLOOD_CELL, RED), (PLATELET, PLATE)) if kind in colours}
    answers = {answer.cell_index: answer for answer in report.classifications}
    for cell in report.cells:
        answer = answers.get(cell.cell_index)
        counted = answer is not None and _is_counted(answer, labels)
        colour = GREY if answer is None else colours[answer.label] if counted else UNSURE
        name = "" if answer is None else _name(answer, counted)
        x0, y0, x1, y1 = (zoom * value for value in cell.box_px)
        cv2.rectangle(field, (x0, y0), (x1 - 1, y1 - 1), colour, math.ceil(unit * (2 if name else 1)))
        if name:
            _tag(field, (x0, y0, y1), colour, name, unit)
    return _beside(field, _legend(report, colours, unit))


def _is_counted(answer: Classification, labels: Collection[str]) -> bool:
    return answer.decided and answer.label in labels


def _name(answer: Classification, counted: bool) -> str:
    """What stands at a box: nothing where the kind itself is the label, for there are hundreds of red cells."""
    doubt = "" if counted else "? "
    return doubt.strip() if answer.confidence is None else f"{doubt}{answer.label} {100 * answer.confidence:.0f}%"


def _tag(field: NDArray[np.uint8], box: tuple[int, int, int], colour: Colour, text: str, unit: float) -> None:
    """White letters on the box's colour, above the box (x0, y0, y1) where there is room, else below."""
    x0, y0, y1 = box
    pad, line = round(2 * unit), round(unit)
    (width, height), _ = cv2.getTextSize(text, FONT, 0.5 * unit, line)
    wide, high = width + 2 * pad, height + 3 * pad
    left = max(0, min(x0, field.shape[1] - wide))
    top = y0 - high if y0 > high else min(y1, field.shape[0] - high)
    cv2.rectangle(field, (left, top), (left + wide, top + high), colour, cv2.FILLED)
    place = left + pad, top + height + pad
    cv2.putText(field, text, place, FONT, 0.5 * unit, (255, 255, 255), line, cv2.LINE_AA)


def _beside(field: NDArray[np.uint8], panel: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The two side by side, the lower one filled up with white: no line of the legend may be cut off."""
    height = max(field.shape[0], panel.shape[0])
    fill = [np.full((height - part.shape[0], part.shape[1], 3), 255, np.uint8) for part in (field, panel)]
    return np.hstack([np.vstack([field, fill[0]]), np.vstack([panel, fill[1]])])


def _legend(report: FrameReport, colours: Mapping[str, Colour], unit: float) -> NDArray[np.uint8]:
    counts = Counter(answer.label for answer in report.classifications if _is_counted(answer, colours))
    edge = sum(cell.excluded is not None for cell in report.cells)
    rows = [(f"{label}: {counts[label]}", colour) for label, colour in colours.items()]
    rows += [
        (f"unsure: {len(report.classifications) - counts.total()}", UNSURE),
        (f"not counted (edge): {edge}", GREY),
    ]
    scale = "scale unknown" if report.pixel_um is None else f"{report.pixel_um:.4f} um/px ({report.pixel_um_source})"
    foreign = ["foreign slide: labels held back"] if report.domain.state == "foreign" else []
    gated = [f"gated: {report.verdict.reason}"] if report.verdict.reason else []
    below = [scale, *foreign, *gated, *re.split(r"(?<=\.) ", NOTICE)]
    height = 40 + (len(rows) + len(below)) * LINE_PX
    panel = np.full((round(unit * height), round(unit * LEGEND_PX), 3), 255, np.uint8)
    for number, (text, colour) in enumerate(rows):
        y = 12 + number * LINE_PX
        left, top, right, bottom = (round(unit * value) for value in (10, y, 22, y + 12))
        cv2.rectangle(panel, (left, top), (right, bottom), colour, cv2.FILLED)
        _text(panel, text, (30, y + 11), 0.45, unit)
    for number, text in enumerate(below):
        _text(panel, text, (10, 40 + (len(rows) + number) * LINE_PX), 0.36, unit)
    return panel


def _text(panel: NDArray[np.uint8], text: str, place: tuple[int, int], size: float, unit: float) -> None:
    at = round(unit * place[0]), round(unit * place[1])
    cv2.putText(panel, text, at, FONT, size * unit, (0, 0, 0), round(unit), cv2.LINE_AA)
