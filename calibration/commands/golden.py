"""`python -m calibration golden`."""

import click

from edgecell.bundle import open_bundle
from edgecell.golden import GOLDEN, read_golden


@click.command()
@click.argument("bundles", nargs=-1, required=True)
def command(bundles: tuple[str, ...]) -> None:
    """Answer the golden cells of BUNDLES (names of shipped ones, or folders) anew, and say how far an engine may be from them.

    For bundles of an older workshop. Models, threshold, card and the certificate's figures stay as they are, but for the size
    of the files; the certificate is bound to the new manifest, and a signature is removed: sign again.

    \b
    Example:
      python -m calibration golden bundles/mine
    """
    from calibration.goldens import renew

    for name in bundles:
        made = renew(open_bundle(name))
        for encoding in ("float", "u8s8", "s8s8"):
            expected = read_golden(made.file(GOLDEN), encoding)
            allowed = ", ".join(f"{output} {limit:.3g}" for output, limit in expected.tolerance.items())
            click.echo(f"{made.manifest.name} {encoding}: {len(expected.crops)} golden cells, {allowed}")
