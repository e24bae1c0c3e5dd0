"""`python -m calibration split`."""

from collections import Counter
from pathlib import Path

import click

from calibration import recipe as recipes
from calibration import split as splits
from calibration.adapter import Adapter
from calibration.commands.options import FILE, FOLDER, OUT
from calibration.datasets import TABLE, adapter
from calibration.fingerprint import Fingerprint, fingerprint
from calibration.leaks import together
from edgecell.errors import SettingsError


@click.command()
@click.argument("what", metavar="DATASET|RECIPE.toml")
@click.option("--data", required=True, type=FOLDER, help="Folder that holds the dataset.")
@click.option("--seed", required=True, type=int, help="Decides which cell goes where.")
@click.option("--keep", type=FILE, help="A split file whose names keep their part. Default: the one that is made again.")
@click.option("--out", type=OUT, help="File to write. Default: the one that the dataset or recipe names.")
def command(what: str, data: Path, seed: int, keep: Path | None = None, out: Path | None = None) -> None:
    """Say which cell trains, which chooses and which is scored: once, before the first training.

    \b
    Examples:
      python -m calibration split pbc --data ~/datasets --seed 1
      python -m calibration split own/boxes.toml --data own --seed 1

    For a published dataset: calibration/splits/DATASET.tsv, to be committed. For a recipe: each split file that it names and
    that is not there yet. 70 % train, 12 % val, 18 % test. What shares a field or a slide, where that is known, and what is
    identical pixel by pixel or a near-copy in any orientation, is on the same side.

    Names that the file of a published dataset, or --keep, has already stay where they are; copies on two sides are excluded
    from training. Each name gets the sha256 of its pixels, so that `build` can tell whether it is still the same image.
    """
    for path, source in _from_recipe(Path(what)) if what.endswith(".toml") else [_published(what)]:
        old = splits.load(str((keep or path).resolve())) if keep or path.exists() else splits.Parts({}, {})
        parts, hashes = made(source, data, seed, old)
        splits.save(parts, out or path, hashes, own=source.facts.own_split)
        counts = Counter(parts.values())
        click.echo(f"{out or path}: {len(parts)} names, " + ", ".join(f"{part} {counts[part]}" for part in splits.PARTS))


def made(source: Adapter, data: Path, seed: int, old: splits.Parts) -> tuple[dict[str, splits.Assigned], dict[str, str]]:
    """Parts and pixels' sha256 by name, of all images of a dataset."""
    hashes, same, given = _look(source, data)
    if source.facts.own_split:
        settled = splits.settle(given, {}, same)
        excluded = {name: part for name, part in settled.items() if part == splits.EXCLUDED}
        return excluded, {name: hashes[name] for name in excluded}
    dealt = {name if name in hashes else name.split("/")[0]: part for name, part in _dealt(source, data, seed, same).items()}
    settled = splits.settle(dealt, old, same)
    return settled, {**old.hashes, **hashes}


def _dealt(source: Adapter, data: Path, seed: int, same: dict[str, str]) -> dict[str, splits.Part]:
    if source.facts.grouped_by == "field":
        return splits.make_grouped(source.read(data), seed, lambda sample: sample.name.split("/")[0], same)
    if source.facts.grouped_by == "slide":
        return splits.make_grouped(source.read(data), seed, lambda sample: sample.slide, same)
    return splits.make(source.read(data), seed, same)


def _look(source: Adapter, data: Path) -> tuple[dict[str, str], dict[str, str], dict[str, splits.Part]]:
    """By name: sha256 of the pixels, group of near-copies, and where the dataset's own split has it."""
    names: list[str] = []
    found: list[Fingerprint] = []
    given: dict[str, splits.Part] = {}
    for sample in source.whole(data):
        names.append(sample.name)
        found.append(fingerprint(sample))
        part = next((part for part in splits.SHARES if part == sample.part), None)
        if part is not None:
            given[sample.name] = part
    same = dict(zip(names, map(str, together(found, source.facts.alike)), strict=True))
    return dict(zip(names, (each.sha256 for each in found), strict=True)), same, given


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
