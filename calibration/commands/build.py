"""`python -m calibration build`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from calibration import recipe as recipes
from calibration.commands.options import FILE, FOLDER, OUT
from edgecell.bundle import SHIPPED, open_bundle

if TYPE_CHECKING:
    from torch import nn

    from calibration.cells import TrainingCells
    from calibration.fit import Job


@click.command()
@click.argument("recipe", type=FILE)
@click.option("--data", required=True, type=FOLDER, help="Folder that holds the recipe's datasets.")
@click.option("--out", type=OUT, help="Bundle folder to write. Default: edgecell/bundles/NAME, which ships in the wheel.")
@click.option("--work", type=OUT, default=Path("out/workshop"), show_default=True, help="Folder for windows and checkpoints.")
@click.option("--weights", type=FILE, help="Bundle these trained weights (a checkpoint of --work) and train nothing.")
@click.option("--models", metavar="BUNDLE", help="Keep the models of this bundle: new preprocessing, threshold, figures, card.")
@click.option("--fresh", is_flag=True, help="Start over where an unfinished training would go on.")
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(0), help="Processes that augment; any give the same."
)
def command(
    recipe: Path,
    data: Path,
    out: Path | None,
    work: Path,
    weights: Path | None,
    models: str | None,
    fresh: bool,
    workers: int,
) -> None:
    """Train, export, quantize, evaluate and bundle, as RECIPE says.

    \b
    Example:
      python -m calibration build calibration/recipes/pbc8.toml --data ~/datasets
      torchrun --nproc-per-node 2 -m calibration build calibration/recipes/pbc8.toml --data ~/datasets

    Seeds are fixed by the recipe. Progress and the time to go are on stderr; history and curves are in --work. After a kill the
    same command goes on with the training where it was. Under torchrun all processes train one network together, of the same
    batches; batch norm works otherwise there (see calibration/parallel.py).
    """
    from calibration import bundling, cells, leaks, parallel
    from calibration.fit import Job

    how, sha256 = recipes.load(recipe)
    folder = out or SHIPPED / how.name
    with parallel.joined() as group:
        with parallel.first_here():
            leaks.check(how, data, work)
            chosen = cells.training(how, data, work)
        cells.check_taught(how, chosen)
        job = Job(name=how.name, work=work, fresh=fresh, workers=workers, group=group)
        model = None if models is not None else _trained(how, chosen, data, weights, job)
    if not group.first:
        return
    if models is not None:
        made = bundling.rebundle(how, sha256, open_bundle(models), chosen, data, folder)
    else:
        made = bundling.bundle(how, sha256, model, chosen, data, folder)
        job.done_with()
    click.echo(made.path)


def _trained(how: recipes.Recipe, chosen: "TrainingCells", data: Path, weights: Path | None, job: "Job") -> "nn.Module":
    """The network with the weights of that file, else trained."""
    import torch

    from calibration import cells, train

    if weights is not None:
        model = train.network(how)
        model.load_state_dict(torch.load(weights, weights_only=True))
        return model
    job.work.mkdir(parents=True, exist_ok=True)
    # Validation only watches, and the first process is the one that looks.
    some = how.data if job.group.first else ()
    watched = {each.dataset: cells.scored(how.preprocess, how.class_names, each, "val", data) for each in some}
    return train.train(how, chosen, watched, job)
