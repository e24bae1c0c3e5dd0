"""`python -m calibration phantom-set`."""

from pathlib import Path

import click

from calibration.commands.options import OUT


@click.command()
@click.option("--out", required=True, type=OUT, help="Folder to write; files of an earlier call are written again.")
@click.option("--fields", default=40, show_default=True, type=click.IntRange(1, 1000), help="How many fields are drawn.")
@click.option("--seed", default=20240611, show_default=True, type=click.IntRange(0), help="Another seed is another slide.")
def command(out: Path, fields: int, seed: int) -> None:
    """Draw a small labelled set with the phantom: OUT/crops/CLASS/ and OUT/fields/ with YOLO boxes.

    \b
    Example:
      python -m calibration phantom-set --out own

    It stands in for your own labelled cells when you try out how a bundle is made of them. A pixel is 0.1 um.
    """
    from calibration import phantom_set

    counts = phantom_set.write(out, seed, fields)
    click.echo(f"{out}: {fields} fields with {counts.total()} labelled cells: {dict(sorted(counts.items()))}")
    click.echo("Drawn cells: a bundle made of them says nothing about real ones.")
