"""YOLO's label text: one object a line, a box or a polygon, everything in shares of the image's width and height.

    class x y width height          a box by its centre and size
    class x1 y1 x2 y2 x3 y3 ...     a polygon of three corners or more

A line that is neither is an error that names the file, the line and the field: a label left out in silence would be a false
alarm of whatever is scored on the set.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from edgecell.errors import SettingsError
from edgecell.messages import NUCLEATED, PLATELET, RED_BLOOD_CELL

LEFT_OUT = "-"
"""Stands for a kind in `--kinds` where objects of that class are to be passed over."""
BEYOND = 0.01
"""Share of the image that a label may lie outside of it: annotation tools round, and let a hand slip over the border."""
BOX_VALUES = 5
BOX_FIELDS = ("class", "x", "y", "width", "height")
LEAST_CORNERS = 3

Outline = NDArray[np.float64]
"""Corners (N, 2) of a polygon, x and y in px."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """What the class numbers of a set mean. kinds: those that are scored, in order. of: number -> kind, None if left out."""

    kinds: tuple[str, ...]
    of: Mapping[int, str | None]


BLOOD = Classes(
    kinds=(NUCLEATED, RED_BLOOD_CELL, PLATELET), of=MappingProxyType({0: NUCLEATED, 1: RED_BLOOD_CELL, 2: PLATELET})
)
"""TXL-PBC's: white cells, red cells, platelets."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Object:
    """One labelled object. kind: index into the set's kinds. box: x0, y0, x1, y1 in px. outline: None where a box was drawn."""

    kind: int
    box: tuple[float, float, float, float]
    outline: Outline | None


def classes(text: str) -> Classes:
    """`0=nucleated,1=red_blood_cell,2=-` as Classes. Several numbers may share a kind. Raises SettingsError."""
    pairs = [re.fullmatch(r"\s*(\d+)\s*=\s*(-|[a-z][a-z0-9_]*)\s*", piece) for piece in text.split(",")]
    found = {int(pair[1]): None if pair[2] == LEFT_OUT else pair[2] for pair in pairs if pair}
    kinds = tuple(dict.fromkeys(kind for kind in found.values() if kind is not None))
    if not all(pairs) or len(found) != len(pairs) or not kinds:
        fix = "write each class number once, as 0=nucleated,1=red_blood_cell,2=platelet; NUMBER=- leaves a class out"
        raise SettingsError(f"--kinds {text!r} is not a list of NUMBER=KIND", fix=fix)
    return Classes(kinds=kinds, of=found)


def parse(text: str, where: str, size: tuple[int, int], meaning: Classes) -> Iterator[Object]:
    """The objects of one label file but for those of left-out classes. size: (width, height) of its image in px.

    where: the file, for errors. Raises SettingsError that names it with line and field. Blank lines are passed over.
    """
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if words:
            place = f"{where}, line {number}"
            kind = _kind(words[0], place, meaning)
            shares = _shares(words, place)
            if kind is not None:
                yield _object(meaning.kinds.index(kind), shares, size)


def _kind(word: str, place: str, meaning: Classes) -> str | None:
    if not word.isascii() or not word.isdigit():
        raise SettingsError(f"{place}: class {word!r} is not a whole number", fix="correct the first word of that line")
    if int(word) not in meaning.of:
        known = ", ".join(map(str, meaning.of))
        fix = f"name it in --kinds, as {word}=KIND or, to leave it out, {word}={LEFT_OUT}"
        raise SettingsError(f"{place}: class {word} is none of {known}", fix=fix)
    return meaning.of[int(word)]


def _shares(words: list[str], place: str) -> list[float]:
    """The numbers behind the class, checked."""
    if len(words) != BOX_VALUES and (len(words) < 1 + 2 * LEAST_CORNERS or len(words) % 2 == 0):
        fix = "write `class x y width height`, or `class x1 y1 x2 y2 x3 y3 ...` with three corners or more"
        raise SettingsError(f"{place}: {len(words)} values are neither a box nor a polygon", fix=fix)
    names = BOX_FIELDS if len(words) == BOX_VALUES else _corner_names(len(words))
    shares = [_share(word, f"{place}: {name}") for word, name in zip(words[1:], names[1:], strict=True)]
    if len(words) == BOX_VALUES:
        _check_box(shares, place)
    elif _area(np.array(shares).reshape(-1, 2)) <= 0:
        raise SettingsError(f"{place}: the polygon has no area", fix="draw that object again, or remove the line")
    return shares


def _corner_names(words: int) -> tuple[str, ...]:
    corners = range(1, (words - 1) // 2 + 1)
    return ("class", *(f"{axis}{corner}" for corner in corners for axis in "xy"))


def _share(word: str, place: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not -BEYOND <= value <= 1 + BEYOND:  # not true of nan either
        fix = "labels are shares of the image's width and height, from 0 to 1, not pixels"
        raise SettingsError(f"{place} is {word}, not between 0 and 1", fix=fix)
    return value


def _check_box(shares: list[float], place: str) -> None:
    x, y, width, height = shares
    for name, centre, length in (("width", x, width), ("height", y, height)):
        if length <= 0:
            raise SettingsError(f"{place}: {name} is {length:g}, so the box is empty", fix="draw it again, or remove the line")
        if centre - length / 2 < -BEYOND or centre + length / 2 > 1 + BEYOND:
            what = f"{place}: {name} {length:g} reaches out of the image from the centre at {centre:g}"
            raise SettingsError(what, fix="x and y are the middle of the box, not its corner")


def _object(kind: int, shares: list[float], size: tuple[int, int]) -> Object:
    width, height = size
    if len(shares) == BOX_VALUES - 1:
        x, y, across, down = shares
        halves = across / 2, down / 2
        box = ((x - halves[0]) * width, (y - halves[1]) * height, (x + halves[0]) * width, (y + halves[1]) * height)
        return Object(kind=kind, box=box, outline=None)
    outline = np.array(shares, np.float64).reshape(-1, 2) * size
    (x0, y0), (x1, y1) = outline.min(axis=0).tolist(), outline.max(axis=0).tolist()
    return Object(kind=kind, box=(x0, y0, x1, y1), outline=outline)


def _area(corners: Outline) -> float:
    """Area inside a polygon, the shoelace formula; what two crossing halves enclose may cancel, which no drawn cell does."""
    x, y = corners.T
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)
