"""`edgecell keys`: keys that sign the certificates of bundles."""

from pathlib import Path

import click
import msgspec

from edgecell import signature
from edgecell.errors import EdgecellError

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group()
def command() -> None:
    """Make and list the keys that sign bundles.

    The private key stays with the lab that certifies bundles, readable by its owner alone. Devices get the public one, and list
    it in their settings under `[trust] keys`. Needs cryptography: pip install 'edgecell[signing]'.

    \b
    Examples:
      edgecell keys new lab --out ~/keys
      edgecell keys list ~/keys --json
    """


@command.command("new")
@click.argument("name")
@click.option("--out", default=".", show_default=True, type=_FOLDER, help="Folder for the two files, made if missing.")
def new(name: str, out: Path) -> None:
    """Make a pair of Ed25519 keys: NAME.signing.key (private, mode 0600) and NAME.signing.pub. Never writes over a key."""
    private, public = signature.new_keys(name, out)
    click.echo(f"private: {private} (keep it; whoever has it can sign for you)")
    click.echo(f"public:  {public} (key {signature.key_id(signature.read_public(public))}; copy it to the devices)")


@command.command("list")
@click.argument("folder", default=".", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a key on stdout.")
def listed(folder: Path, as_json: bool) -> None:
    """List the keys in FOLDER with their ids, and say what is wrong with them.

    The exit code is that of the first error: a file that holds no key, a private key that others can read.
    """
    failures: list[EdgecellError] = []
    for path in sorted(folder.iterdir()):
        is_private = path.name.endswith(signature.PRIVATE)
        if not is_private and not path.name.endswith(signature.PUBLIC):
            continue
        try:
            key = signature.read_private(path).public_key() if is_private else signature.read_public(path)
        except EdgecellError as error:
            failures.append(error)
        else:
            kind, identity = "private" if is_private else "public", signature.key_id(key)
            named = {"key": identity, "kind": kind, "file": str(path)}
            click.echo(msgspec.json.encode(named) if as_json else f"{identity}  {kind:<7}  {path}")
    for also in failures[1:]:
        click.echo(f"error: {also}", err=True)
    if failures:
        raise failures[0]
