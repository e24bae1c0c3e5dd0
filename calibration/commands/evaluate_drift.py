"""`python -m calibration evaluate-drift`."""

from itertools import chain
from pathlib import Path

import click
import msgspec

from calibration.commands.options import TXL


@click.command()
@click.option("--data", type=TXL, help="TXL-PBC's folder or tar; without it the drawn slide only.")
@click.option("--split", default="val", show_default=True, type=click.Choice(["train", "val"]))
@click.option("--runs", default=20, show_default=True, type=click.IntRange(1), help="Runs of each source.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(data: Path | None, split: str, runs: int, as_json: bool) -> None:
    """Count false alarms of the watch over lamp, white point, focus and dirt, and how soon it says what is changed on purpose.

    \b
    Example:
      python -m calibration evaluate-drift --data ~/datasets/txl_pbc.tar --split val

    A run is fields of one microscope in random order, so that what they differ by is no drift.
    """
    from calibration import drifting, fields

    real = drifting.rows(list(fields.read_fields(data, split)), runs) if data else ()
    found = chain(drifting.phantom_rows(runs), real)
    if as_json:
        click.echo(msgspec.json.encode({"split": split, "rows": [each.summary() for each in found]}))
        return
    for each in found:
        click.echo(str(each))
