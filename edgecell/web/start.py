"""What a technician asks for when a run begins, and the command line that it becomes."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edgecell.settings import Id
from edgecell.web.answers import Refused


class Stop(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When to stop: after so many cells of the differential, or when the interval of each of these classes is narrower than
    `width` percentage points."""

    cells: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    width: Annotated[float, Meta(gt=0, lt=100)] | None = None
    classes: Annotated[tuple[Id, ...], Meta(max_length=64)] = ()


class Start(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """settings: the name of one of those that the server was started with. crops: keep the cells' pictures, which a review
    needs. preview: show the frames."""

    settings: str
    sample_id: Id
    operator: Id
    stop: Stop | None = None
    crops: bool = True
    preview: bool = True


def run_mark(run_id: str) -> str:
    """The argument by which the process of a run is known."""
    return f"--run-id={run_id}"


def command_line(asked: Start, run_id: str, settings: Path | None, journal: Path, endpoint: str) -> list[str]:
    """What follows `edgecell`. settings: None for the phantom slide. Every value stands behind a `=`, so that none can be taken
    for an option. Raises Refused (422)."""
    source = ["--source", "phantom"] if settings is None else [str(settings)]
    values = {"sample-id": asked.sample_id, "operator": asked.operator, "journal": journal, "publish": endpoint}
    options = [f"--{name}={value}" for name, value in values.items()]
    flags = [flag for flag, wanted in (("--crops", asked.crops), ("--preview", asked.preview)) if wanted]
    return ["run", *source, run_mark(run_id), *options, "--json", *flags, *_stop(asked.stop)]


def _stop(stop: Stop | None) -> list[str]:
    if stop is None:
        return []
    if (stop.cells is None) == (stop.width is None) or (stop.width is not None) != bool(stop.classes):
        fix = 'write {"cells": 200}, or {"width": 5.0, "classes": ["neutrophil"]}'
        raise Refused(422, "a stop rule is a number of cells, or a width and its classes", field="stop", fix=fix)
    if stop.width is None:
        return [f"--until-cells={stop.cells}"]
    return [f"--until-width={stop.width:g}", *(f"--of={label}" for label in stop.classes)]
