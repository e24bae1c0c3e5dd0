"""`edgecell adapt`: a bundle for one's own microscope from a few dozen labelled cells."""

import logging
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from edgecell import app
from edgecell.adapt.adapting import Result, adapt
from edgecell.adapt.report import Figures
from edgecell.cli.classify import scale_of
from edgecell.cli.count import PIXEL_UM
from edgecell.messages import NOTICE
from edgecell.settings import Settings

LOG = logging.getLogger("edgecell.adapt")
FEW = 30
"""Cells below which the figures are only a hint: the interval of an accuracy is then 20 points wide and more."""


@click.command()
@click.argument("folder", metavar="LABELLED_DIR", type=click.Path(path_type=Path))
@click.option("--bundle", default="pbc8", show_default=True, help="A shipped bundle's name, or the folder of one.")
@click.option("-o", "--out", metavar="DIR", required=True, type=click.Path(path_type=Path), help="New folder for the bundle.")
@click.option("--pixel-um", metavar="X", type=PIXEL_UM, help="Micrometres per pixel. Default: see above.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: what was gained.")
def command(folder: Path, bundle: str, out: Path, pixel_um: float | None, as_json: bool) -> None:
    """Make a bundle for your own microscope from 10 to 100 labelled cells, in minutes, on this CPU.

    LABELLED_DIR holds one folder a class, by the bundle's class names or abbreviations, and in each one images of one centred
    cell. Some classes may be missing; their cells are then answered as well as can be guessed, and nobody has measured it. The
    scale matters: give --pixel-um if you know it. Otherwise it is that of the bundle's own dataset, or what the red cells say,
    whichever fits the labels better; the new bundle keeps it.

    The network stays as it is; its last layer, the temperature and the threshold are fitted. What that gained is measured by
    holding out every labelled cell once. Needs onnx: pip install 'edgecell[adapt]'.

    \b
    Examples:
      edgecell adapt mycells/ -o bundles/mine --pixel-um 0.068
      edgecell count slide17/ --bundle bundles/mine
    """
    result = adapt(bundle, folder, out, _measured if pixel_um is None else lambda *_: [pixel_um])
    for warning in warnings(result):
        LOG.warning("%s", warning)
    if as_json:
        click.echo(msgspec.json.encode(as_plain(result)))
    else:
        _print(result)
    click.echo(NOTICE, err=as_json)


def _measured(files: Sequence[Path], bundle_um: float) -> list[float]:
    """The scale of the bundle's dataset, and the one that `edgecell classify` would take for these images."""
    with app.plan(Settings(models={})).recogniser() as recogniser:
        scale = scale_of(files, recogniser.segmenter, bundle_um)
    found_um = scale.pixel_um or bundle_um
    what = "scale: the bundle's dataset has %.3g um per pixel, these images %.3g (%s); if you know better, give --pixel-um"
    LOG.info(what, bundle_um, found_um, scale.source)
    return [bundle_um, found_um]


def warnings(result: Result) -> list[str]:
    """What the user must not miss, one sentence each."""
    gain, found = result.gain, []
    n = gain.after.right.n
    if result.labelled.unreadable:
        found.append(f"{len(result.labelled.unreadable)} images could not be read and were left out")
    if result.labelled.copies:
        found.append(f"{len(result.labelled.copies)} images are copies of others and were counted once")
    if not result.normalised:
        found.append("the bundle has no features.npz, so its normalisation was not estimated again")
    if not gain.better:
        changes = f"{gain.gained} became right, {gain.lost} became wrong"
        found.append(
            f"NOT BETTER: of {n} held-out cells {changes}, which chance explains; label more cells or keep the old bundle"
        )
    if gain.after.wrong.count > gain.before.wrong.count:
        found.append(f"more held-out cells are decided and wrong: {gain.after.wrong.count}, before {gain.before.wrong.count}")
    if n < FEW:
        found.append(f"{n} cells are few: read the intervals, not the percentages")
    if result.absent:
        found.append(f"no labelled cell of: {', '.join(result.absent)}; how these are answered now was not measured")
    return found


def as_plain(result: Result) -> dict[str, object]:
    """The result for JSON."""
    old, new = result.old.manifest, result.bundle.manifest
    return {
        "schema": "adaptation/1",
        "bundle": {"name": new.name, "version": new.version, "sha256": result.bundle.sha256, "path": str(result.bundle.path)},
        "from": {"name": old.name, "version": old.version, "sha256": result.old.sha256},
        "cells": len(result.labelled.labels),
        "unreadable": [str(each) for each in result.labelled.unreadable],
        "copies": [str(each) for each in result.labelled.copies],
        "absent_classes": list(result.absent),
        "pixel_um": result.pixel_um,
        "held_out": result.gain.as_json(),
        "confidence": {"before": msgspec.to_builtins(old.confidence), "after": msgspec.to_builtins(new.confidence)},
        "shares": {start: result.adapted.share_of(start) for start in ("kept", "normalised", "class means")},
        "warnings": warnings(result),
        "notice": NOTICE,
    }


def _print(result: Result) -> None:
    gain, console = result.gain, Console()
    console.print(_figures(gain.before, gain.after))
    table = Table("class", title="Of each class, cells", title_justify="left")
    for name in ("n", "right before", "right after", "decided and wrong before", "after"):
        table.add_column(name, justify="right")
    for name, (before, after) in gain.by_class.items():
        counts = (before.right.n, before.right.count, after.right.count, before.wrong.count, after.wrong.count)
        table.add_row(name, *map(str, counts))
    console.print(table)
    was, now = result.old.manifest.confidence, result.bundle.manifest.confidence
    click.echo(f"temperature {was.temperature:.3f} -> {now.temperature:.3f}")
    click.echo(f"unsure below {was.unsure_below:.4f} -> {now.unsure_below:.4f}")
    if gain.better:
        click.echo(f"Better: of {gain.after.right.n} held-out cells {gain.gained} became right and {gain.lost} became wrong.")
    click.echo(f"{result.bundle.manifest.name} {result.bundle.manifest.version}: {result.bundle.path}")


def _figures(before: Figures, after: Figures) -> Table:
    title = f"{after.right.n} cells, each held out once, split by image (count/n; exact 95 % interval)"
    table = Table("", "before", "after", title=title, title_justify="left")
    rows = (("right", before.right, after.right), ("decided", before.decided, after.decided))
    for name, one, other in (*rows, ("decided and wrong", before.wrong, after.wrong)):
        table.add_row(name, str(one), str(other))
    return table
