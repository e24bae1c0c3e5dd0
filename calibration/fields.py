"""Whole fields with labelled cells: reading them, grouping near-copies, matching boxes.

The layout is YOLO's, in a folder or a tar: `images/<split>/<name>.jpg` beside `labels/<split>/<name>.txt`, or
`<split>/images/...`, or no split at all; below, folders may go on. `calibration.yolo` says what stands in a label file. A field
without one shows nothing that is labelled.

A found box counts for one labelled box of its kind at most, and only at an intersection over union of 0.5 or more.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration import yolo
from calibration.tree import opened
from edgecell.errors import SettingsError
from edgecell.imagefile import SUFFIXES
from edgecell.messages import Frame

LOG = logging.getLogger("calibration.fields")

KINDS = yolo.BLOOD.kinds
IOU = 0.5
SPLITS = frozenset({"train", "val", "valid", "validation", "test"})
"""Names of folders that are splits of a set and not a part of its fields' names."""
Boxes = NDArray[np.float64]
SourceOf = Callable[[str], str]
"""The source of the field of that name."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Field:
    """One labelled field. image: uint8 (H, W, 3) RGB. boxes: (N, 4) x0, y0, x1, y1 in px. kinds: (N,) index into the set's.

    name: of its file below `images/<split>`, without suffix. outlines: a polygon for each box, None where a box was drawn; or
    nothing at all. labelled: whether it had a label file. given_source: where it comes from, "" if nobody said.
    """

    name: str
    split: str
    image: NDArray[np.uint8]
    boxes: Boxes
    kinds: NDArray[np.int64]
    outlines: tuple[yolo.Outline | None, ...] = ()
    labelled: bool = True
    given_source: str = ""

    @property
    def source(self) -> str:
        """Where the field comes from; as far as its size tells if nobody said: each contributor to TXL-PBC has its own."""
        height, width = self.image.shape[:2]
        return self.given_source or f"{width}x{height}"


def read_fields(
    data: Path, split: str | None, meaning: yolo.Classes = yolo.BLOOD, source_of: SourceOf | None = None
) -> Iterator[Field]:
    """The fields of `split` under a folder or in a tar, sorted by name, one in memory at a time. split: None where the set has
    none. meaning: of the class numbers. source_of: None takes each image size for a source.

    Raises SettingsError: no fields, no labels, a label line that is broken, a split that is not there or not given.
    """
    with opened(data) as tree:
        images = _of_split(_named(tree.names, "images", SUFFIXES), split, data, "images")
        labels = _of_split(_named(tree.names, "labels", frozenset({".txt"})), split, data, "labels")
        _check_pairs(images, labels, data)
        for name in sorted(images):
            image = _decoded(tree.read(images[name]), data, images[name])
            height, width = image.shape[:2]
            text = _text(tree.read(labels[name]), data, labels[name]) if name in labels else ""
            objects = list(yolo.parse(text, f"{data}: {labels.get(name, '')}", (width, height), meaning))
            yield Field(
                name=name,
                split=split or "",
                image=image,
                boxes=np.array([each.box for each in objects], np.float64).reshape(-1, 4),
                kinds=np.array([each.kind for each in objects], np.int64),
                outlines=tuple(each.outline for each in objects),
                labelled=name in labels,
                given_source=source_of(name) if source_of else "",
            )


def source_of(how: str) -> SourceOf | None:
    """`size`: each image size is a source. `folder`: each folder below `images/<split>`. Else the path of a file with a line
    `name<TAB>source` for each field. Raises SettingsError; what it returns does for a field that is not in the file."""
    if how == "size":
        return None
    return _folder if how == "folder" else _from_table(Path(how))


def _folder(name: str) -> str:
    return str(PurePosixPath(name).parent)


def _from_table(path: Path) -> SourceOf:
    if not path.is_file():
        raise SettingsError(f"--source {path}: no such file", fix="write size, folder, or the path of a table")
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    for number, row in enumerate(rows, 1):
        if len(row) != 2 or not all(cell.strip() for cell in row):
            fix = "write the field's name, a tab and its source"
            raise SettingsError(f"{path}, row {number}: {len(row)} cells instead of a name and a source", fix=fix)
    table = {_stem(name.strip()): source.strip() for name, source in rows}

    def listed(name: str) -> str:
        if name not in table:
            raise SettingsError(f"{path}: no source for field {name}", fix="give every field of the set a line")
        return table[name]

    return listed


def _named(paths: Sequence[str], folder: str, suffixes: frozenset[str]) -> dict[tuple[str, str], str]:
    """(split, "" for none; name) -> path, of the files below a folder `images` or `labels`, however it is capitalised."""
    found: dict[tuple[str, str], str] = {}
    for path in paths:
        parts = path.split("/")
        places = [at for at, part in enumerate(parts[:-1]) if part.lower() == folder]
        if not places or PurePosixPath(path).suffix.lower() not in suffixes or parts[-1] == "classes.txt":
            continue
        above, below = parts[: places[-1]], parts[places[-1] + 1 :]
        split = ""
        if len(below) > 1 and below[0].lower() in SPLITS:
            split, *below = below
        elif above and above[-1].lower() in SPLITS:
            split = above[-1]
        key = split, _stem("/".join(below))
        if key in found:
            raise SettingsError(f"{found[key]} and {path} are both field {key[1]}", fix="give one set, with one image a name")
        found[key] = path
    return found


def _of_split(found: dict[tuple[str, str], str], split: str | None, data: Path, folder: str) -> dict[str, str]:
    """Name -> path of the files of one split, or of a set without any."""
    splits = sorted({each for each, _ in found if each})
    if split is None and splits:
        raise SettingsError(f"{data} has the splits {', '.join(splits)}", fix=f"choose one with --split, e.g. {splits[-1]}")
    chosen = {name: path for (each, name), path in found.items() if each == (split or "")}
    if not chosen:
        where = f"{folder}/{split}" if split else folder
        there = f"; it has the splits {', '.join(splits)}" if splits else ""
        fix = "point --data at a folder or tar in YOLO's layout, with images/ and labels/"
        raise SettingsError(f"no {where}/* under {data}{there}", fix=fix)
    return chosen


def _check_pairs(images: dict[str, str], labels: dict[str, str], data: Path) -> None:
    """Fields without a label file are said to show nothing, which must not pass unnoticed; nor must images that got lost."""
    if not images.keys() & labels.keys():
        fix = "give images/x.jpg and labels/x.txt the same name"
        raise SettingsError(f"no image of {data} has a label file, such as {min(images)}", fix=fix)
    for one, other, what in ((images, labels, "images have no label file"), (labels, images, "label files have no image")):
        lost = sorted(one.keys() - other.keys())
        if lost:
            LOG.warning("%s: %d %s, such as %s", data, len(lost), what, one[lost[0]])


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in SUFFIXES | {".txt"} else name


def _decoded(content: bytes, data: Path, name: str) -> NDArray[np.uint8]:
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB) if content else None
    if decoded is None:
        raise SettingsError(f"{data}: {name} is not an image", fix="unpack the data set again")
    return decoded.astype(np.uint8, copy=False)


def _text(content: bytes, data: Path, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{data}: {name} is not UTF-8 text at byte {error.start}", fix="save it as plain text") from None


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


def frame_of(field: Field, index: int) -> Frame:
    """The field as a source would hand it over: the scale unknown, the image locked."""
    image = np.ascontiguousarray(field.image)
    image.flags.writeable = False
    return Frame(source_id=field.source, index=index, captured_ns=0, image=image, label=field.name)
