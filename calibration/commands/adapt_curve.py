"""`python -m calibration adapt-curve`."""

import logging
from pathlib import Path

import click
import msgspec

from calibration.card import SPLIT_NOTE
from calibration.commands.options import FILE, FOLDER
from calibration.datasets import TABLE
from calibration.recipe import data_for
from edgecell.bundle import open_bundle

LOG = logging.getLogger("edgecell.calibration")


@click.command()
@click.option("--bundle", default="pbc8", show_default=True, help="A bundle that was not trained on the dataset.")
@click.option("--data", required=True, type=FOLDER, help="Folder that holds the dataset.")
@click.option("--dataset", default="mll_marrow", show_default=True, type=click.Choice(sorted(TABLE)))
@click.option(
    "--recipe", type=FILE, help="Says what the dataset's classes are to the bundle. Default: the bundle's own recipe."
)
@click.option("--classes", default="", help="Only these, with commas between. Default: all that the dataset has.")
@click.option("--cells", "counts", default="10,30,100", show_default=True, help="Numbers of labelled cells.")
@click.option("--repeats", default=10, show_default=True, type=click.IntRange(1), help="Draws for each number.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(
    bundle: str,
    data: Path,
    dataset: str,
    recipe: Path | None,
    classes: str,
    counts: str,
    repeats: int,
    as_json: bool,
) -> None:
    """Adapt a bundle to some cells of a dataset and score it on the others, before and after.

    \b
    Example:
      python -m calibration adapt-curve --bundle out/nomll --data ~/datasets \\
        --recipe calibration/recipes/pbc8.toml --classes neutrophil,eosinophil,lymphocyte,monocyte

    Train and val parts are used, the test part is not. Mean and standard deviation over the draws.
    """
    from calibration import adaptation

    try:
        sizes = [int(each) for each in counts.split(",")]
    except ValueError:
        raise click.BadParameter("numbers with commas between", param_hint="--cells") from None
    opened = open_bundle(bundle)
    if dataset in {each.name for each in opened.manifest.provenance.datasets}:
        LOG.warning("%s was trained on %s: this curve says nothing about another microscope", bundle, dataset)
    how = data_for(opened.manifest.name, dataset, recipe)
    pool = adaptation.pool(opened, how, [each for each in classes.split(",") if each], data)
    points = list(adaptation.curve(opened, pool, sizes, repeats))
    if as_json:
        named = {"bundle": bundle, "version": opened.manifest.version, "dataset": dataset, "parts": adaptation.PARTS}
        click.echo(msgspec.json.encode({**named, "points": [point.summary() for point in points]}))
        return
    click.echo(f"{opened.manifest.name} {opened.manifest.version} on {dataset}, train and val parts. {SPLIT_NOTE}")
    click.echo(adaptation.HEAD)
    for point in points:
        click.echo(str(point))
