"""`python -m calibration evaluate-masks`."""

from pathlib import Path

import click
import msgspec

from calibration.commands.options import FILE, TXL


@click.command()
@click.option("--data", required=True, type=TXL, help="Folder or tar with images/ and masks/, one white cell a picture.")
@click.option("--segmenter", metavar="NAME", help="Default: the one that a run takes.")
@click.option("--settings", type=FILE, help="Settings file whose [segmenter] and [engine] are used, with their options.")
@click.option("--pixel-um", metavar="X", type=click.FloatRange(0.01, 2), help="Micrometres per pixel. Default: measured.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(data: Path, segmenter: str | None, settings: Path | None, pixel_um: float | None, as_json: bool) -> None:
    """Score the outline that a segmenter gives a white cell, against masks drawn by hand (nucleus white, cytoplasm grey).

    \b
    Example:
      python -m calibration evaluate-masks --data ~/datasets/wbc_masks.tar --segmenter stain --pixel-um 0.18

    The mask is the whole cell's. The interval is a bootstrap over pictures, that of the share found is exact.
    """
    from calibration import mask_scores, segmenting

    name, make = segmenting.factory(segmenter, settings)
    found = mask_scores.score(mask_scores.read_drawn(data), make, pixel_um)
    told = {"segmenter": name, "told_pixel_um": pixel_um}
    click.echo(msgspec.json.encode({**told, **found.summary()}) if as_json else f"segmenter {name} on {data}: {found}")
