"""The pictures that a report shows of each class: as many as fit, spread evenly over the run."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from edgecell.bundle import CellClass
from edgecell.imagesize import declared_px
from edgecell.journal.crops import Pictures, look
from edgecell.journal.events import RecordedCell
from edgecell.journal.reader import Reader
from edgecell.journal.revised import UNSURE, machine_bin, reviewed_bin
from edgecell.journal.standing import Standing
from edgecell.report.run import RunReport

PICTURES = 24
"""Of a class: three rows on a page of A4."""
MOST_PX = 4096 * 4096
"""Of a file in the journal: a small one may unpack to gigabytes."""
LONGEST_PX, QUALITY = 160, 90
"""Of a picture and its JPEG: 210 dots an inch at 19 mm. As they were cut, 200 pictures make a file of 20 MB."""


class Shown(NamedTuple):
    """One cell. jpeg: its picture, of at most LONGEST_PX."""

    frame: int
    cell: int
    jpeg: bytes


class Group(NamedTuple):
    """The cells of one class. kept: those of them of which there is a picture."""

    label: str
    kept: int
    shown: tuple[Shown, ...]


def gallery(folder: Path, report: RunReport, said: Standing) -> tuple[Group, ...]:
    """The groups as reviewed, in the order of the classes, `unsure` last; none where no picture was kept. said: the reviews
    that the report is with. Raises JournalError."""
    if not Pictures.there(folder):
        return ()
    classes = {each.name: each for each in report.classes}
    cells: dict[str, list[RecordedCell]] = {}
    for cell in _pictured(folder, report):
        if label := _label(cell, said, classes):
            cells.setdefault(label, []).append(cell)
    with look(folder) as crops:
        groups = [_group(crops, report.run_id, label, cells[label]) for label in [*classes, UNSURE] if label in cells]
    return tuple(group for group in groups if group.shown)


def _label(cell: RecordedCell, said: Standing, classes: Mapping[str, CellClass]) -> str:
    """What a cell counts as; "" for one that is excluded."""
    if cell.excluded is not None:
        return ""
    review = said.of((cell.frame, cell.index))
    where, name = machine_bin(cell.label, cell.decided, classes) if review is None else reviewed_bin(review, classes)
    return {"counts": name, "unsure": UNSURE}.get(where, "")


def _pictured(folder: Path, report: RunReport) -> Iterator[RecordedCell]:
    """Cells of the report's windows that a picture was kept of."""
    with Reader.open(folder) as reader:
        for _, window in reader.windows(report.run_id):
            if window is None or window.sequence >= report.windows:
                return
            yield from (cell for cell in window.cells if cell.crop)


def _group(crops: Pictures, run_id: str, label: str, cells: list[RecordedCell]) -> Group:
    """Where a picture is gone, since its room was needed, a neighbour's is taken."""
    shown: list[Shown] = []
    for number in range(PICTURES):
        for cell in cells[len(cells) * number // PICTURES : len(cells) * (number + 1) // PICTURES]:
            png = crops.picture(run_id, cell.frame, cell.index, cell.crop or "")
            jpeg = None if png is None else _small(png)
            if jpeg is not None:
                shown.append(Shown(cell.frame, cell.index, jpeg))
                break
    return Group(label, len(cells), tuple(shown))


def _small(png: bytes) -> bytes | None:
    """A picture shrunk; None for what is none, or is too large for a cell."""
    if not 0 < declared_px(png) <= MOST_PX:
        return None
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return None
    scale = LONGEST_PX / max(image.shape[:2])
    if scale < 1:
        height, width = (max(1, round(scale * side)) for side in image.shape[:2])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
