"""`python -m calibration ablate`."""

from pathlib import Path

import click
import msgspec

from calibration.commands.options import FILE, FOLDER, OUT


@click.command()
@click.argument("table", type=FILE)
@click.option("--data", required=True, type=FOLDER, help="Folder that holds the recipe's datasets.")
@click.option("--work", type=OUT, default=Path("out/ablation"), show_default=True, help="Folder for windows and checkpoints.")
@click.option("--only", default="", help="Only changes whose name holds this.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a row on stdout.")
def command(table: Path, data: Path, work: Path, only: str, as_json: bool) -> None:
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
