"""`python -m calibration split`."""

from collections import Counter
from pathlib import Path

import click

from calibration import recipe as recipes
from calibration import split as splits
from calibration.adapter import Adapter
from calibration.commands.options import FOLDER
from calibration.datasets import TABLE, adapter
from edgecell.errors import SettingsError


@click.command()
@click.argument("what", metavar="DATASET|RECIPE.toml")
@click.option("--data", required=True, type=FOLDER, help="Folder that holds the dataset.")
@click.option("--seed", required=True, type=int, help="Decides which cell goes where.")
def command(what: str, data: Path, seed: int) -> None:
    """Say which cell trains, which chooses and which is scored: once, before the first training.

    \b
    Examples:
      python -m calibration split pbc --data ~/datasets --seed 1
      python -m calibration split own/boxes.toml --data own --seed 1

    For a published dataset: calibration/splits/DATASET.tsv, to be committed. For a recipe: each split file that it names and
    that is not there yet. 70 % train, 12 % val, 18 % test. What shares a field or a slide, where that is known, and what is
    identical pixel by pixel, is on the same side.
    """
    for path, source in _from_recipe(Path(what)) if what.endswith(".toml") else [_published(what)]:
        parts = made(source, data, seed)
        splits.save(parts, path)
        counts = Counter(parts.values())
        click.echo(f"{path}: {len(parts)} names, " + ", ".join(f"{part} {counts[part]}" for part in splits.SHARES))


def made(source: Adapter, data: Path, seed: int) -> dict[str, splits.Part]:
    """name -> part of all cells of a dataset."""
    if source.facts.grouped_by == "field":
        return splits.make_grouped(source.read(data), seed, lambda sample: sample.name.split("/")[0])
    if source.facts.grouped_by == "slide":
        return splits.make_grouped(source.read(data), seed, lambda sample: sample.slide)
    return splits.make(source.read(data), seed)


def _published(dataset: str) -> tuple[Path, Adapter]:
    if dataset not in TABLE:
        raise SettingsError(f"no dataset {dataset!r}", fix=f"a recipe (FILE.toml), or one of: {', '.join(sorted(TABLE))}")
    return splits.FOLDER / f"{dataset}.tsv", adapter(dataset)


def _from_recipe(file: Path) -> list[tuple[Path, Adapter]]:
    """The split files of a recipe that are not there. One that is there has been trained with: it is not made again."""
    how, _ = recipes.load(file)
    missing = [(splits.FOLDER / data.split, adapter(data.dataset, data.options)) for data in how.data]
    wanted = [(path, source) for path, source in missing if not path.exists()]
    if not wanted:
        raise SettingsError(f"all split files of {file} are there", fix="remove one by hand to make it again, and train again")
    return wanted
