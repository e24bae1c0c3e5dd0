"""`edgecell schemas`: the JSON Schemas of the bus messages."""

from pathlib import Path

import click
import msgspec

from edgecell import wire
from edgecell.errors import EdgecellError, SettingsError

REPAIR = "python -m edgecell schemas --write edgecell/schemas"


@click.command()
@click.option("--write", type=click.Path(path_type=Path), metavar="DIR", help="Write them into DIR, one file a topic.")
@click.option(
    "--check", type=click.Path(path_type=Path), metavar="DIR", help="Compare with the files in DIR; exit 1 if they differ."
)
def command(write: Path | None, check: Path | None) -> None:
    """Print the JSON Schemas of what goes over the bus, one JSON line each: the messages by topic, then request and
    answer of the replay socket.

    They are all that a program in another language needs to read the bus: subscribe to a topic, take the second frame of each
    message, parse it as JSON.

    \b
    Examples:
      edgecell schemas
      edgecell schemas --write /tmp/schemas
    """
    if write:
        _write(write)
    elif check:
        drifted(check)
    else:
        for topic in wire.SCHEMAS:
            click.echo(msgspec.json.encode(wire.schema(topic)).decode())


def drifted(folder: Path) -> None:
    """Raises EdgecellError when a file in `folder` is not the schema that this version generates."""
    for name, text in wire.schema_files().items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            raise EdgecellError(f"{path} is not the schema of this version's messages", fix=REPAIR)


def _write(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in wire.schema_files().items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"cannot write to {folder}: {error.strerror}", fix="give a folder that may be written") from None
