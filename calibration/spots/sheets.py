"""The labelled fields of a recipe, made ready, and which of them are held back."""

import logging
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from calibration.datasets import adapter
from calibration.datasets.balf import Balf
from calibration.fields import Field, near_copies, read_fields
from calibration.spots.recipe import Recipe
from calibration.spots.sheet import Sheet, sheet_of
from calibration.yolo import Classes
from edgecell.errors import SettingsError
from edgecell.messages import RED_BLOOD_CELL
from edgecell.optics.scale import LEAST_CELLS, RED_CELL_UM

LOG = logging.getLogger("edgecell.calibration")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sheets:
    """training, held: fields that share no near-copy, neither with each other nor with the split that is kept for the test."""

    training: tuple[Sheet, ...]
    held: tuple[Sheet, ...]


def read(recipe: Recipe, root: Path) -> Sheets:
    """The fields of the recipe's dataset below `root`. Raises SettingsError."""
    how, names = recipe.data, tuple(each.name for each in recipe.classes)
    meaning = Classes(kinds=names, of=dict(enumerate(names)))
    fields = list(_fields(recipe, root, how.split, meaning))
    apart = list(_fields(recipe, root, how.apart, meaning)) if how.apart else []
    groups = near_copies([*fields, *apart])
    tested = set(groups[len(fields) :].tolist())
    first: dict[int, str] = {}
    for field, group in zip(fields, groups.tolist(), strict=False):
        first.setdefault(group, field.name)
    sides: tuple[list[Sheet], list[Sheet]] = [], []
    left_out = 0
    for field, group in zip(fields, groups.tolist(), strict=False):
        pixel_um = how.pixel_um or measured(field, names)
        if group in tested or pixel_um is None:
            left_out += 1
        else:
            sides[is_held(first[group], how.held)].append(sheet_of(field, pixel_um))
    training, held = sides
    LOG.info("%d fields to train on, %d held back, %d left out", len(training), len(held), left_out)
    if not training or not held:
        raise SettingsError(
            f"{root / (how.path or how.name)}: too few fields to train on some and hold back others", fix="label more fields"
        )
    return Sheets(training=tuple(training), held=tuple(held))


def _fields(recipe: Recipe, root: Path, split: str | None, meaning: Classes) -> Iterator[Field]:
    how = recipe.data
    if how.path is not None:
        yield from read_fields(root / how.path, split, meaning)
        return
    source = adapter(how.name)
    names = [each.name for each in source.facts.classes]
    strangers = sorted(set(names) - set(meaning.kinds))
    if strangers or not isinstance(source, Balf):
        what = f"has classes that the recipe lacks: {', '.join(strangers)}" if strangers else "has no whole fields"
        raise SettingsError(f"dataset {how.name} {what}", fix="give [data] a path in YOLO's layout, or correct the classes")
    order = np.array([meaning.kinds.index(name) for name in names])
    for field in source.fields(root):
        yield replace(field, kinds=order[field.kinds])


def is_held(name: str, share: float) -> bool:
    """Whether the group whose first field has this name is held back: the name decides, whatever other fields there are."""
    return zlib.crc32(name.encode()) % 10_000 < share * 10_000


def measured(field: Field, names: Sequence[str]) -> float | None:
    """um per pixel from the field's labelled red cells; None where they are too few."""
    boxes = field.boxes[field.kinds == names.index(RED_BLOOD_CELL)] if RED_BLOOD_CELL in names else field.boxes[:0]
    if len(boxes) < LEAST_CELLS:
        return None
    return RED_CELL_UM / float(np.median(np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))))
