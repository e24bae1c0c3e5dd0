"""`python -m calibration sign`."""

from pathlib import Path

import click

from calibration.commands.options import FILE
from edgecell import signature
from edgecell.bundle import open_bundle
from edgecell.signature import Trust


@click.command()
@click.argument("bundle")
@click.option("--key", required=True, type=FILE, help=f"Private key, NAME{signature.PRIVATE}, from `edgecell keys new`.")
def command(bundle: str, key: Path) -> None:
    """Sign the certificate of BUNDLE (a shipped one's name, or a folder), after all of it was verified.

    The signature takes the place of an older one. A device asks for it with `[trust]` in its settings:

    \b
      [trust]
      require = "signature"
      keys = ["lab.signing.pub"]

    \b
    Example:
      edgecell keys new lab --out ~/keys
      python -m calibration sign bundles/mine --key ~/keys/lab.signing.key
    """
    private = signature.read_private(key)
    folder = open_bundle(bundle, Trust(require="certificate")).path
    made = signature.sign(folder, private)
    click.echo(f"{folder / signature.SIGNATURE}: signed by key {made.key}")
