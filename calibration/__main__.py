"""`python -m calibration`: the workshop's commands."""

import logging
import sys
from pathlib import Path

import click
import cv2
import msgspec
from rich.console import Console
from rich.logging import RichHandler

from calibration import recipe as recipes
from calibration import split as splits
from calibration.card import SPLIT_NOTE
from calibration.datasets import TABLE
from edgecell import plugins
from edgecell.bundle import LOGITS, SHIPPED, Encoding, open_bundle
from edgecell.errors import EdgecellError

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
TXL = click.Path(path_type=Path, exists=True)
OUT = click.Path(path_type=Path)
LOG = logging.getLogger("edgecell.calibration")


@click.group(help=__doc__, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    # One OpenCV thread: the loader forks, and a fork inherits OpenCV's thread pool without its threads.
    cv2.setNumThreads(1)
    handler = RichHandler(console=Console(stderr=True), show_path=False)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])


@cli.command()
@click.argument("recipe", type=FILE)
@click.option("--data", required=True, type=FOLDER, help="Folder that holds the recipe's datasets.")
@click.option("--out", type=OUT, help="Bundle folder to write. Default: edgecell/bundles/NAME, which ships in the wheel.")
@click.option("--work", type=OUT, default=Path("out/workshop"), show_default=True, help="Folder for windows and checkpoints.")
@click.option("--weights", type=FILE, help="Bundle these trained weights (a checkpoint of --work) and train nothing.")
@click.option("--models", metavar="BUNDLE", help="Keep the models of this bundle: new preprocessing, threshold, figures, card.")
def build(recipe: Path, data: Path, out: Path | None, work: Path, weights: Path | None, models: str | None) -> None:
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


@cli.command()
@click.argument("dataset", type=click.Choice(sorted(TABLE)))
@click.option("--data", required=True, type=FOLDER, help="Folder that holds the dataset.")
@click.option("--seed", required=True, type=int, help="Decides which cell goes where.")
def split(dataset: str, data: Path, seed: int) -> None:
    """Make calibration/splits/DATASET.tsv: once, before the first training, and commit it.

    By image, pixel-identical files on the same side, 70 % train, 12 % val, 18 % test.
    """
    path = splits.FOLDER / f"{dataset}.tsv"
    parts = splits.make(plugins.load("dataset", TABLE, dataset)().read(data), seed)
    splits.save(parts, path)
    click.echo(f"{path}: {len(parts)} names")


@cli.command()
@click.option("--bundle", default="pbc8", show_default=True, help="A shipped bundle's name, or the folder of one.")
@click.option("--data", required=True, type=FOLDER, help="Folder that holds the dataset.")
@click.option("--dataset", default="pbc", show_default=True, type=click.Choice(sorted(TABLE)))
@click.option("--split", "file", help="File of calibration/splits. Default: DATASET.tsv.")
@click.option("--part", default="test", show_default=True, type=click.Choice(list(splits.SHARES)))
@click.option("--encoding", default="u8s8", show_default=True, type=click.Choice(["u8s8", "s8s8", "float"]))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def evaluate(
    bundle: str, data: Path, dataset: str, file: str | None, part: splits.Part, encoding: Encoding, as_json: bool
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
    chosen = recipes.Data(dataset=dataset, split=file or f"{dataset}.tsv")
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


@cli.command()
@click.argument("table", type=FILE)
@click.option("--data", required=True, type=FOLDER, help="Folder that holds the recipe's datasets.")
@click.option("--work", type=OUT, default=Path("out/ablation"), show_default=True, help="Folder for windows and checkpoints.")
@click.option("--only", default="", help="Only changes whose name holds this.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a row on stdout.")
def ablate(table: Path, data: Path, work: Path, only: str, as_json: bool) -> None:
    """Train once for each change of TABLE and seed, and score what the change does to microscopes that were held out.

    \b
    Example:
      python -m calibration ablate calibration/ablations/pbc8.toml --data ~/datasets

    A row shows, for each dataset: per cent right (arg-max), decided, decided and wrong of all, and the mean confidence. It
    takes minutes.
    """
    from calibration import ablation

    chosen, base = ablation.load(table)
    work.mkdir(parents=True, exist_ok=True)
    for change in chosen.changes:
        for seed in chosen.seeds if only in change.name else ():
            made = ablation.row(base, chosen, change, seed, data, work)
            click.echo(msgspec.json.encode(made.summary()) if as_json else str(made))


@cli.command("evaluate-fields")
@click.option("--data", required=True, type=TXL, help="TXL-PBC's folder or tar.")
@click.option("--split", default="val", show_default=True, type=click.Choice(["train", "val"]))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def evaluate_fields(data: Path, split: str, as_json: bool) -> None:
    """Score the segmenter `stain` on fields with YOLO boxes (0 white, 1 red, 2 platelet), one to one at IoU 0.5.

    \b
    Example:
      python -m calibration evaluate-fields --data ~/datasets/txl_pbc.tar --split val

    Border cells are included; intervals are a bootstrap over fields; each image size is taken for a source of its own.
    """
    from calibration import fields
    from edgecell.segmenters.stain import StainSegmenter

    found = fields.score(data, split, StainSegmenter)
    click.echo(msgspec.json.encode(found.summary()) if as_json else str(found))


@cli.command("evaluate-cells")
@click.option("--bundle", default="pbc8", show_default=True, help="A shipped bundle's name, or the folder of one.")
@click.option("--data", required=True, type=TXL, help="TXL-PBC's folder or tar.")
@click.option("--split", default="val", show_default=True, type=click.Choice(["train", "val"]))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def evaluate_cells(bundle: str, data: Path, split: str, as_json: bool) -> None:
    """Count whole labelled fields as a run does, and compare the nucleated cells with the labelled white cells.

    \b
    Example:
      python -m calibration evaluate-cells --bundle pbc8 --data ~/datasets/txl_pbc.tar --split val

    Each image size is taken for a slide of its own. The labels know no types: what is decided as one may be another. `train`
    fields were trained on, and those of 360 to 369 px are images of the dataset PBC, of any of its parts.
    """
    from calibration import field_cells, fields
    from edgecell.segmenters.stain import StainSegmenter

    opened = open_bundle(bundle)
    found = field_cells.evaluate(list(fields.read_fields(data, split)), opened, StainSegmenter)
    named = {"bundle": bundle, "version": opened.manifest.version, "split": split}
    if as_json:
        by_source = {source: slide.summary() for source, slide in found.items()}
        click.echo(msgspec.json.encode({**named, "iou": fields.IOU, "note": field_cells.NOTE, "by_source": by_source}))
        return
    click.echo(f"{opened.manifest.name} {opened.manifest.version}, on TXL-PBC {split}")
    click.echo(field_cells.text(found))


@cli.command("evaluate-gate")
@click.option("--data", required=True, type=TXL, help="TXL-PBC's folder or tar.")
@click.option("--split", default="val", show_default=True, type=click.Choice(["train", "val"]))
@click.option("--every", default=1, show_default=True, type=click.IntRange(1), help="Only every Nth field, to be quick.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def evaluate_gate(data: Path, split: str, every: int, as_json: bool) -> None:
    """Score the gate on labelled fields, as they are and blurred.

    \b
    Example:
      python -m calibration evaluate-gate --data ~/datasets/txl_pbc.tar --split val

    A run is what `edgecell count` does with the folder. The second figure of a row counts near-copies once.
    """
    from calibration import fields, focus
    from edgecell.segmenters.stain import StainSegmenter

    found = focus.runs(list(fields.read_fields(data, split))[::every], StainSegmenter)
    if as_json:
        click.echo(msgspec.json.encode({"split": split, "every": every, "runs": [each.summary() for each in found]}))
        return
    for each in found:
        click.echo(str(each))


@cli.command("adapt-curve")
@click.option("--bundle", default="pbc8", show_default=True, help="A bundle that was not trained on the dataset.")
@click.option("--data", required=True, type=FOLDER, help="Folder that holds the dataset.")
@click.option("--dataset", default="mll_marrow", show_default=True, type=click.Choice(sorted(TABLE)))
@click.option("--classes", default="", help="Only these, with commas between. Default: all that the dataset has.")
@click.option("--cells", "counts", default="10,30,100", show_default=True, help="Numbers of labelled cells.")
@click.option("--repeats", default=10, show_default=True, type=click.IntRange(1), help="Draws for each number.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def adapt_curve(bundle: str, data: Path, dataset: str, classes: str, counts: str, repeats: int, as_json: bool) -> None:
    """Adapt a bundle to some cells of a dataset and score it on the others, before and after.

    \b
    Example:
      python -m calibration adapt-curve --bundle out/nomll --data ~/datasets \\
        --classes neutrophil,eosinophil,lymphocyte,monocyte

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
    pool = adaptation.pool(opened, dataset, [each for each in classes.split(",") if each], data)
    points = list(adaptation.curve(opened, pool, sizes, repeats))
    if as_json:
        named = {"bundle": bundle, "version": opened.manifest.version, "dataset": dataset, "parts": adaptation.PARTS}
        click.echo(msgspec.json.encode({**named, "points": [point.summary() for point in points]}))
        return
    click.echo(f"{opened.manifest.name} {opened.manifest.version} on {dataset}, train and val parts. {SPLIT_NOTE}")
    click.echo(adaptation.HEAD)
    for point in points:
        click.echo(str(point))


def main() -> None:
    """Runs a command; an error is one line on stderr and its exit code."""
    try:
        cli()
    except EdgecellError as error:
        click.echo(f"calibration: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
