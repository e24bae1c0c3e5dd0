"""`python -m calibration inspect`."""

import sys
from functools import partial as partial_of
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from calibration import recipe as recipes
from calibration.commands.options import FILE, FOLDER
from calibration.datasets import adapter

FAULTS = 1
COLUMNS = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f} images"), TimeElapsedColumn())


@click.command()
@click.argument("recipe", type=FILE)
@click.option("--data", required=True, type=FOLDER, help="Folder that holds the recipe's datasets.")
@click.option("--partial", is_flag=True, help="Only a part of each dataset is there: fewer cells than published are no fault.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, with every fault.")
def command(recipe: Path, data: Path, partial: bool, as_json: bool) -> None:
    """Look through the datasets of RECIPE: counts beside the published ones, sizes, copies, and all that is wrong.

    \b
    Example:
      python -m calibration inspect calibration/recipes/marrow7.toml --data ~/datasets --partial

    Faults: files that are no image or do not decode, folders of no known class, labels out of range or missing, identical
    images, also in two classes, near-copies in any orientation, names that come twice, counts that differ. Exit code 0 without
    a fault, 1 with one, 2 where a dataset is not there. Some datasets are published with faults. Progress is on stderr.
    """
    from calibration.inspection import inspect

    how, _ = recipes.load(recipe)
    found = []
    with Progress(*COLUMNS, console=Console(stderr=True)) as bar:
        for each in how.data:
            task = bar.add_task(each.dataset, total=None)
            source = adapter(each.dataset, each.options)
            shown = partial_of(_show, bar, task)
            found.append(inspect(each.dataset, source, data, partial=partial, progress=shown))
    if as_json:
        click.echo(msgspec.json.encode({"recipe": how.name, "datasets": [each.summary() for each in found]}))
    else:
        click.echo("\n\n".join(map(str, found)))
    sys.exit(FAULTS if any(each.faults for each in found) else 0)


def _show(bar: Progress, task: TaskID, count: int) -> None:
    bar.update(task, completed=count)
