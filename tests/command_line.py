"""Calls of the command line for the tests: in this process, or as a process of its own."""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import edgecell
from edgecell.__main__ import main

PATIENCE_S = 60.0
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(edgecell.__file__).parents[1])}


class Ended(NamedTuple):
    """How a call ended: exit code, and what it wrote to stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[dict[str, Any]]:
        """stdout as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


def called(*arguments: object) -> Ended:
    """`edgecell ARGUMENTS` in this process, from `main` to the exit code; logging is left as it was found."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    code = 0
    with logging_restored(), redirect_stdout(out), redirect_stderr(err), patch.object(sys, "argv", _argv(arguments)):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return Ended(code, *(stream.detach().getvalue().decode() for stream in (out, err)))


def finished(*arguments: object, folder: Path, prelude: str = "") -> Ended:
    """`python -m edgecell ARGUMENTS` in `folder`, waited for. prelude: Python to run before it, in the same process."""
    ended = subprocess.run(
        _line(arguments, prelude), cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


class Running:
    """A process that has been started, with its output in files that can be read while it runs."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path) -> None:
        self.process, self._folder = process, folder

    def ended(self) -> Ended:
        """Wait for its end."""
        code = self.process.wait(PATIENCE_S)
        return Ended(code, *((self._folder / name).read_text() for name in ("out", "err")))


@contextmanager
def started(*arguments: object, folder: Path) -> Iterator[Running]:
    """`python -m edgecell ARGUMENTS` in `folder`, running; killed at the latest when left."""
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(_line(arguments, ""), cwd=folder, env=ENVIRONMENT, stdout=out, stderr=err)
    try:
        yield Running(process, folder)
    finally:
        process.kill()
        process.wait()


def _argv(arguments: tuple[object, ...]) -> list[str]:
    return ["edgecell", *map(str, arguments)]


def _line(arguments: tuple[object, ...], prelude: str) -> list[str]:
    how = ["-c", f"{prelude}\nfrom edgecell.__main__ import main\nmain()"] if prelude else ["-m", "edgecell"]
    return [sys.executable, *how, *map(str, arguments)]


@contextmanager
def logging_restored() -> Iterator[None]:
    logger = logging.getLogger("edgecell")
    before = logger.handlers[:], logger.level, logger.propagate
    try:
        yield
    finally:
        logger.handlers[:], logger.level, logger.propagate = before
