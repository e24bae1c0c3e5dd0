"""deploy/review.md: its commands are run as they stand there, its pictures are there and small, its other commands exist."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from edgecell.cli import cli

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "deploy" / "review.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PICTURE = re.compile(r"!\[[^\]]+\]\(([^)]+)\)")
MOST_BYTES = 150_000
PATIENCE_S = 120.0


def lines() -> list[str]:
    """All `edgecell` commands."""
    return sorted({line for _, block in BLOCK.findall(TEXT) for line in block.splitlines() if line.startswith("edgecell")})


def test_a_reviewed_run_from_the_slide_to_the_report(tmp_path: Path) -> None:
    (block,) = (block for fence, block in BLOCK.findall(TEXT) if fence == "sh test")
    command = tmp_path / "bin" / "edgecell"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} -m edgecell "$@"\n')
    command.chmod(0o755)
    (tmp_path / "work").mkdir()
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=tmp_path / "work",
        env={**os.environ, "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    assert "signed off" in ended.stdout
    assert all((tmp_path / "work" / f"17.{form}").stat().st_size for form in ("pdf", "csv", "fhir.json"))


@pytest.mark.parametrize("line", lines())
def test_commands_are_taken(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    name, command, arguments = cli.resolve_command(cli.make_context("edgecell", list(words)), words)
    assert name
    assert command
    command.make_context(name, arguments)


def test_pictures_are_there_and_small() -> None:
    named = PICTURE.findall(TEXT)
    assert len(named) == 3
    for name in named:
        content = (PAGE.parent / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) <= MOST_BYTES, name
