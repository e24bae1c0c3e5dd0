"""`python -m calibration`: the workshop's commands."""

import sys

import click

from calibration.commands import cli
from edgecell.errors import EdgecellError


def main() -> None:
    """Runs a command; an error is one line on stderr and its exit code."""
    try:
        cli()
    except EdgecellError as error:
        click.echo(f"calibration: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
