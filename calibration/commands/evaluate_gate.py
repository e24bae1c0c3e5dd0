"""`python -m calibration evaluate-gate`."""

from pathlib import Path

import click
import msgspec

from calibration.commands.options import TXL


@click.command()
@click.option("--data", required=True, type=TXL, help="TXL-PBC's folder or tar.")
@click.option("--split", default="val", show_default=True, type=click.Choice(["train", "val"]))
@click.option("--every", default=1, show_default=True, type=click.IntRange(1), help="Only every Nth field, to be quick.")
@click.option("--segmenter", metavar="NAME", help="Default: the one that a run takes.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(data: Path, split: str, every: int, segmenter: str | None, as_json: bool) -> None:
    """Score the gate on labelled fields, as they are and blurred.

    \b
    Example:
      python -m calibration evaluate-gate --data ~/datasets/txl_pbc.tar --split val

    A run is what `edgecell count` does with the folder. The second figure of a row counts near-copies once.
    """
    from calibration import fields, focus, segmenting

    found = focus.runs(list(fields.read_fields(data, split))[::every], segmenting.factory(segmenter, None)[1])
    if as_json:
        click.echo(msgspec.json.encode({"split": split, "every": every, "runs": [each.summary() for each in found]}))
        return
    for each in found:
        click.echo(str(each))
