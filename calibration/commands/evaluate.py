"""`python -m calibration evaluate`."""

import shlex
import sys
from pathlib import Path

import click
import msgspec

from calibration import split as splits
from calibration.commands.options import FILE, FOLDER, OUT
from calibration.datasets import OWN, TABLE
from edgecell import clock
from edgecell.bundle import Bundle, Encoding, open_bundle
from edgecell.errors import SettingsError
from edgecell.messages import NOTICE


def _mapped(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """own=bundle,own=bundle; nothing behind the = for a class without counterpart."""
    pairs = [pair.partition("=") for each in given for pair in each.split(",")]
    if any(not own or not equals for own, equals, _ in pairs):
        raise click.BadParameter("own=bundle, with commas between them")
    return {own.strip(): of.strip() for own, _, of in pairs}


@click.command()
@click.option("--bundle", default="pbc8", show_default=True, help="A shipped bundle's name, or the folder of one.")
@click.option("--data", required=True, type=FOLDER, help="Folder that holds the dataset.")
@click.option(
    "--dataset", type=click.Choice(sorted({**TABLE, **OWN})), help="Its layout. Default: the first that the bundle trained on."
)
@click.option("--part", default="test", show_default=True, type=click.Choice([*splits.SHARES, "all"]), help="all: no split.")
@click.option("--split", "file", help="File of calibration/splits. Default: the recipe's, or DATASET.tsv.")
@click.option("--map", "own", multiple=True, callback=_mapped, metavar="OWN=BUNDLE,...", help="What classes of it are called.")
@click.option("--recipe", type=FILE, help="Says what the dataset's classes are. Default: the bundle, or its committed recipe.")
@click.option("--pixel-um", type=click.FloatRange(0, min_open=True), help="Micrometres per pixel, if not the dataset's.")
@click.option("--encoding", type=click.Choice(["u8s8", "s8s8", "float"]), help="Only this one. Default: u8s8 beside float.")
@click.option("--robustness", is_flag=True, help="Also under other light, colour, focus, packing, scale and rotation.")
@click.option("--report", type=OUT, metavar="DIR", help="Write an HTML page there, with real cells: outside the project.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(
    bundle: str,
    data: Path,
    dataset: str | None,
    part: splits.Scope,
    file: str | None,
    own: dict[str, str],
    recipe: Path | None,
    pixel_um: float | None,
    encoding: Encoding | None,
    robustness: bool,
    report: Path | None,
    as_json: bool,
) -> None:
    """Score a bundle on labelled cells: any folder in the layout of a dataset.

    \b
    Examples:
      python -m calibration evaluate --bundle pbc8 --data ~/datasets --part test
      python -m calibration evaluate --bundle pbc8 --data ~/mine --dataset mll_marrow --part all \\
        --robustness --report ~/reports

    Every class comes with its number of cells and 95 % intervals; INT8 beside FP32 with a paired test; what would be held back
    on the device is said. Cells of classes that the bundle does not know are passed over, and counted.
    """
    from calibration import evaluation, evaluation_text, html_report, labelled
    from calibration import robustness as under

    if report is not None:
        html_report.outside(report)
    opened = open_bundle(bundle)
    how = labelled.how_read(opened, dataset or _first(opened), recipe, own, pixel_um)
    how = how if file is None else msgspec.structs.replace(how, split=file)
    question = labelled.Question(root=data, data=how, part=part, classes=opened.class_names)
    cells = labelled.read(question, opened.manifest.preprocess)
    found = evaluation.evaluate(opened, cells, evaluation.BOTH if encoding is None else (encoding,))
    rows = list(under.table(opened, question)) if robustness else []
    if as_json:
        made = {**found.summary(), "robustness": [row.summary() for row in rows], "notice": NOTICE}
        click.echo(msgspec.json.encode(made))
    else:
        click.echo(evaluation_text.text(found, rows))
    if report is not None:
        line = shlex.join(["python", "-m", "calibration", *sys.argv[1:]])
        click.echo(html_report.write(found, rows, report, command=line, made_utc=clock.utc_now()), err=as_json)


def _first(bundle: Bundle) -> str:
    """The first dataset that the bundle was trained on."""
    for each in bundle.manifest.provenance.datasets:
        if each.name in {**TABLE, **OWN}:
            return each.name
    raise SettingsError(
        f"{bundle.path} names no dataset that can be read", fix=f"--dataset with one of: {', '.join(sorted(TABLE))}"
    )
