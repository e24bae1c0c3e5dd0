"""The command line: one file a command, each loaded only when it is called."""

import importlib

import click

from edgecell import __version__, log
from edgecell.messages import NOTICE

COMMANDS = (
    "run",
    "count",
    "classify",
    "adapt",
    "watch",
    "serve",
    "metrics",
    "journal",
    "review",
    "report",
    "prepare",
    "verify",
    "qc",
    "check",
    "keys",
    "cameras",
    "snap",
    "optics",
    "doctor",
    "bench",
    "schemas",
)


class _Lazy(click.Group):
    """Imports a command's module when that command is asked for, so that `edgecell watch` need not load an engine."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"edgecell.cli.{cmd_name}").command
        command.name = cmd_name
        return command


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=NOTICE,
)
@click.option("-v", "--verbose", is_flag=True, help="Debug lines on stderr.")
@click.version_option(__version__, message=f"edgecell %(version)s. {NOTICE}")
def cli(verbose: bool) -> None:
    """Microscope frames in, INT8 cell labels and honest counts out, over ZeroMQ.

    \b
    Try:
      edgecell run                     a simulated smear: segment, classify, count, publish
      edgecell count FIELD.jpg --overlay out/
      edgecell classify CELL.jpg
      edgecell watch                   in another terminal, while `run` runs
      edgecell doctor                  what this machine has and lacks

    Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 a quality check failed, 2 settings or command line,
    3 something is not installed, 4 bundle, 5 source or image, 6 engine, 7 bus, 8 journal.
    """
    log.set_up(verbose)
