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
        cli.main(prog_name="edgecell", standalone_mode=False)
    except EdgecellError as error:
        _tell(str(error))
        sys.exit(error.exit_code)
    except click.ClickException as error:
        if not sys.argv[1:]:  # nothing was asked for: the help
            error.show()
        else:
            _tell(f"{error.format_message().rstrip('.')}. Fix: see {_command(error)} --help")
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read stdout has gone; without this Python would complain about it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(CANNOT_WRITE)


def program() -> None:
    """`main` as a process. Where a driver never came back from a call, its thread is left behind: Python would take it down in
    the middle of foreign code, which ends the process as a crash (SIGABRT), so then the process ends without that."""
    code: str | int | None = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    if "edgecell.runtime.stage" in sys.modules and sys.modules["edgecell.runtime.stage"].left_behind():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0)
    sys.exit(code)


def _tell(problem: str) -> None:
    """One line, whatever a library's message or a file's name holds."""
    click.echo(f"edgecell: error: {' '.join(problem.split())}", err=True)


def _command(error: click.ClickException) -> str:
    """The command that was called, as it is typed."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    return context.command_path if context else "edgecell"


if __name__ == "__main__":
    program()
