"""The limits of a quality check, in one TOML file: what a slide showed when all was well, and how far it may be off.

    slide = "QC 3"
    measured = "2026-01-31T12:00:00.000Z"
    models = ["nucleated: pbc8 1.0.0 0f3a..."]
    fields = 40

    [limits]                                # lowest and highest value; a person may change them
    background = [182.3, 222.8]             # grey values, green
    ...
    [per_field.red_blood_cell]              # limits follow from these, and from how many fields are looked at
    mean = 41.2
    sd = 6.3

    [classes]                               # cells of the differential
    neutrophil = 61
    ...

`edgecell qc --set-reference` writes it.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from edgecell.drift import LAMP, LEAST, WHITE
from edgecell.errors import SettingsError
from edgecell.files import write_whole
from edgecell.journal.events import QualityRow
from edgecell.quality.expected import CONFIDENCE, count_limits, mean_limits
from edgecell.quality.measure import LEAST_FIELDS, Measured, PerField
from edgecell.settings import Id
from edgecell.tomlfile import converted, read_toml, written
from edgecell.wire import Model

ACCEPTED = 0.2
"""Share of the fields that may be refused beyond what the reference had."""
RED_CELL = 0.04
"""Room for the diameter of red cells, as a share: another slide of the same blood, or another objective of the same name."""
EVENNESS = 0.05
BLUR = 1.5
"""Times as soft as the reference."""
DIRT = 0.002
"""Share of the frame that dirt may cover beyond what it did."""

Bound = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
"""Of a limit. Neither inf nor nan: the journal is JSON, which has none."""
Range = tuple[Bound, Bound]
Cells = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lowest and highest value of each; None is not looked at. accepted: share of fields that can be counted. red_cell_px:
    diameter. background: level of green. red, blue: beside green. evenness, dirt: shares. blur_um: of the steepest borders."""

    accepted: Range | None = None
    red_cell_px: Range | None = None
    background: Range | None = None
    red: Range | None = None
    blue: Range | None = None
    evenness: Range | None = None
    blur_um: Range | None = None
    dirt: Range | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            limits = getattr(self, name)
            if limits is not None and not limits[0] <= limits[1]:
                raise ValueError(f"{name} needs the lower limit first")


class Reference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a slide showed. models: whose counts these are; fields: how many of them."""

    slide: Id
    measured: str
    models: tuple[str, ...]
    fields: Annotated[int, msgspec.Meta(ge=LEAST_FIELDS, le=1_000_000)]
    limits: Limits
    per_field: dict[str, PerField] = {}
    classes: dict[str, Cells] = {}


def load(path: Path) -> Reference:
    """Raises SettingsError, naming file, field and fix."""
    return converted(read_toml(path, "limits"), Reference, where=str(path))


def save(reference: Reference, path: Path) -> None:
    """Write the file, whole or not at all. Raises SettingsError."""
    told = msgspec.to_builtins(reference)
    head = "# Written by `edgecell qc --set-reference`."
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, "\n".join([head, *_toml(told), ""]).encode())
    except OSError as error:
        raise SettingsError(f"limits file {path} cannot be written: {error.strerror}", fix="give another --limits") from None


def named(models: Sequence[Model]) -> tuple[str, ...]:
    """Models as a reference names them: whatever runs them, they are the same."""
    return tuple(sorted(f"{model.role}: {model.name} {model.version} {model.sha256}" for model in models))


def reference_of(measured: Measured, slide: str, utc: str, models: Sequence[Model]) -> Reference:
    """The reference that a slide gives which was measured while all was well."""
    red, green, blue = measured.background
    px, blur = measured.red_cell_px, measured.blur_um
    return Reference(
        slide=slide,
        measured=utc,
        models=named(models),
        fields=measured.fields,
        limits=Limits(
            accepted=(round(max(0.0, measured.accepted - ACCEPTED), 3), 1.0),
            red_cell_px=None if px is None else _around(px, RED_CELL),
            background=_around(green, LEAST[LAMP]),
            red=_around(red / green, LEAST[WHITE]),
            blue=_around(blue / green, LEAST[WHITE]),
            evenness=(round(max(0.0, measured.evenness - EVENNESS), 3), 1.0),
            blur_um=None if blur is None else (0.0, round(BLUR * blur, 3)),
            dirt=(0.0, round(measured.dirt + DIRT, 4)),
        ),
        per_field=measured.per_field,
        classes=measured.classes,
    )


def _around(value: float, share: float) -> Range:
    return round(value * (1 - share), 3), round(value * (1 + share), 3)


def rows(measured: Measured, reference: Reference) -> tuple[QualityRow, ...]:
    """Every line of the check. What the reference has and could not be measured has not passed."""
    red, green, blue = measured.background
    values = {
        "accepted": measured.accepted,
        "red_cell_px": measured.red_cell_px,
        "background": green,
        "red": red / green,
        "blue": blue / green,
        "evenness": measured.evenness,
        "blur_um": measured.blur_um,
        "dirt": measured.dirt,
    }
    limits = ((name, value, getattr(reference.limits, name)) for name, value in values.items())
    setup = [_row(name, value, *limit) for name, value, limit in limits if limit is not None]
    return (*setup, *_counts(measured, reference))


def _counts(measured: Measured, reference: Reference) -> Iterator[QualityRow]:
    """The limits of all together hold with CONFIDENCE, by Bonferroni."""
    each = 1 - (1 - CONFIDENCE) / max(1, len(reference.per_field) + len(reference.classes))
    for kind, then in reference.per_field.items():
        now = measured.per_field.get(kind)
        low, high = mean_limits(then.mean, then.sd, reference.fields, measured.fields, each)
        yield _row(f"{kind} a field", now.mean if now else None, low, high)
    before, n = sum(reference.classes.values()), sum(measured.classes.values())
    for label, count in reference.classes.items():
        if not n:
            yield _row(f"{label} %", None, 0.0, 100.0)
            continue
        few, many = count_limits(count, before, n, each)
        yield _row(f"{label} %", 100 * measured.classes.get(label, 0) / n, 100 * few / n, 100 * many / n)


def _row(name: str, value: float | None, low: float, high: float) -> QualityRow:
    passed = value is not None and low <= value <= high
    return QualityRow(name=name, measured=value, low=low, high=high, passed=passed)


def _toml(table: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Lines: values, then tables."""
    for name, value in table.items():
        if value is not None and not isinstance(value, dict):
            yield f"{_key(name)} = {written(value)}"
    for name, value in table.items():
        if isinstance(value, dict):
            if any(not isinstance(each, dict) for each in value.values()):
                yield f"\n[{above}{_key(name)}]"
            yield from _toml(value, f"{above}{_key(name)}.")


def _key(name: str) -> str:
    return name if name.isascii() and name.replace("_", "a").isalnum() else written(name)
