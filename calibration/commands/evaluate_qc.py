"""`python -m calibration evaluate-qc`."""

from pathlib import Path

import click
import msgspec

from calibration.commands.options import TXL
from edgecell.quality.measure import LEAST_FIELDS


@click.command()
@click.option("--data", required=True, type=TXL, help="TXL-PBC's folder or tar.")
@click.option("--split", default="train", show_default=True, type=click.Choice(["train", "val"]))
@click.option("--times", default=15, show_default=True, type=click.IntRange(1), help="Checks of each source.")
@click.option("--fields", "wanted", default=40, show_default=True, type=click.IntRange(LEAST_FIELDS), help="Fields of each.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(data: Path, split: str, times: int, wanted: int, as_json: bool) -> None:
    """Count how often `edgecell qc` fails a microscope that is as it was.

    \b
    Example:
      python -m calibration evaluate-qc --data ~/datasets/txl_pbc.tar

    Fields of one microscope are split at random: one half gives the reference, the other one is checked.
    """
    from calibration import checking, fields
    from edgecell import app
    from edgecell.settings import Settings

    with app.plan(Settings()).recogniser() as recogniser:
        found = list(checking.checks(list(fields.read_fields(data, split)), recogniser, times, wanted))
    if as_json:
        click.echo(msgspec.json.encode({"split": split, "checks": [each.summary() for each in found]}))
        return
    for each in found:
        click.echo(str(each))
