"""`python -m calibration certify`."""

from pathlib import Path

import click

from calibration import recipe as recipes
from calibration.commands.options import FILE, FOLDER
from edgecell.bundle import open_bundle


@click.command()
@click.argument("bundle")
@click.option("--recipe", required=True, type=FILE, help="The recipe of the bundle, with the limits in [acceptance].")
@click.option("--data", required=True, type=FOLDER, help="Folder that holds the recipe's datasets.")
def command(bundle: str, recipe: Path, data: Path) -> None:
    """Measure BUNDLE (a shipped one's name, or a folder) on its test split and write its certificate; into its manifest goes
    what cells of each class are taken for, which a corrected differential needs.

    Nothing is trained or chosen: the models, the threshold and the card stay as they are. Where the models do not reach the
    figures of their own manifest, or miss a limit of the recipe, the bundle is left as it is and the exit code is 4. A bundle
    that `build` has made is certified already.

    \b
    Example:
      python -m calibration certify bundles/mine --recipe mine.toml --data ~/datasets
    """
    from calibration.certify import certify

    how, sha256 = recipes.load(recipe)
    made = certify(how, sha256, open_bundle(bundle), data)
    click.echo(f"{made.path}: {made.proof}")
