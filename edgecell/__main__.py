"""`edgecell` and `python -m edgecell`: runs a command and maps errors to exit codes."""

import os
import sys

import click

from edgecell.cli import cli
from edgecell.errors import EdgecellError

INTERRUPTED, CANNOT_WRITE = 130, 1


def main() -> None:
    """One line on stderr for an error, no traceback, and the exit code of its class."""
    try:
        cli.main(standalone_mode=False)
    except EdgecellError as error:
        click.echo(f"edgecell: error: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read stdout has gone; without this Python would complain about it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(CANNOT_WRITE)


if __name__ == "__main__":
    main()
