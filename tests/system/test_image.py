"""deploy/Dockerfile: hadolint finds no fault with it, and what it says, done in Debian's files, works on a read-only root.

The second part needs root and a folder with the base image's files, which EDGECELL_DEBIAN_ROOT names
(`debootstrap --variant=minbase trixie FOLDER`). It fetches every library: some minutes. A folder for another processor will do
where the kernel runs its programs (qemu-user and binfmt_misc): half an hour for aarch64 on x86_64.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import image_root
import pytest
from image_root import Image

from edgecell.cli import cli

REPOSITORY = Path(__file__).parents[2]
DOCKERFILES = sorted((REPOSITORY / "deploy").glob("Dockerfile*"))
BASE = Path(os.environ.get("EDGECELL_DEBIAN_ROOT", "/nowhere"))
HADOLINT = shutil.which("hadolint") or shutil.which("hadolint", path=Path(sys.executable).parent)


@pytest.mark.skipif(not HADOLINT, reason="needs hadolint, whose wheel is for x86_64 alone")
@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_no_fault(path: Path) -> None:
    ended = subprocess.run([str(HADOLINT), str(path)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "")


@pytest.mark.skipif(not HADOLINT, reason="needs hadolint, whose wheel is for x86_64 alone")
def test_a_fault_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian:latest\nRUN sudo apt-get install python3\n")
    ended = subprocess.run([str(HADOLINT), "Dockerfile"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert {"DL3007", "DL3004"} <= set(ended.stdout.split())


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_the_image_has_a_user_of_its_own_and_one_place_to_write_to(path: Path) -> None:
    image = image_root.read(path)
    uid, gid = image.user.split(":")
    assert min(int(uid), int(gid)) > 1000
    assert image.volumes == ["/var/lib/edgecell"]
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        assert image.env[name].startswith(image.volumes[0])
    assert (image.entrypoint, image.command) == (["/opt/edgecell/bin/edgecell"], ["doctor"])


def test_what_is_copied_is_in_the_checkout_or_made_by_make_wheel() -> None:
    for path in DOCKERFILES:
        copied = [step for step in image_root.read(path).steps if "/context" in step]
        words = [word for step in copied for word in step.split() if word.startswith(("requirements/", "dist/"))]
        assert words
        for word in words:
            assert word == "dist/edgecell-*.whl" or (REPOSITORY / word).is_file()


def page_commands() -> list[str]:
    """What deploy/container.md gives to `edgecell` behind the name of the image."""
    text = (REPOSITORY / "deploy/container.md").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in text.splitlines() if line.startswith("docker run")]
    return [shlex.join(words[words.index("edgecell") + 1 :]) for words in lines]


def test_the_page_has_commands() -> None:
    assert {command.split()[0] for command in page_commands()} == {"doctor", "run", "metrics"}


@pytest.mark.parametrize("line", page_commands())
def test_the_page_s_commands_exist(line: str) -> None:
    words = shlex.split(line)
    _, command, arguments = cli.resolve_command(cli.make_context("edgecell", list(words)), words)
    assert command is not None
    command.make_context(words[0], arguments)  # raises UsageError for what it does not take


# In Debian's files


class Built(NamedTuple):
    image: Image
    made: Path

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return image_root.run(self.image, BASE, self.made, *arguments)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    if not (BASE / "etc/debian_version").is_file() or os.geteuid() != 0:
        pytest.skip("needs root, and EDGECELL_DEBIAN_ROOT: a folder made by debootstrap --variant=minbase trixie")
    context, made = tmp_path_factory.mktemp("context"), tmp_path_factory.mktemp("made")
    shutil.copytree(REPOSITORY / "requirements", context / "requirements")
    wheel = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(context / "dist")]
    subprocess.run(wheel, cwd=REPOSITORY, check=True, capture_output=True)
    image = image_root.read(REPOSITORY / "deploy/Dockerfile")
    image_root.build(image, BASE, context, made)
    return Built(image, made)


def test_doctor_lacks_nothing_that_is_needed(built: Built) -> None:
    ended = built.run()
    assert ended.returncode == 0, ended.stderr
    said = json.loads(built.run("doctor", "--json").stdout)
    assert not [each for chapter in ("libraries", "bundles") for each in said[chapter] if each["lacks"]]


def test_its_root_cannot_be_written_to(built: Built) -> None:
    """Neither the program nor its libraries, whoever asks."""
    probe = "import os; os.open('/opt/edgecell/new', os.O_CREAT | os.O_WRONLY)"
    shell = replace(built.image, entrypoint=["/opt/edgecell/bin/python"])
    assert "Read-only file system" in Built(shell, built.made).run("-c", probe).stderr


def test_a_run_counts_and_keeps_its_journal_in_the_volume(built: Built) -> None:
    source = "phantom:width=480,height=360"
    ended = built.run("run", "--source", source, "--max-frames", "10", "--resume", "--json")
    assert ended.returncode == 0, ended.stderr
    last = json.loads(ended.stdout.splitlines()[-2])
    assert last["frames"]["processed"] == 10
    assert last["journal_position"] > 0
    kept = built.made / "volumes/var/lib/edgecell/state/edgecell/journal"
    assert {path.stat().st_uid for path in kept.iterdir()} == {int(built.image.user.split(":")[0])}
    shown = built.run("journal", "show", "--json")
    assert shown.returncode == 0, shown.stderr
    assert last["run_id"] in shown.stdout


def test_metrics_are_in_the_image(built: Built) -> None:
    ended = built.run("metrics", "tcp://127.0.0.1:9", "--once", "--silence", "0.2")
    assert ended.returncode == 7, ended.stderr
