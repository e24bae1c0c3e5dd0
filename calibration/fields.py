"""Whole fields with labelled boxes: reading them, grouping near-copies, scoring a segmenter on them.

The layout is YOLO's, as TXL-PBC has it, in a folder or a tar: `images/<split>/<name>.jpg` and `labels/<split>/<name>.txt`, one
`class x y width height` a line, normalised to the image; classes 0 white cell, 1 red cell, 2 platelet.

A found box counts for one labelled box of its kind at most, and only at an intersection over union of 0.5 or more. Border
cells are included. Fields, not cells, are what the intervals resample: cells of one field stand or fall together.
"""

import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.errors import SettingsError
from edgecell.messages import NUCLEATED, PLATELET, RED_BLOOD_CELL, Frame
from edgecell.protocols import Segmenter

KINDS = (NUCLEATED, RED_BLOOD_CELL, PLATELET)
IOU = 0.5
Boxes = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Field:
    """One labelled field. image: uint8 (H, W, 3) RGB. boxes: (N, 4) x0, y0, x1, y1 in px. kinds: (N,) index into KINDS."""

    name: str
    split: str
    image: NDArray[np.uint8]
    boxes: Boxes
    kinds: NDArray[np.int64]

    @property
    def source(self) -> str:
        """Where the field comes from, as far as its size tells: each contributor to TXL-PBC has its own image size."""
        height, width = self.image.shape[:2]
        return f"{width}x{height}"


class Score(TypedDict):
    """Figures of one kind over some fields. interval: 95 %, bootstrap over fields, of f1."""

    f1: float
    interval: tuple[float, float]
    precision: float
    recall: float
    labelled: int
    found: int


class SourceReport(TypedDict):
    """Figures of the fields of one source. red_count_error: mean absolute error of the red-cell count a field."""

    fields: int
    kinds: dict[str, Score]
    red_count_error: float
    red_count_error_interval: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A segmenter on labelled fields. ms_a_field: median. by_source: "all", then each source."""

    split: str
    ms_a_field: float
    by_source: dict[str, SourceReport]

    def summary(self) -> dict[str, object]:
        """All of it as plain values."""
        return {"split": self.split, "iou": IOU, "ms_a_field": self.ms_a_field, "by_source": self.by_source}

    def __str__(self) -> str:
        head = f"{'source':<10}{'fields':>7}" + "".join(f"{kind + ' F1':>32}" for kind in KINDS) + f"{'red count error':>24}"
        rows = [_row(source, figures) for source, figures in self.by_source.items()]
        note = f"median {self.ms_a_field:.1f} ms a field; boxes one to one at IoU {IOU}; 95 % intervals: bootstrap over fields"
        return "\n".join([head, *rows, note])


def _row(source: str, figures: SourceReport) -> str:
    line = f"{source:<10}{figures['fields']:>7}"
    for score in figures["kinds"].values():
        low, high = score["interval"]
        line += f"{score['f1']:>12.3f} ({low:.3f}-{high:.3f}) n={score['labelled']:<4}"
    low, high = figures["red_count_error_interval"]
    return line + f"{figures['red_count_error']:>10.2f} ({low:.2f}-{high:.2f})"


def read_fields(data: Path, split: str) -> Iterator[Field]:
    """The fields of `split` ("train" or "val") under a folder or in a tar, sorted by name. Raises SettingsError if none."""
    images, labels = _read(data, split)
    if not images:
        raise SettingsError(f"no images/{split}/*.jpg under {data}", fix="point --data at TXL-PBC's folder or tar")
    for name in sorted(images):
        decoded = cv2.imdecode(np.frombuffer(images[name], np.uint8), cv2.IMREAD_COLOR_RGB)
        if decoded is None:
            raise SettingsError(f"{name} in {data} is not an image", fix="unpack the data set again")
        image = decoded.astype(np.uint8, copy=False)
        kinds, boxes = _parse(labels.get(name, ""), image.shape[1], image.shape[0])
        yield Field(name=name, split=split, image=image, boxes=boxes, kinds=kinds)


def _read(data: Path, split: str) -> tuple[dict[str, bytes], dict[str, str]]:
    images: dict[str, bytes] = {}
    labels: dict[str, str] = {}
    for path, content in _files(data):
        if path.parent.name != split:
            continue
        if path.parent.parent.name == "images":
            images[path.stem] = content
        elif path.parent.parent.name == "labels":
            labels[path.stem] = content.decode()
    return images, labels


def _files(data: Path) -> Iterator[tuple[Path, bytes]]:
    if data.is_dir():
        for path in sorted(data.rglob("*")):
            if path.suffix in {".jpg", ".png", ".txt"}:
                yield path.relative_to(data), path.read_bytes()
    elif data.is_file() and tarfile.is_tarfile(data):
        with tarfile.open(data) as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isfile() else None
                if content is not None:
                    yield Path(member.name), content.read()
    else:
        raise SettingsError(f"{data} is neither a folder nor a tar", fix="point --data at TXL-PBC's folder or tar")


def _parse(text: str, width: int, height: int) -> tuple[NDArray[np.int64], Boxes]:
    rows = np.array([[float(v) for v in line.split()] for line in text.splitlines() if line.strip()]).reshape(-1, 5)
    half = rows[:, 3:5] / 2
    size = np.array([width, height, width, height])
    return rows[:, 0].astype(np.int64), np.hstack([rows[:, 1:3] - half, rows[:, 1:3] + half]) * size


def near_copies(fields: Sequence[Field], alike: float = 0.85) -> NDArray[np.int64]:
    """Group number (N,) of each field: copies that were squashed, turned, mirrored or recoloured share one.

    Fields are alike when their coarse pictures correlate by `alike` in one of eight orientations. Cropped copies are missed.
    """
    plain = np.stack([_coarse(field.image) for field in fields])
    turned = [np.rot90(m, k, axes=(1, 2)) for m in (plain, plain[:, :, ::-1]) for k in range(4)]
    flat = plain.reshape(len(plain), -1)
    likeness = np.max([flat @ t.reshape(len(plain), -1).T for t in turned], axis=0)
    groups = np.arange(len(fields))
    for a, b in np.argwhere(np.triu(likeness > alike, 1)).tolist():
        groups[groups == groups[b]] = groups[a]
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


def _coarse(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """24x24 of the green channel, zero mean, unit norm: shape without colour, exposure or size."""
    small = cv2.resize(image[:, :, 1], (24, 24), interpolation=cv2.INTER_AREA).astype(np.float64)
    small -= small.mean()
    unit: NDArray[np.float64] = small / max(1e-9, float(np.linalg.norm(small)))
    return unit


def overlaps(found: Boxes, labelled: Boxes) -> NDArray[np.float64]:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4)."""
    low = np.maximum(found[:, None, :2], labelled[None, :, :2])
    high = np.minimum(found[:, None, 2:], labelled[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=2)
    area = [np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (found, labelled)]
    union: NDArray[np.float64] = area[0][:, None] + area[1][None, :] - both
    ratio: NDArray[np.float64] = both / np.maximum(union, 1e-9)
    return ratio


def match(found: Boxes, labelled: Boxes) -> list[tuple[int, int]]:
    """Pairs (found, labelled), one to one, best overlap first, none below IOU."""
    ious = overlaps(found, labelled)
    pairs = []
    for flat in np.argsort(-ious, axis=None).tolist():
        i, j = divmod(flat, max(1, len(labelled)))
        if ious[i, j] < IOU:
            break
        pairs.append((i, j))
        ious[i, :] = ious[:, j] = 0.0
    return pairs


def tallies(field: Field, boxes: Boxes, kinds: NDArray[np.int64]) -> NDArray[np.int64]:
    """(len(KINDS), 3): matched, found and labelled boxes of each kind in one field."""
    rows = []
    for kind in range(len(KINDS)):
        mine, theirs = boxes[kinds == kind], field.boxes[field.kinds == kind]
        rows.append((len(match(mine, theirs)), len(mine), len(theirs)))
    return np.array(rows, np.int64)


def frame_of(field: Field, index: int) -> Frame:
    """The field as a source would hand it over: the scale unknown, the image locked."""
    image = np.ascontiguousarray(field.image)
    image.flags.writeable = False
    return Frame(source_id=field.source, index=index, captured_ns=0, image=image, label=field.name)


def find(segmenter: Segmenter, field: Field, index: int) -> tuple[Boxes, NDArray[np.int64]]:
    """Boxes (N, 4) and kinds (N,) that a segmenter finds, border cells included."""
    cells = [cell for cell in segmenter.segment(frame_of(field, index)).cells if cell.kind in KINDS]
    boxes = np.array([cell.box_px for cell in cells], np.float64).reshape(-1, 4)
    return boxes, np.array([KINDS.index(cell.kind) for cell in cells], np.int64)


def summary(counts: NDArray[np.int64], rounds: int = 1000, seed: int = 0) -> dict[str, Score]:
    """Score of each kind from tallies (fields, kinds, 3)."""
    picks = np.random.default_rng(seed).integers(0, len(counts), (rounds, len(counts)))
    scores = {}
    for kind, name in enumerate(KINDS):
        matched, found, labelled = (int(v) for v in counts[:, kind].sum(axis=0))
        sums = counts[:, kind][picks].sum(axis=1)
        low, high = np.percentile(2 * sums[:, 0] / np.maximum(1, sums[:, 1] + sums[:, 2]), [2.5, 97.5])
        scores[name] = Score(
            f1=2 * matched / max(1, found + labelled),
            interval=(float(low), float(high)),
            precision=matched / max(1, found),
            recall=matched / max(1, labelled),
            labelled=labelled,
            found=found,
        )
    return scores


def count_error(counts: NDArray[np.int64], rounds: int = 1000, seed: int = 0) -> tuple[float, tuple[float, float]]:
    """Mean absolute error of the red-cell count a field, with its 95 % bootstrap interval over fields."""
    errors = np.abs(counts[:, 1, 1] - counts[:, 1, 2])
    picks = np.random.default_rng(seed).integers(0, len(errors), (rounds, len(errors)))
    low, high = np.percentile(errors[picks].mean(axis=1), [2.5, 97.5])
    return float(errors.mean()), (float(low), float(high))


def report(fields: Sequence[Field], counts: NDArray[np.int64]) -> dict[str, SourceReport]:
    """Figures over all fields and by source, from tallies (fields, kinds, 3)."""
    sources = np.array([field.source for field in fields])
    parts = {"all": np.ones(len(fields), bool), **{s: sources == s for s in sorted(set(sources.tolist()))}}
    out: dict[str, SourceReport] = {}
    for name, chosen in parts.items():
        error, interval = count_error(counts[chosen])
        out[name] = {
            "fields": int(chosen.sum()),
            "kinds": summary(counts[chosen]),
            "red_count_error": error,
            "red_count_error_interval": interval,
        }
    return out


def evaluate(fields: Sequence[Field], make: Callable[[], Segmenter]) -> tuple[NDArray[np.int64], float]:
    """Tallies (fields, kinds, 3) and the median milliseconds a field. A fresh segmenter for each source: each is one optics."""
    counts = np.zeros((len(fields), len(KINDS), 3), np.int64)
    spent: list[float] = []
    for source in sorted({field.source for field in fields}):
        with make() as segmenter:
            for index, field in enumerate(fields):
                if field.source == source:
                    start = time.perf_counter()
                    boxes, kinds = find(segmenter, field, index)
                    spent.append((time.perf_counter() - start) * 1e3)
                    counts[index] = tallies(field, boxes, kinds)
    return counts, float(np.median(spent))


def score(data: Path, split: str, make: Callable[[], Segmenter]) -> Figures:
    """A segmenter from `make` on the fields of `split`. Raises SettingsError if there are none."""
    fields = list(read_fields(data, split))
    counts, spent_ms = evaluate(fields, make)
    return Figures(split=split, ms_a_field=spent_ms, by_source=report(fields, counts))
