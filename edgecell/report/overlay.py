"""A field with its cells drawn on it: boxes and labels by class, what was not counted in grey, a legend with the counts."""

from collections import Counter
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.messages import NOTICE, PLATELET, RED_BLOOD_CELL, FrameReport

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
LEGEND_PX = 250
LINE_PX = 20


def draw(image: NDArray[np.uint8], report: FrameReport, classes: tuple[str, ...]) -> NDArray[np.uint8]:
    """RGB uint8 (H, W, 3) -> the annotated picture, RGB uint8: the field, magnified to at least 720 px, and a legend."""
    zoom = max(1, -(-720 // image.shape[0]))
    field = np.repeat(np.repeat(image, zoom, axis=0), zoom, axis=1)
    colours = dict(zip(classes, PALETTE * (1 + len(classes) // len(PALETTE)), strict=False))
    colours |= {RED_BLOOD_CELL: RED, PLATELET: PLATE}
    answers = {answer.cell_index: answer for answer in report.classifications}
    for cell in report.cells:
        answer = answers.get(cell.cell_index)
        box = tuple(zoom * value for value in cell.box_px)
        if answer is None:
            _box(field, box, GREY, "", 1)
        elif not answer.decided:
            shown = f"? {answer.label} {100 * answer.confidence:.0f}%" if answer.confidence is not None else "?"
            _box(field, box, UNSURE, shown, 2)
        elif answer.confidence is None:
            _box(field, box, colours.get(answer.label, GREY), "", 1)
        else:
            _box(field, box, colours.get(answer.label, GREY), f"{answer.label} {100 * answer.confidence:.0f}%", 2)
    return np.hstack([field, _legend(field.shape[0], report, colours)])


def _box(field: NDArray[np.uint8], box: tuple[int, ...], colour: Colour, text: str, thickness: int) -> None:
    x0, y0, x1, y1 = box
    cv2.rectangle(field, (x0, y0), (x1 - 1, y1 - 1), colour, thickness)
    if not text:
        return
    (width, height), _ = cv2.getTextSize(text, FONT, 0.5, 1)
    left = max(0, min(x0, field.shape[1] - width - 4))
    top = y0 - height - 6 if y0 > height + 6 else min(y1, field.shape[0] - height - 6)
    cv2.rectangle(field, (left, top), (left + width + 4, top + height + 6), colour, cv2.FILLED)
    cv2.putText(field, text, (left + 2, top + height + 2), FONT, 0.5, (255, 255, 255), 1, cv2.LINE_AA)


def _legend(height: int, report: FrameReport, colours: Mapping[str, Colour]) -> NDArray[np.uint8]:
    panel = np.full((height, LEGEND_PX, 3), 255, np.uint8)
    counts = Counter(answer.label for answer in report.classifications if answer.decided)
    unsure = sum(not answer.decided for answer in report.classifications)
    edge = sum(cell.excluded is not None for cell in report.cells)
    rows = [(label, counts[label], colour) for label, colour in colours.items()]
    rows += [(label, count, GREY) for label, count in counts.items() if label not in colours]
    rows += [("unsure", unsure, UNSURE), ("not counted (edge)", edge, GREY)]
    for number, (label, count, colour) in enumerate(rows):
        y = 12 + number * LINE_PX
        cv2.rectangle(panel, (10, y), (22, y + 12), colour, cv2.FILLED)
        _text(panel, f"{label}: {count}", (30, y + 11))
    scale = "scale unknown" if report.pixel_um is None else f"{report.pixel_um:.4f} um/px ({report.pixel_um_source})"
    notice = NOTICE.split(". ")
    below = [scale, report.verdict.reason and f"gated: {report.verdict.reason}", f"{notice[0]}.", notice[1]]
    for number, text in enumerate(line for line in below if line):
        _text(panel, text, (10, 40 + (len(rows) + number) * LINE_PX), 0.36)
    return panel


def _text(panel: NDArray[np.uint8], text: str, place: tuple[int, int], size: float = 0.45) -> None:
    cv2.putText(panel, text, place, FONT, size, (0, 0, 0), 1, cv2.LINE_AA)
