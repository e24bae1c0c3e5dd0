"""How well a segmenter finds the labelled cells of whole fields: boxes, counts a field and, where polygons were drawn, masks.

Border cells are included, and left out once more in figures of their own: a labelled cell whose box comes within BORDER_PX of
the border is left out, and so is what was found for it, or was found at the border for nothing. Fields, not cells, are what the
intervals resample: cells of one field stand or fall together.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.fields import IOU, KINDS, Boxes, Field, frame_of, match
from calibration.yolo import Outline
from edgecell.errors import SettingsError
from edgecell.messages import Cell
from edgecell.protocols import Segmenter

BORDER_PX = 2
ROUNDS = 1000
EVERY = "all"
Make = Callable[[], AbstractContextManager[Segmenter]]
"""Gives a segmenter that knows nothing yet."""
Interval = tuple[float, float]
"""95 %, by a bootstrap over fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Boxes of one kind over some fields. interval: of f1."""

    f1: float
    interval: Interval
    precision: float
    precision_interval: Interval
    recall: float
    recall_interval: Interval
    labelled: int
    found: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean over n of something, 0 <= n."""

    value: float
    interval: Interval
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KindReport:
    """One kind over some fields. count_error: absolute error of its count a field, n fields. mask_iou: of the matched cells
    that have a polygon, their intersection over union with it; None where none has."""

    boxes: Score
    without_border: Score
    count_error: Mean
    mask_iou: Mean | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """The fields of one source, or of all."""

    fields: int
    kinds: dict[str, KindReport]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tallied:
    """What became of one field, by kind. boxes, inner: (K, 3) matched, found and labelled, inner without border cells.

    masks: (K, 2) sum of the matched cells' mask overlaps, and how many there are.
    """

    source: str
    labelled: bool
    boxes: NDArray[np.int64]
    inner: NDArray[np.int64]
    masks: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A segmenter on labelled fields. ms_a_field: median. without_labels: fields that had no label file, taken for empty ones.

    by_source: EVERY, then each source.
    """

    ms_a_field: float
    without_labels: int
    by_source: dict[str, SourceReport]

    def summary(self) -> dict[str, object]:
        """All of it as plain values."""
        return {"iou": IOU, "border_px": BORDER_PX, **asdict(self)}

    def __str__(self) -> str:
        head = f"{'source':<10}{'fields':>7}  {'kind':<16}{'F1 (95 %)':>21}{'precision':>11}{'recall':>8}{'n':>7}{'found':>7}"
        head += f"{'count error (95 %)':>22}   F1 without border cells"
        rows = [_row(source, each, kind) for source, each in self.by_source.items() for kind in each.kinds]
        note = f"median {self.ms_a_field:.1f} ms a field; boxes one to one at IoU {IOU}; count error: mean absolute, a field; "
        note += "95 % intervals: bootstrap over fields"
        if self.without_labels:
            note += f"; {self.without_labels} fields without a label file count as fields without cells"
        return "\n".join([head, *rows, note])


def _row(source: str, report: SourceReport, kind: str) -> str:
    figures = report.kinds[kind]
    boxes, inner, error, masks = figures.boxes, figures.without_border, figures.count_error, figures.mask_iou
    row = f"{source:<10}{report.fields:>7}  {kind:<16}{boxes.f1:>7.3f} ({_span(boxes.interval, 3)}){boxes.precision:>11.3f}"
    row += f"{boxes.recall:>8.3f}{boxes.labelled:>7}{boxes.found:>7}{error.value:>9.2f} ({_span(error.interval, 2)})"
    row += f"   {inner.f1:.3f} ({_span(inner.interval, 3)}) n={inner.labelled}"
    return row + ("" if masks is None else f"  mask IoU {masks.value:.3f} ({_span(masks.interval, 3)}) n={masks.n}")


def _span(interval: Interval, digits: int) -> str:
    low, high = interval
    return f"{low:.{digits}f}-{high:.{digits}f}"


def score(fields: Iterable[Field], make: Make, kinds: Sequence[str] = KINDS) -> Figures:
    """A segmenter on fields, which are read once, one after the other. kinds: of the fields. Raises SettingsError."""
    tallied, spent_ms = evaluate(fields, make, kinds)
    without = sum(not each.labelled for each in tallied)
    return Figures(ms_a_field=spent_ms, without_labels=without, by_source=report(tallied, kinds))


def evaluate(fields: Iterable[Field], make: Make, kinds: Sequence[str] = KINDS) -> tuple[list[Tallied], float]:
    """Each field's tally and the median milliseconds a field. A fresh segmenter for each source: each is one optics.

    Raises SettingsError for kinds that the segmenter does not know.
    """
    tallied: list[Tallied] = []
    spent: list[float] = []
    with ExitStack() as stack:
        segmenters: dict[str, Segmenter] = {}
        for index, field in enumerate(fields):
            if field.source not in segmenters:
                segmenters[field.source] = stack.enter_context(make())
                _check_kinds(kinds, segmenters[field.source])
            start = time.perf_counter()
            cells = segmenters[field.source].segment(frame_of(field, index)).cells
            spent.append((time.perf_counter() - start) * 1e3)
            tallied.append(tally(field, cells, kinds))
    return tallied, float(np.median(spent))


def _check_kinds(kinds: Sequence[str], segmenter: Segmenter) -> None:
    unknown = [kind for kind in kinds if kind not in segmenter.kinds]
    if unknown:
        what = f"the segmenter finds no {' and no '.join(unknown)}, but {', '.join(segmenter.kinds)}"
        raise SettingsError(what, fix="name the segmenter's kinds in --kinds, and leave others out as NUMBER=-")


def tally(field: Field, cells: Sequence[Cell], kinds: Sequence[str] = KINDS) -> Tallied:
    """One field beside the cells that were found in it, border cells included; those of other kinds are passed over."""
    boxes, inner, masks = [], [], []
    height, width = field.image.shape[:2]
    for number, kind in enumerate(kinds):
        mine = [cell for cell in cells if cell.kind == kind]
        found = np.array([cell.box_px for cell in mine], np.float64).reshape(-1, 4)
        chosen = np.flatnonzero(field.kinds == number)
        theirs = field.boxes[chosen]
        pairs = match(found, theirs)
        boxes.append((len(pairs), len(found), len(theirs)))
        inner.append(_inner(pairs, _at_border(found, width, height), _at_border(theirs, width, height)))
        outlines = [field.outlines[at] if field.outlines else None for at in chosen.tolist()]
        ious = [mask_overlap(mine[i], outline) for i, j in pairs if (outline := outlines[j]) is not None]
        masks.append((sum(ious), len(ious)))
    return Tallied(
        source=field.source,
        labelled=field.labelled,
        boxes=np.array(boxes, np.int64),
        inner=np.array(inner, np.int64),
        masks=np.array(masks, np.float64),
    )


def _at_border(boxes: Boxes, width: int, height: int) -> NDArray[np.bool_]:
    size = np.array([width, height])
    return np.asarray(((boxes[:, :2] < BORDER_PX) | (boxes[:, 2:] > size - BORDER_PX)).any(axis=1), np.bool_)


def _inner(pairs: Sequence[tuple[int, int]], found: NDArray[np.bool_], labelled: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Matched, found and labelled without the border cells. found, labelled: which of them lie at the border.

    A whole cell whose found box reaches the border is found; a found one goes with the border cell that it matches.
    """
    taken = {i for i, _ in pairs}
    matched = sum(not labelled[j] for _, j in pairs)
    false_alarms = sum(not at_border for i, at_border in enumerate(found.tolist()) if i not in taken)
    return matched, matched + false_alarms, int((~labelled).sum())


def mask_overlap(cell: Cell, outline: Outline) -> float:
    """Intersection over union of a found cell's mask and a polygon in px of the same field."""
    corners = np.rint(outline).astype(np.int32)
    x0, y0, x1, y1 = cell.box_px
    left, top = min(x0, int(corners[:, 0].min())), min(y0, int(corners[:, 1].min()))
    right, bottom = max(x1, int(corners[:, 0].max()) + 1), max(y1, int(corners[:, 1].max()) + 1)
    drawn, found = np.zeros((2, bottom - top, right - left), np.uint8)
    cv2.fillPoly(drawn, [corners - np.array([left, top], np.int32)], 1)
    found[y0 - top : y1 - top, x0 - left : x1 - left] = cell.mask
    return float((drawn & found).sum() / max(1, int((drawn | found).sum())))


def report(tallied: Sequence[Tallied], kinds: Sequence[str] = KINDS) -> dict[str, SourceReport]:
    """Figures over all fields and by source."""
    sources = sorted({each.source for each in tallied})
    parts = {EVERY: list(tallied), **{name: [each for each in tallied if each.source == name] for name in sources}}
    return {name: SourceReport(fields=len(some), kinds=_kinds(some, kinds)) for name, some in parts.items()}


def _kinds(tallied: Sequence[Tallied], kinds: Sequence[str]) -> dict[str, KindReport]:
    boxes, inner = (np.stack([getattr(each, name) for each in tallied]) for name in ("boxes", "inner"))
    masks = np.stack([each.masks for each in tallied])
    errors = np.abs(boxes[:, :, 1] - boxes[:, :, 2]).astype(np.float64)
    ones = np.ones(len(tallied))
    return {
        kind: KindReport(
            boxes=_score(boxes[:, at]),
            without_border=_score(inner[:, at]),
            count_error=_mean(errors[:, at], ones),
            mask_iou=_mean(masks[:, at, 0], masks[:, at, 1]) if masks[:, at, 1].any() else None,
        )
        for at, kind in enumerate(kinds)
    }


def _score(counts: NDArray[np.int64]) -> Score:
    """counts: (fields, 3) matched, found and labelled."""
    matched, found, labelled = (int(value) for value in counts.sum(axis=0))
    sums = counts[_picks(len(counts))].sum(axis=1)
    return Score(
        f1=2 * matched / max(1, found + labelled),
        interval=_interval(2 * sums[:, 0] / np.maximum(1, sums[:, 1] + sums[:, 2])),
        precision=matched / max(1, found),
        precision_interval=_interval(sums[:, 0] / np.maximum(1, sums[:, 1])),
        recall=matched / max(1, labelled),
        recall_interval=_interval(sums[:, 0] / np.maximum(1, sums[:, 2])),
        labelled=labelled,
        found=found,
    )


def _mean(sums: NDArray[np.float64], weights: NDArray[np.float64]) -> Mean:
    """sums: (fields,) of a value over `weights` things a field."""
    picks = _picks(len(sums))
    totals, numbers = sums[picks].sum(axis=1), weights[picks].sum(axis=1)
    drawn = totals[numbers > 0] / numbers[numbers > 0]
    return Mean(value=float(sums.sum() / weights.sum()), interval=_interval(drawn), n=int(weights.sum()))


def _picks(fields: int) -> NDArray[np.int64]:
    """(ROUNDS, fields): which fields each round of the bootstrap draws, the same every time."""
    return np.random.default_rng(0).integers(0, fields, (ROUNDS, fields))


def _interval(values: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
