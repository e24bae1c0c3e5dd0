"""`python -m calibration build`."""

from pathlib import Path

import click

from calibration import recipe as recipes
from calibration.commands.options import FILE, FOLDER, OUT
from edgecell.bundle import SHIPPED, open_bundle


@click.command()
@click.argument("recipe", type=FILE)
@click.option("--data", required=True, type=FOLDER, help="Folder that holds the recipe's datasets.")
@click.option("--out", type=OUT, help="Bundle folder to write. Default: edgecell/bundles/NAME, which ships in the wheel.")
@click.option("--work", type=OUT, default=Path("out/workshop"), show_default=True, help="Folder for windows and checkpoints.")
@click.option("--weights", type=FILE, help="Bundle these trained weights (a checkpoint of --work) and train nothing.")
@click.option("--models", metavar="BUNDLE", help="Keep the models of this bundle: new preprocessing, threshold, figures, card.")
def command(recipe: Path, data: Path, out: Path | None, work: Path, weights: Path | None, models: str | None) -> None:
    """Train, export, quantize, evaluate and bundle, as RECIPE says.

    \b
    Example:
      python -m calibration build calibration/recipes/pbc8.toml --data ~/datasets

    Seeds are fixed by the recipe. Progress and the time to go are on stderr.
    """
    import torch

    from calibration import bundling, cells, train

    how, sha256 = recipes.load(recipe)
    chosen = cells.training(how, data, work)
    folder = out or SHIPPED / how.name
    if models is not None:
        click.echo(bundling.rebundle(how, sha256, open_bundle(models), chosen, data, folder).path)
        return
    if weights is None:
        work.mkdir(parents=True, exist_ok=True)
        watched = {each.dataset: cells.scored(how.preprocess, how.class_names, each, "val", data) for each in how.data}
        model = train.train(how, chosen, watched, work / f"{how.name}.pt")
    else:
        model = train.network(how)
        model.load_state_dict(torch.load(weights, weights_only=True))
    made = bundling.bundle(how, sha256, model, chosen, data, folder)
    click.echo(made.path)
