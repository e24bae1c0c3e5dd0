"""`edgecell count`: whole fields from files."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path

import click
import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group
from rich.progress import Progress as ProgressBar
from rich.table import Table
from rich.text import Text

from edgecell import app, clock, pipeline, stoprule, tally
from edgecell.app import Recogniser
from edgecell.area import AreaState
from edgecell.cli import options
from edgecell.errors import FrameCorrupt, SettingsError, SourceUnavailable
from edgecell.gate import GateState
from edgecell.imagefile import listed, load_image
from edgecell.messages import NOTICE, NUCLEATED, Cell, Classification, Frame, FrameReport, Tally
from edgecell.report import overlay
from edgecell.settings import (
    Counting,
    OpticsSettings,
    RunSettings,
    Settings,
    StopSettings,
    engine_from_spec,
    segmenter_from_spec,
)
from edgecell.wire import Stop

LOG = logging.getLogger("edgecell.count")
OVERLAY_SUFFIX = ".overlay.png"


PIXEL_UM = options.Number(0.01, 2)
"""Micrometres a pixel of any light microscope: beyond, a cell would be larger than the image, or smaller than a pixel."""


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON line an image, the last line is the total.")
@click.option("--overlay", "overlay_dir", metavar="DIR", type=click.Path(path_type=Path), help="Write annotated pictures here.")
@click.option(
    "--optics", metavar="TOML", help="Correct the fields as this file says, which `edgecell optics` made of their camera."
)
@click.option("--pixel-um", metavar="X", type=PIXEL_UM, help="Micrometres per pixel. Default: measured on the red cells.")
@click.option(
    "--segmenter",
    metavar="SPEC",
    help="What finds the cells: stain, network, or network:BUNDLE. Default: network for blood, else stain.",
)
@click.option(
    "--bundle", metavar="BUNDLE", help="Classifier of nucleated cells: a shipped bundle's name, or a folder. Default: pbc8."
)
@options.ENGINE
@options.COUNTING
@options.until
def command(
    paths: tuple[Path, ...],
    as_json: bool,
    overlay_dir: Path | None,
    optics: str | None,
    pixel_um: float | None,
    segmenter: str | None,
    bundle: str | None,
    engine: str | None,
    counting: Counting | None,
    stop: StopSettings | None,
) -> None:
    """Count the cells of whole fields: images, or folders of them, each image one field of view.

    A cell counts when its centre is far enough inside the field for a cell of its kind to be whole; others are excluded as
    `edge`. An image that cannot be read is reported and the others are counted; the exit code is 5 when none could be.
    With --counting new_area the images are taken for one slide in their order: they are laid beside each other, a cell that
    several of them show counts once, and those that are smeared or show nothing new are not counted.
    With --until-cells or --until-width images are looked at in their order until enough is counted, and no further.
    Annotated pictures are called NAME.overlay.png, and are no fields when a folder with them is counted.

    \b
    Examples:
      edgecell count field.jpg
      edgecell count slide17/ --overlay out/ --pixel-um 0.068
      edgecell count slide17/ --json > slide17.jsonl
      edgecell count slide17/ --counting new_area --pixel-um 0.068
      edgecell count slide17/ --until-cells 200
      edgecell count lavage/ --segmenter network:bundles/balf --pixel-um 0.2
    """
    files = list(dict.fromkeys(file for path in paths for file in _fields(path)))
    plan = app.plan(_settings(segmenter, pixel_um, bundle, engine, optics or "", stop))
    pictures = {} if overlay_dir is None else _pictures(files, overlay_dir)
    once = counting == "new_area"
    total, state = Tally(), _State(gate=GateState(area=AreaState() if once else None))
    table = _table()
    with plan.recogniser() as recogniser, ProgressBar(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        for file in bar.track(files, description="counting"):
            if stop and stoprule.look(stop, total.counts, recogniser.classes).reached:
                break
            total = tally.capture(total)
            image = _read(file, as_json, alone=len(files) == 1)
            if image is None:
                total = tally.fail(total)
                continue
            report, image, state = _look(file, image, recogniser, state)
            total = tally.add(total, report, recogniser.classes)
            if as_json:
                _print_json(_line(file, report, recogniser))
            _add_row(table, file, report, recogniser)
            if file in pictures:
                _write(pictures[file], overlay.draw(image, report, _labels(recogniser)))
        if total.frames.failed == len(files):
            raise SourceUnavailable("no image could be read", fix="see the lines above, one an image")
        far = stoprule.look(stop, total.counts, recogniser.classes) if stop else None
        if as_json:
            _print_json(_total(total, recogniser, counting or "every_frame", far))
        else:
            Console(width=None if sys.stdout.isatty() else 140).print(_summary(table, total, recogniser, far))


def _read(file: Path, as_json: bool, *, alone: bool) -> NDArray[np.uint8] | None:
    """The image, or None for one that is damaged, which is told; where it is the only one, raises FrameCorrupt."""
    try:
        return load_image(file)
    except FrameCorrupt as error:
        if alone:
            raise
        LOG.error("%s", error)  # noqa: TRY400 one line, no traceback
        if as_json:
            _print_json({"image": str(file), "error": str(error)})
        return None


def _settings(
    segmenter: str | None,
    pixel_um: float | None,
    bundle: str | None,
    engine: str | None,
    optics: str,
    stop: StopSettings | None,
) -> Settings:
    """The default classifier is for nucleated cells; a segmenter that knows none of those names all its cells itself."""
    part = Settings().segmenter if segmenter is None else segmenter_from_spec(segmenter)
    given = part.options if pixel_um is None else {**part.options, "pixel_um": pixel_um}
    runs = Settings().engine if engine is None else engine_from_spec(engine)
    seen_by = OpticsSettings(file=optics)
    found_by, until = msgspec.structs.replace(part, options=given), RunSettings(stop=stop)
    chosen = Settings(segmenter=found_by, engine=runs, optics=seen_by, run=until)
    if bundle is not None:
        return msgspec.structs.replace(chosen, models={NUCLEATED: bundle})
    alone = msgspec.structs.replace(chosen, models={}, run=RunSettings())
    finds = app.plan(alone).segmenter_bundle
    unnamed = finds is not None and NUCLEATED not in finds.class_names
    return msgspec.structs.replace(alone, run=until) if unnamed else chosen


def _fields(path: Path) -> list[Path]:
    """The file itself, or the images of a folder but for what an earlier --overlay drew. Raises SourceUnavailable."""
    found = listed(path)
    if path.is_file():
        return found
    fields = [file for file in found if not file.name.endswith(OVERLAY_SUFFIX)]
    if not fields:
        raise SourceUnavailable(f"{path}: holds annotated pictures only", fix="give a folder with the fields themselves")
    return fields


def _pictures(files: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Where the annotated picture of each file goes, numbered where images share a name. Makes the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"--overlay {folder}: {error.strerror}", fix="give a folder that can be written") from None
    pictures: dict[Path, Path] = {}
    taken: set[str] = set()
    for file in files:
        names = (f"{file.stem}{number}" for number in chain([""], (f"-{again}" for again in count(2))))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        pictures[file] = folder / f"{name}{OVERLAY_SUFFIX}"
    return pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """What earlier images teach of the later ones."""

    gate: GateState = field(default_factory=GateState)
    slide: pipeline.SlideState = field(default_factory=pipeline.SlideState)


def _look(
    file: Path, image: NDArray[np.uint8], recogniser: Recogniser, state: _State
) -> tuple[FrameReport, NDArray[np.uint8], _State]:
    """What is known of one field; its image, as corrected; and what it teaches."""
    frame = Frame(source_id="count", index=0, captured_ns=clock.monotonic_ns(), image=image, label=str(file))
    detected, gate = pipeline.detect(
        frame, recogniser.segmenter, recogniser.limits, state.gate, clock.monotonic_ns, recogniser.correct
    )
    [report], slide = pipeline.classify([detected], recogniser.classifiers, state.slide, clock.monotonic_ns)
    if report.lost:
        LOG.warning("%s: lies beside no image before it, so a cell in it may have been counted before", file)
    if not report.verdict.accepted:
        LOG.warning("%s: not counted, the frame is %s", file, report.verdict.reason)
    elif report.pixel_um is None:
        LOG.warning("%s: scale unknown, so nucleated cells stay unsure. Fix: give --pixel-um", file)
    elif report.domain.state == "foreign":
        LOG.warning("%s: the slide looks foreign (mean confidence %.3f), labels held back", file, report.domain.mean_confidence)
    return report, detected.frame.image, _State(gate=gate, slide=slide)


def _labels(recogniser: Recogniser) -> list[str]:
    """What a cell can be counted as, in a fixed order: the classes, then the kinds that no classifier refines."""
    classes = [name for name, meaning in recogniser.classes.items() if meaning.group != "reject"]
    kinds = [kind for kind in recogniser.segmenter.kinds if kind not in recogniser.classifiers]
    return list(dict.fromkeys([*classes, *kinds]))


def _counts(counted: Tally, recogniser: Recogniser) -> dict[str, object]:
    return {
        "counts": {label: counted.counts.get(label, 0) for label in _labels(recogniser)},
        "unsure": counted.unsure,
        "excluded": dict(counted.excluded),
    }


def _line(file: Path, report: FrameReport, recogniser: Recogniser) -> dict[str, object]:
    """One image's JSON line. gated: why the field was not counted, null if it was. region: of the slide, null where images are
    not laid beside each other."""
    answers = {answer.cell_index: answer for answer in report.classifications}
    return {
        "image": str(file),
        **_counts(tally.add(tally.capture(Tally()), report, recogniser.classes), recogniser),
        "gated": report.verdict.reason or None,
        "pixel_um": report.pixel_um,
        "pixel_um_source": report.pixel_um_source,
        "domain": report.domain.state,
        "region": report.place.region if report.place else None,
        "cells": [_cell(cell, answers.get(cell.cell_index)) for cell in report.cells],
    }


def _cell(cell: Cell, answer: Classification | None) -> dict[str, object]:
    return {
        "kind": cell.kind,
        "label": answer.label if answer else cell.kind,
        "confidence": answer.confidence if answer else None,
        "decided": answer.decided if answer else False,
        "excluded": cell.excluded,
        "box_px": cell.box_px,
        "slide_um": cell.slide_um,
    }


def _total(total: Tally, recogniser: Recogniser, counting: Counting, stop: Stop | None) -> dict[str, object]:
    return {
        "total": True,
        "counting": counting,
        "images": total.frames.captured,
        "processed": total.frames.processed,
        "gated": dict(total.gated_reasons),
        "failed": total.frames.failed,
        **_counts(total, recogniser),
        "cells_total": total.cells_total,
        "differential": tally.differential(total, recogniser.classes),
        "stop": stop,
        "models": recogniser.models,
        "notice": NOTICE,
    }


def _print_json(value: object) -> None:
    click.echo(msgspec.json.encode(value))


def _table() -> Table:
    table = Table("image", title="Cells by field", title_justify="left")
    table.add_column("nucleated", overflow="fold")
    for name in ("red", "platelets", "unsure", "excluded", "um/px"):
        table.add_column(name, justify="right")
    return table


def _add_row(table: Table, file: Path, report: FrameReport, recogniser: Recogniser) -> None:
    counted = tally.add(tally.capture(Tally()), report, recogniser.classes)
    kinds = [kind for kind in recogniser.segmenter.kinds if kind not in recogniser.classifiers]
    named = [f"{label} {count}" for label, count in sorted(counted.counts.items()) if label not in kinds]
    scale = "unknown" if report.pixel_um is None else f"{report.pixel_um:.3f}"
    cells = ", ".join(named) or (f"not counted: {report.verdict.reason}" if report.verdict.reason else "none")
    per_kind = [str(counted.counts.get(kind, 0)) for kind in ("red_blood_cell", "platelet")]
    table.add_row(Text(str(file)), cells, *per_kind, str(counted.unsure), str(sum(counted.excluded.values())), scale)


def _summary(table: Table, total: Tally, recogniser: Recogniser, stop: Stop | None) -> Group:
    share = tally.differential(total, recogniser.classes)
    white = all(each.group == "leukocyte" for each in recogniser.classes.values() if each.in_differential)
    rows = Table("class", title=f"Differential of {share.n} decided {'leukocytes' if white else 'cells'}", title_justify="left")
    for name in ("cells", "%", "95 % interval"):
        rows.add_column(name, justify="right")
    for row in share.rows:
        rows.add_row(row.label, str(row.count), f"{row.percent:.1f}", f"{row.low:.1f} - {row.high:.1f}")
    frames = total.frames
    others = {label: count for label, count in total.counts.items() if label not in {row.label for row in share.rows}}
    apart = ", ".join(f"{label} {count}" for label, count in sorted(others.items()))
    excluded = ", ".join(f"{why} {total.excluded.get(why, 0)}" for why in ("edge", *sorted(total.excluded.keys() - {"edge"})))
    lines = [
        f"{frames.captured} images: {frames.processed} counted, {frames.gated} gated, {frames.failed} failed",
        f"apart from the differential: {apart or 'none'} | unsure {total.unsure} | {excluded}",
        *([stoprule.verdict(stop)] if stop else []),
        *map(str, recogniser.models),
    ]
    return Group(table, rows, Text("\n".join(lines)), Text(NOTICE, style="italic"))


def _write(path: Path, picture: NDArray[np.uint8]) -> None:
    done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    try:
        path.write_bytes(data.tobytes() if done else b"")
    except OSError as error:
        raise SettingsError(
            f"--overlay: cannot write {path}: {error.strerror}", fix="give a folder that can be written"
        ) from None
