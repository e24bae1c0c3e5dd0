"""`python -m calibration build-segmenter`."""

from pathlib import Path

import click

from calibration.commands.options import FILE, FOLDER, OUT
from edgecell.bundle import SHIPPED


@click.command()
@click.argument("recipe", type=FILE)
@click.option("--data", required=True, type=FOLDER, help="Folder that holds the recipe's dataset.")
@click.option("--out", type=OUT, help="Bundle folder to write. Default: edgecell/bundles/NAME, which ships in the wheel.")
@click.option("--work", type=OUT, default=Path("out/workshop"), show_default=True, help="Folder for checkpoints.")
@click.option("--weights", type=FILE, help="Bundle these trained weights (a checkpoint of --work) and train nothing.")
def command(recipe: Path, data: Path, out: Path | None, work: Path, weights: Path | None) -> None:
    """Train a segmenter on fields with labelled boxes or outlines, export, quantize and bundle it, as RECIPE says.

    \b
    Example:
      python -m calibration build-segmenter calibration/recipes/segment/cells3.toml --data ~/datasets
      edgecell count slide17/ --segmenter network:edgecell/bundles/cells3

    Seeds are fixed by the recipe. Progress and the time to go are on stderr.
    """
    import torch

    from calibration.models.field_net import FieldNet
    from calibration.spots import bundling, sheets, train
    from calibration.spots import recipe as recipes

    how, sha256 = recipes.load(recipe)
    found = sheets.read(how, data)
    if weights is None:
        work.mkdir(parents=True, exist_ok=True)
        model = train.train(how, found, work / f"{how.name}.pt")
    else:
        model = FieldNet(len(how.classes), how.network.widths, how.network.blocks)
        model.load_state_dict(torch.load(weights, weights_only=True))
    click.echo(bundling.bundle(how, sha256, model, found, out or SHIPPED / how.name).path)
