"""The README's way from own labelled cells to a bundle, typed as it stands there, in a folder that has this checkout's code."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from edgecell.bundle import open_bundle

ROOT = Path(__file__).parents[1]
SECTION = re.compile(r"^## Your own cells\n.*?^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PATIENCE_S = 1800.0  # half a minute of CPU; a machine may have much else to do
CLASSES = ("granulocyte", "mononuclear", "erythroblast")


def tutorial() -> str:
    found = SECTION.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found
    return found[1]


def test_the_readme_goes_from_labels_to_counts() -> None:
    commands = [shlex.split(line, comments=True) for line in tutorial().splitlines()]
    assert [words[2] if words[0] == "python" else words[0] for words in commands if words] == [
        *("calibration", "cp", "calibration", "calibration", "edgecell"),
    ]


def test_the_tutorial_runs_as_written(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs torch")
    (tmp_path / "bin").mkdir()
    for name, what in (("python", ""), ("edgecell", "-m edgecell")):
        command = tmp_path / "bin" / name
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {what} "$@"\n')
        command.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    for package in ("calibration", "edgecell"):
        (work / package).symlink_to(ROOT / package)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", tutorial()],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    manifest = open_bundle(work / "own/bundle").manifest
    assert tuple(each.name for each in manifest.classes) == CLASSES
    assert str(tmp_path) not in (work / "own/bundle/manifest.json").read_text()
    assert manifest.provenance.split == "boxes.tsv"
    accuracy = manifest.metrics["own_boxes.accuracy"]
    assert isinstance(accuracy, float)
    assert accuracy > 0.6  # one in three is chance, and drawn cells are easy
    assert "40 images: 40 counted" in ended.stdout
    rows = {row[1]: int(row[3]) for row in map(str.split, ended.stdout.splitlines()) if len(row) > 4 and row[1] in CLASSES}
    assert rows["granulocyte"] > 20
    assert rows["mononuclear"] > 20
