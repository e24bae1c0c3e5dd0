"""Types of the arguments that several commands share."""

from pathlib import Path

import click

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
TXL = click.Path(path_type=Path, exists=True)
OUT = click.Path(path_type=Path)
