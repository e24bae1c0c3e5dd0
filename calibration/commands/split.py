"""`python -m calibration split`."""

from pathlib import Path

import click

from calibration import split as splits
from calibration.commands.options import FOLDER
from calibration.datasets import TABLE, adapter


@click.command()
@click.argument("dataset", type=click.Choice(sorted(TABLE)))
@click.option("--data", required=True, type=FOLDER, help="Folder that holds the dataset.")
@click.option("--seed", required=True, type=int, help="Decides which cell goes where.")
def command(dataset: str, data: Path, seed: int) -> None:
    """Make calibration/splits/DATASET.tsv: once, before the first training, and commit it.

    By image, pixel-identical files on the same side, 70 % train, 12 % val, 18 % test.
    """
    path = splits.FOLDER / f"{dataset}.tsv"
    parts = splits.make(adapter(dataset).read(data), seed)
    splits.save(parts, path)
    click.echo(f"{path}: {len(parts)} names")
