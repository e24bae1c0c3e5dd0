"""What the README tells a reader to type: cheap commands are run, the others must at least be commands that exist.

A block fenced as `sh test` is run, in order, in one empty folder. In every other `sh` block each line that starts with
`edgecell`, `make` or `python -m` is parsed by what it names.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path

import pytest

from edgecell import settings
from edgecell.cli import cli

ROOT = Path(__file__).parents[1]
PATIENCE_S = 120.0
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
OPERATORS = {"|", "||", "&", "&&", ";", ">", ">>", "<"}
TARGET = re.compile(r"^([a-z-]+):", re.MULTILINE)


def blocks(tag: str) -> list[str]:
    """Texts of the README's blocks fenced with exactly `tag`."""
    found = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    return [text for fence, text in found if fence.strip() == tag]


def lines() -> Iterator[str]:
    """First command of every line of the shell blocks, without its comment; continued lines are joined."""
    for block in (*blocks("sh"), *blocks("sh test")):
        for line in block.replace("\\\n", " ").splitlines():
            words = list(takewhile(lambda word: word not in OPERATORS, shlex.split(line, comments=True)))
            if words:
                yield shlex.join(words)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader is, with this checkout's `edgecell` on the path; it starts empty."""
    home = tmp_path_factory.mktemp("reader")
    command = home / "bin" / "edgecell"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} -m edgecell "$@"\n')
    command.chmod(0o755)
    (home / "work").mkdir()
    return home


def test_readme_has_both_commands_and_something_to_run() -> None:
    assert {"make run", "make test"} <= set(lines())
    assert blocks("sh test")


@pytest.mark.parametrize("block", blocks("sh test"))
def test_block_runs(block: str, folder: Path) -> None:
    """Stopped at the first command that fails, pipes included; each finds what the blocks above it left."""
    environment = {**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder / "work",
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"


@pytest.mark.parametrize("line", sorted(set(lines())))
def test_command_exists(line: str) -> None:
    words = shlex.split(line)
    if words[0] == "make":
        assert set(words[1:]) <= set(TARGET.findall((ROOT / "Makefile").read_text()))
    elif words[:2] == ["python", "-m"]:
        assert find_spec(words[2])
    elif words[0] == "edgecell" and words[1:] not in (["--help"], ["--version"]):
        name, command, arguments = cli.resolve_command(cli.make_context("edgecell", words[1:]), words[1:])
        assert name is not None
        assert command is not None
        command.make_context(
            name, [each for each in arguments if each != "--help"]
        )  # raises UsageError for what it does not take


@pytest.mark.parametrize("text", blocks("toml"))
def test_settings_decode(text: str, tmp_path: Path) -> None:
    """Every toml block is a settings file that `edgecell run` would take."""
    (tmp_path / "bench.toml").write_text(text)
    settings.load(tmp_path / "bench.toml")
