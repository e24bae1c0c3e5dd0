"""`python -m calibration evaluate-fields`."""

from pathlib import Path

import click
import msgspec

from calibration.commands.options import TXL


@click.command()
@click.option("--data", required=True, type=TXL, help="TXL-PBC's folder or tar.")
@click.option("--split", default="val", show_default=True, type=click.Choice(["train", "val"]))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(data: Path, split: str, as_json: bool) -> None:
    """Score the segmenter `stain` on fields with YOLO boxes (0 white, 1 red, 2 platelet), one to one at IoU 0.5.

    \b
    Example:
      python -m calibration evaluate-fields --data ~/datasets/txl_pbc.tar --split val

    Border cells are included; intervals are a bootstrap over fields; each image size is taken for a source of its own.
    """
    from calibration import fields
    from edgecell.segmenters.stain import StainSegmenter

    found = fields.score(data, split, StainSegmenter)
    click.echo(msgspec.json.encode(found.summary()) if as_json else str(found))
