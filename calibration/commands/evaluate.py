"""`python -m calibration evaluate`."""

from pathlib import Path

import click
import msgspec

from calibration import recipe as recipes
from calibration import split as splits
from calibration.card import SPLIT_NOTE
from calibration.commands.options import FILE, FOLDER
from calibration.datasets import TABLE
from edgecell.bundle import LOGITS, Encoding, open_bundle


@click.command()
@click.option("--bundle", default="pbc8", show_default=True, help="A shipped bundle's name, or the folder of one.")
@click.option("--data", required=True, type=FOLDER, help="Folder that holds the dataset.")
@click.option("--dataset", default="pbc", show_default=True, type=click.Choice(sorted(TABLE)))
@click.option("--split", "file", help="File of calibration/splits. Default: the recipe's, or DATASET.tsv.")
@click.option(
    "--recipe", type=FILE, help="Says what the dataset's classes are to the bundle. Default: the bundle's own recipe."
)
@click.option("--part", default="test", show_default=True, type=click.Choice(list(splits.SHARES)))
@click.option("--encoding", default="u8s8", show_default=True, type=click.Choice(["u8s8", "s8s8", "float"]))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(
    bundle: str,
    data: Path,
    dataset: str,
    file: str | None,
    recipe: Path | None,
    part: splits.Part,
    encoding: Encoding,
    as_json: bool,
) -> None:
    """Score a bundle on one part of a labelled dataset.

    \b
    Example:
      python -m calibration evaluate --bundle pbc8 --data ~/datasets --dataset pbc --encoding float
    """
    from calibration import cells
    from calibration.evaluate import run, score

    opened = open_bundle(bundle)
    manifest = opened.manifest
    chosen = recipes.data_for(manifest.name, dataset, recipe)
    if file is not None:
        chosen = msgspec.structs.replace(chosen, split=file)
    taken = cells.scored(manifest.preprocess, opened.class_names, chosen, part, data)
    logits = run(opened.path, encoding, taken.seen(manifest.preprocess), manifest.preprocess)[LOGITS]
    found = score(logits, taken.truth, manifest.confidence, opened.class_names)
    if as_json:
        click.echo(
            msgspec.json.encode({"bundle": bundle, "dataset": dataset, "part": part, "encoding": encoding, **found.summary()})
        )
        return
    click.echo(f"{manifest.name} {manifest.version}, {encoding}, on {dataset} {part}. {SPLIT_NOTE}")
    click.echo(str(found))
