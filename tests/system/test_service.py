"""deploy/edgecell.service: systemd finds no fault with it, and what it starts is there."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgecell import app, settings
from edgecell.cli.run import command

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
UNIT = DEPLOY / "edgecell.service"
ANALYZE = shutil.which("systemd-analyze")
MOST_EXPOSED = 20
"""In tenths of what systemd-analyze calls the exposure level: 0 is locked up, 96 a plain service."""

needs_analyze = pytest.mark.skipif(not ANALYZE, reason="needs systemd-analyze")


def lines(key: str) -> list[str]:
    """All values of a key of the unit."""
    return [line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith(f"{key}=")]


@needs_analyze
def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    """The program need not be installed where the tests run."""
    (tmp_path / UNIT.name).write_text(UNIT.read_text().replace(lines("ExecStart")[0].split()[0], sys.executable))
    checked = subprocess.run([str(ANALYZE), "verify", UNIT.name], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@needs_analyze
def test_the_service_is_locked_up() -> None:
    line = [str(ANALYZE), "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager", str(UNIT)]
    checked = subprocess.run(line, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_its_command_is_one_of_edgecell() -> None:
    program, name, file, *options = lines("ExecStart")[0].split()
    assert (Path(program).name, name, file) == ("edgecell", "run", "/etc/edgecell/edgecell.toml")
    known = {option for parameter in command.params for option in parameter.opts}
    assert set(options) <= known


def test_its_settings_can_be_used() -> None:
    chosen = settings.load(DEPLOY / "settings/service.toml")
    assert app.plan(chosen).source.name == "v4l2"
    assert chosen.journal is not None
    assert chosen.journal.folder == Path("/var/lib/edgecell/journal")
