"""The workshop's command line: one file a command, each loaded only when it is called."""

import importlib
import logging

import click
import cv2
from rich.console import Console
from rich.logging import RichHandler

COMMANDS = (
    "build",
    "build-segmenter",
    "inspect",
    "split",
    "check",
    "evaluate",
    "certify",
    "golden",
    "sign",
    "ablate",
    "evaluate-fields",
    "evaluate-masks",
    "evaluate-cells",
    "evaluate-gate",
    "evaluate-drift",
    "evaluate-qc",
    "adapt-curve",
    "reread",
    "fetch",
    "phantom-set",
)


class _Lazy(click.Group):
    """Imports a command's module when that command is asked for: `split` needs no torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"calibration.commands.{cmd_name.replace('-', '_')}").command
        command.name = cmd_name
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """The workshop: datasets -> training -> INT8 -> evaluation -> bundle."""
    # One OpenCV thread: the loader forks, and a fork inherits OpenCV's thread pool without its threads.
    cv2.setNumThreads(1)
    handler = RichHandler(console=Console(stderr=True), show_path=False)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
