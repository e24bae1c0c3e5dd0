"""`python -m calibration evaluate-cells`."""

from pathlib import Path

import click
import msgspec

from calibration.commands.options import TXL
from edgecell.bundle import open_bundle


@click.command()
@click.option("--bundle", default="pbc8", show_default=True, help="A shipped bundle's name, or the folder of one.")
@click.option("--data", required=True, type=TXL, help="TXL-PBC's folder or tar.")
@click.option("--split", default="val", show_default=True, type=click.Choice(["train", "val"]))
@click.option("--segmenter", metavar="NAME", help="Default: the one that a run takes.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(bundle: str, data: Path, split: str, segmenter: str | None, as_json: bool) -> None:
    """Count whole labelled fields as a run does, and compare the nucleated cells with the labelled white cells.

    \b
    Example:
      python -m calibration evaluate-cells --bundle pbc8 --data ~/datasets/txl_pbc.tar --split val

    Each image size is taken for a slide of its own. The labels know no types: what is decided as one may be another. `train`
    fields were trained on, and those of 360 to 369 px are images of the dataset PBC, of any of its parts.
    """
    from calibration import field_cells, fields, segmenting

    opened = open_bundle(bundle)
    found = field_cells.evaluate(list(fields.read_fields(data, split)), opened, segmenting.factory(segmenter, None)[1])
    named = {"bundle": bundle, "version": opened.manifest.version, "split": split}
    if as_json:
        by_source = {source: slide.summary() for source, slide in found.items()}
        click.echo(msgspec.json.encode({**named, "iou": fields.IOU, "note": field_cells.NOTE, "by_source": by_source}))
        return
    click.echo(f"{opened.manifest.name} {opened.manifest.version}, on TXL-PBC {split}")
    click.echo(field_cells.text(found))
