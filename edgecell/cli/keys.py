"""`edgecell keys`: keys that sign the certificates of bundles, and keys of the bus."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click
import msgspec

from edgecell import signature
from edgecell.bus import curve
from edgecell.errors import EdgecellError, SettingsError

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group()
def command() -> None:
    """Make, list and revoke keys: those that sign bundles, and those of an encrypted bus.

    A private key stays where it was made, readable by its owner alone. The public key of a lab goes to the devices, which list
    it under `[trust] keys`; making and listing such keys needs cryptography: pip install 'edgecell[signing]'. For the bus the
    device has a pair (`[publisher] server_key`) and so has each listener; the folder `[publisher] allow` holds the public keys
    of those who may listen, and each of them needs the device's public key: edgecell watch --key --server-key.

    \b
    Examples:
      edgecell keys new lab --out ~/keys
      edgecell keys new bench-3 --kind bus --out ~/keys
      edgecell keys list ~/keys --json
      edgecell keys revoke reader ~/keys/allowed
    """


@command.command("new")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(["signing", "bus"]),
    default="signing",
    show_default=True,
    help="signing: Ed25519, signs bundles. bus: Curve25519, for a device or a listener of an encrypted bus.",
)
@click.option("--out", default=".", show_default=True, type=_FOLDER, help="Folder for the two files, made if missing.")
def new(name: str, kind: str, out: Path) -> None:
    """Make a pair of keys: NAME.signing.key or NAME.bus.key (private, mode 0600) and the same with .pub. Never writes over a
    key."""
    if kind == "signing":
        private, public = signature.new_keys(name, out)
        click.echo(f"private: {private} (keep it; whoever has it can sign for you)")
        click.echo(f"public:  {public} (key {signature.key_id(signature.read_public(public))}; copy it to the devices)")
        return
    private, public = curve.new_keys(name, out)
    shown = curve.fingerprint(curve.public_key(public))
    click.echo(f"private: {private} (keep it; whoever has it is {name} on the bus)")
    click.echo(
        f"public:  {public} (key {shown}; a device's goes to the listeners, a listener's into the device's folder allow)"
    )


@command.command("list")
@click.argument("folder", default=".", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a key on stdout.")
def listed(folder: Path, as_json: bool) -> None:
    """List the keys in FOLDER with their ids, and say what is wrong with them.

    Of the bus: `bus public` may listen where FOLDER is the device's folder allow, `bus revoked` could once. The exit code is
    that of the first error: a file that holds no key, a private key that others can read.
    """
    failures: list[EdgecellError] = []
    for path, kind, look in _keys(folder):
        named = {"key": "", "kind": kind, "file": str(path)}
        try:
            named["key"] = look()
        except EdgecellError as error:
            failures.append(error)
        else:
            click.echo(msgspec.json.encode(named) if as_json else f"{named['key']}  {kind:<7}  {path}")
    for also in failures[1:]:
        click.echo(f"error: {also}", err=True)
    if failures:
        raise failures[0]


@command.command("revoke")
@click.argument("name")
@click.argument("folder", default=".", type=click.Path(path_type=Path, file_okay=False))
def revoke(name: str, folder: Path) -> None:
    """Take NAME's right to listen: its key in FOLDER, the device's folder allow, becomes NAME.bus.revoked.

    A running device sees that within a second and ends all connections; those who may still listen are back at once, and fetch
    what they missed. To allow NAME again, rename the file to NAME.bus.pub.
    """
    click.echo(f"{name} may not listen any more ({curve.revoke(name, folder)})")


def _keys(folder: Path) -> Iterator[tuple[Path, str, Callable[[], str]]]:
    """The files in a folder that are named as keys, what they are, and how their id is read."""
    kinds: dict[str, tuple[str, Callable[[Path], str]]] = {
        signature.PRIVATE: ("private", lambda path: signature.key_id(signature.read_private(path).public_key())),
        signature.PUBLIC: ("public", lambda path: signature.key_id(signature.read_public(path))),
        curve.PRIVATE: ("bus private", lambda path: curve.fingerprint(curve.public_of(curve.private_key(path)))),
        curve.PUBLIC: ("bus public", lambda path: curve.fingerprint(curve.listener_key(path))),
        curve.REVOKED: ("bus revoked", lambda path: curve.fingerprint(curve.public_key(path))),
    }
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise SettingsError(f"cannot list {folder}: {error.strerror}", fix="give a folder that may be read") from None
    for path in paths:
        for suffix, (kind, look) in kinds.items():
            if path.name.endswith(suffix):
                yield path, kind, partial(look, path)
