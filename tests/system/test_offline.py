"""Installed from a pack in a network namespace without a route: upgrades, roll backs, and what goes wrong with them.

Real virtual environments, edgecell itself in versions that differ by a line, a real journal; see tests/offline_packs.py.
"""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import PATIENCE_S, Ended
from offline_packs import BROKEN, BUNDLE, HERE, LATER, NEWER_SCHEMA, Shelf, environment, without_network

from deploy.offline.install import digest
from edgecell.journal import store
from edgecell.signature import new_keys

OLD, NEW = "0.1.0", "0.2.0"
KEPT = {".toml", ".key", ".pub", ".sqlite"}
SETTINGS = """
device_id = "bench-3"
sample_id = "slide-17"
[source]
part = "phantom"
width = 320
height = 240
fps = 5.0
[models]
nucleated = "{bundle}"
[segmenter]
part = "stain"
[publisher]
endpoint = "ipc://{folder}/sockets/bus"
[journal]
path = "{folder}/journal"
key = "{folder}/device.signing.key"
[run]
window_s = 0.2
"""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture(scope="module")
def packs(shelf: Shelf) -> Mapping[str, Path]:
    return {OLD: shelf.pack(OLD), NEW: shelf.pack(NEW, NEWER_SCHEMA)}


class Device:
    """A device: a root folder, settings, a key, and later a journal."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root, self.settings = folder, folder / "opt", folder / "edgecell.toml"
        (folder / "sockets").mkdir()
        self.settings.write_text(SETTINGS.format(bundle=BUNDLE, folder=folder))

    def install(self, script: Path, *words: str, **more: str) -> Ended:
        """`python3 SCRIPT WORDS` without a network."""
        command = [*without_network(), sys.executable, str(script), "--root", str(self.root), "--settings", str(self.settings)]
        return ended([*command, *words], **more)

    def edgecell(self, *words: str) -> Ended:
        return ended([*without_network(), str(self.root / "bin/edgecell"), *words])

    def counts(self) -> Ended:
        """A short run, with the settings as they are."""
        return self.edgecell("run", str(self.settings), "--max-frames", "3", "--json")

    @property
    def version(self) -> str:
        """The one in use."""
        return (self.root / "current").resolve().name.partition("-")[0]

    def versions(self) -> list[str]:
        """Folders of versions, whole or not."""
        return sorted(path.name for path in (self.root / "versions").iterdir())

    def kept(self) -> dict[str, str]:
        """sha256 of settings, keys and the journal's file."""
        paths = [path for path in self.folder.rglob("*") if path.is_file() and self.root not in path.parents]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.suffix in KEPT}


def ended(command: list[str], **more: str) -> Ended:
    done = subprocess.run(
        command, env=environment(**more), capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd="/"
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True, slots=True)
class Step:
    """What was done to the device, the version in use after it, and what is kept."""

    done: Ended
    version: str
    kept: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Story:
    """Of a device: OLD installed and used for a short run, NEW installed, rolled back. There, every test begins."""

    device: Device
    steps: Mapping[str, Step]


@pytest.fixture(scope="module")
def story(packs: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Story:
    device = Device(tmp_path_factory.mktemp("device"))
    new_keys("device", device.folder)
    actions: dict[str, Callable[[], Ended]] = {
        "installed": lambda: device.install(packs[OLD] / "install.py"),
        "used": device.counts,
        "upgraded": lambda: device.install(packs[NEW] / "install.py"),
        "rolled back": lambda: device.install(device.root / "install.py", "roll-back"),
    }
    steps = {name: Step(action(), device.version, device.kept()) for name, action in actions.items()}
    return Story(device, steps)


@pytest.fixture
def device(story: Story) -> Iterator[Device]:
    """After that story. Virtual environments cannot be moved, so the folder is put back when the test is over."""
    folder = story.device.folder
    kept = folder.with_name(f"{folder.name}-kept")
    shutil.copytree(folder, kept, symlinks=True, ignore=shutil.ignore_patterns("sockets"))
    yield story.device
    shutil.rmtree(folder)
    kept.rename(folder)
    (folder / "sockets").mkdir()


def _until(happened: Callable[[], bool]) -> None:
    """Looks again and again."""
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _windows(journal: Path) -> int:
    """Windows in the journal, committed."""
    with closing(store.open_for_reading(journal)) as file:
        return int(file.execute("SELECT count(*) FROM events WHERE type = 'window'").fetchone()[0])


def _goes_on(journal: Path) -> None:
    """More windows come in."""
    so_far = _windows(journal)
    _until(lambda: _windows(journal) > so_far)


def test_the_namespace_has_no_route() -> None:
    program = "import socket; socket.create_connection(('192.0.2.1', 9), timeout=5)"
    done = subprocess.run([*without_network(), sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "Network is unreachable" in done.stderr


def test_all_that_the_page_of_the_service_copies_lies_in_the_pack(packs: Mapping[str, Path]) -> None:
    page = (packs[OLD] / "deploy/service.md").read_text()
    copied = {*re.findall(r"\bdeploy/[\w./-]*\w", page)}
    assert "deploy/edgecell.service" in copied
    assert not {name for name in copied if not (packs[OLD] / name).exists()}


@pytest.mark.parametrize(("name", "version"), [("installed", OLD), ("used", OLD), ("upgraded", NEW), ("rolled back", OLD)])
def test_every_step_goes_well_without_a_network(story: Story, name: str, version: str) -> None:
    step = story.steps[name]
    assert step.done.code == 0, step.done.err
    assert step.version == version


def test_upgrade_and_roll_back_change_neither_journal_nor_keys_nor_settings(story: Story) -> None:
    used, upgraded, back = (story.steps[name] for name in ("used", "upgraded", "rolled back"))
    assert {Path(name).suffix for name in used.kept} == {".toml", ".key", ".pub", ".sqlite"}
    assert upgraded.kept == back.kept == used.kept
    assert f"brings it from schema {store.VERSION} to {LATER}" in upgraded.done.out


def test_what_was_rolled_back_goes_on_with_the_journal(device: Device) -> None:
    assert device.edgecell("--version").out.startswith(f"edgecell {OLD}.")
    assert device.counts().code == 0
    key = str(device.folder / "device.signing.pub")
    whole = device.edgecell("journal", "verify", str(device.folder / "journal"), "--key", key, "--json")
    assert whole.code == 0, whole.err
    assert len(device.edgecell("journal", "show", str(device.folder / "journal"), "--json").documents) == 2


def test_a_roll_back_that_the_journal_forbids_says_so_before_it_happens(device: Device, packs: Mapping[str, Path]) -> None:
    assert device.install(packs[NEW] / "install.py").code == 0
    assert device.counts().code == 0  # which brings the journal to the newer schema
    direct = ended([str(device.root / "previous/bin/edgecell"), "journal", "show", str(device.folder / "journal")])
    assert direct.code == 8
    refused = device.install(device.root / "install.py", "roll-back")
    for said in (direct.err, refused.err):
        assert f"schema version {LATER}; this edgecell knows up to {store.VERSION}" in said
        assert "path in [journal]" in said
    assert (refused.code, device.version) == (1, NEW)
    device.settings.write_text(device.settings.read_text().replace("/journal", "/journal-of-old"))
    assert device.install(device.root / "install.py", "roll-back").code == 0
    assert device.version == OLD
    assert device.counts().code == 0


def test_an_upgrade_that_is_killed_and_then_found_broken_leaves_the_old_version_running(device: Device, shelf: Shelf) -> None:
    install, versions = shelf.pack("0.4.0", BROKEN) / "install.py", device.versions()
    command = [sys.executable, str(install), "--root", str(device.root), "--settings", str(device.settings)]
    with subprocess.Popen([str(device.root / "bin/edgecell"), "run", str(device.settings)], env=environment()) as run:
        with subprocess.Popen(command, env=environment(), start_new_session=True) as process:
            _until(lambda: any((device.root / "versions").glob("0.4.0-*/lib/python*/site-packages/edgecell")))
            os.killpg(process.pid, signal.SIGKILL)
        assert len(device.versions()) == len(versions) + 1
        assert "0.4.0" not in device.install(device.root / "install.py", "list").out
        refused = device.install(install)
        assert refused.code == 1
        assert "0.4.0-" in refused.err
        assert "none in this installation" in refused.err
        assert (device.version, device.versions()) == (OLD, versions)
        _goes_on(device.folder / "journal")
        assert run.poll() is None
        run.send_signal(signal.SIGTERM)
        assert run.wait(PATIENCE_S) == 0


def test_an_upgrade_that_does_not_start_is_taken_back(device: Device, packs: Mapping[str, Path], tmp_path: Path) -> None:
    """systemctl is a stand-in: it starts what the unit would start, and is done where that is ready or has ended."""
    (run,) = device.root.glob(f"versions/{NEW}-*/lib/python*/site-packages/edgecell/cli/run.py")
    run.write_text("raise SystemExit(8)")
    stand_in, log = tmp_path / "systemctl", tmp_path / "log"
    start = f"exec {device.root}/bin/edgecell run {device.settings} --max-frames 1 >> {log} 2>&1"
    stand_in.write_text(f'#!/bin/sh\necho "$@" >> {log}\n{start}\n')
    stand_in.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    refused = device.install(packs[NEW] / "install.py", "--restart", "edgecell.service", PATH=path)
    assert refused.code == 1
    assert f"edgecell.service does not start with {NEW}-" in refused.err
    assert log.read_text().count("restart edgecell.service") == 2
    assert "1 frames" in log.read_text()  # of the old one, which was started again
    assert device.version == OLD
    assert (device.root / "previous").resolve().name.startswith(NEW)


def test_settings_that_the_new_version_does_not_take_stop_the_upgrade(device: Device, packs: Mapping[str, Path]) -> None:
    device.settings.write_text(device.settings.read_text().replace("window_s", "window_z"))
    refused = device.install(packs[NEW] / "install.py")
    assert "did you mean window_s?" in refused.err
    assert (refused.code, device.version) == (1, OLD)


def test_a_version_in_use_is_not_removed_and_another_one_is(device: Device) -> None:
    old, new = device.versions()
    assert device.install(device.root / "install.py", "remove", old).code == 1
    assert device.install(device.root / "install.py", "remove", new).code == 0
    assert device.install(device.root / "install.py").out == f"{old}  current\n"
    assert "no version was used before" in device.install(device.root / "install.py", "roll-back").err


def test_a_pack_for_another_machine_is_refused(packs: Mapping[str, Path], tmp_path: Path) -> None:
    other = "aarch64" if HERE.machine == "x86_64" else "x86_64"
    pack = shutil.copytree(packs[OLD], tmp_path / "pack")
    about = pack / "pack.json"
    before = digest(about)
    about.write_text(about.read_text().replace(HERE.machine, other))
    sums = pack / "SHA256SUMS"
    sums.write_text(sums.read_text().replace(before, digest(about)))
    refused = Device(tmp_path).install(pack / "install.py")
    assert f"the pack is for {other}, Python {HERE.python}, and this is {HERE.machine}, Python {HERE.python}" in refused.err
    assert refused.code == 1


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda pack: (pack / "requirements.txt").write_text("lent\n"), "is not what was packed"),
        (lambda pack: next((pack / "wheels").glob("lent*")).unlink(), "is missing"),
        (lambda pack: (pack / "wheels" / "sitecustomize.py").write_text(""), "is not part of the pack"),
        (lambda pack: (pack / "SHA256SUMS").write_text("../../etc/passwd"), "is no checksum"),
        (lambda pack: (pack / "SHA256SUMS").unlink(), "is no pack"),
    ],
)
def test_a_pack_that_was_altered_is_refused_before_anything_is_made(
    harm: Callable[[Path], object], said: str, packs: Mapping[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(packs[OLD], tmp_path / "pack")
    harm(tmp_path / "pack")
    device = Device(tmp_path)
    refused = device.install(tmp_path / "pack/install.py")
    assert refused.code == 1
    assert said in refused.err
    assert device.versions() == []
