"""A laboratory's own fields in YOLO's layout: `images/`, `labels/` (boxes or polygons), names in `classes.txt` or `data.yaml`.

Cells are cut from the fields around the middle of their box, or of the box around their polygon, as a segmenter cuts them.
Those that the border of the field cuts are left out: a run leaves them out as well.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from calibration import fields, yolo
from calibration.adapter import Adapter, Fault
from calibration.fields import Field
from calibration.own import Own
from calibration.sample import Sample, windowed
from edgecell.errors import MissingDependency, SettingsError

NAMES = ("classes.txt", "labels/classes.txt", "data.yaml", "data.yml", "dataset.yaml")
"""Where the names of the classes may stand, in the order of their numbers; the first that is there counts."""
BORDER_PX = 2.0
"""A box that comes nearer to the border is taken for cut by it."""


class BoxOptions(Own, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """splits: folders of YOLO's own split (`train`, `val`), where there are any: all fields of those named here are read."""

    splits: tuple[str, ...] = ()


class OwnBoxes(Adapter):
    """Adapter of a folder of labelled fields."""

    Options = BoxOptions

    def __init__(self, options: BoxOptions) -> None:
        self._options = options
        self.facts = options.facts("field")

    def scan(self, root: Path) -> Iterator[Sample | Fault]:
        """Samples named `<field>/cell<number>`, by the number of the label's line among those not ignored.

        Raises SettingsError: no folder, no names of classes, a class unknown or missing, a broken label line.
        """
        for name, field in self._fields(root):
            yield from self._cells(field, name)

    def whole(self, root: Path) -> Iterator[Sample]:
        """The fields themselves."""
        for name, field in self._fields(root):
            yield Sample(name=name, labels=(), content=field.image, pixel_um=self._options.pixel_um)

    def _fields(self, root: Path) -> Iterator[tuple[str, Field]]:
        folder = self._options.path(root)
        names = class_names(folder)
        self._options.check(names, folder)
        wanted = {number: name if name in self._options.classes else None for number, name in enumerate(names)}
        meaning = yolo.Classes(kinds=self._options.classes, of=wanted)
        for split in self._options.splits or (None,):
            for field in fields.read_fields(folder, split, meaning):
                yield (f"{split}-" if split else "") + field.name.replace("/", "-"), field

    def _cells(self, field: Field, name: str) -> Iterator[Sample]:
        height, width = field.image.shape[:2]
        whole = (field.boxes[:, :2] >= BORDER_PX).all(axis=1) & (
            field.boxes[:, 2:] <= (width - BORDER_PX, height - BORDER_PX)
        ).all(axis=1)
        for number in np.flatnonzero(whole).tolist():
            x0, y0, x1, y1 = field.boxes[number].tolist()
            yield windowed(
                f"{name}/cell{number}",
                (self._options.classes[int(field.kinds[number])],),
                field.image,
                ((x0 + x1) / 2, (y0 + y1) / 2),
                self._options.pixel_um,
                self._options.slide_of(field.name),
            )


def class_names(folder: Path) -> tuple[str, ...]:
    """The names of the classes, by number. Raises SettingsError where none of NAMES is there or it has no names."""
    path = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    if path is None:
        fix = "write classes.txt: a name a line, in the order of the numbers"
        raise SettingsError(f"{folder} does not say what its classes are called", fix=fix)
    text = path.read_text(encoding="utf-8-sig")
    names = _of_yaml(text, path) if path.suffix != ".txt" else [line.strip() for line in text.splitlines() if line.strip()]
    if not names or len(set(names)) != len(names):
        raise SettingsError(f"{path} has no names of classes, or one twice", fix="one name for each number")
    return tuple(names)


def _of_yaml(text: str, path: Path) -> list[str]:
    """`names:` as a list, or as a table of number: name."""
    try:
        import yaml  # type: ignore[import-untyped,unused-ignore]
    except ModuleNotFoundError as error:
        raise MissingDependency(f"{path} needs the package pyyaml", fix="install it, or write classes.txt") from error
    try:
        names = yaml.safe_load(text)["names"]
        if isinstance(names, dict):
            names = [names[number] for number in range(len(names))]
        return [str(name) for name in list(names)]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        fix = "write `names: [one, two]`, or a name for each number from 0 on"
        raise SettingsError(f"{path} has no names of classes that can be read", fix=fix) from error
