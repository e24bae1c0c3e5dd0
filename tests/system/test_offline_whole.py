"""The whole of an offline installation, with everything that is downloaded for it: `pytest -m download`, some minutes.

Each named kind of device gets its wheels; for this machine, the command as a user types it makes a pack that is installed,
used, upgraded and rolled back without a network.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import pytest
from offline_packs import HERE, environment, without_network
from packaging.utils import canonicalize_name, parse_wheel_filename

from deploy.offline import pack as packing
from deploy.offline import pins, sbom
from deploy.offline.install import digest
from deploy.offline.target import MACHINES, PYTHONS, Target

ROOT = Path(__file__).parents[2]
PATIENCE_S = 900.0
EXTRAS = ("signing", "basler", "parquet")
PHANTOM = """
[source]
part = "phantom"
[models]
nucleated = "pbc8"
[publisher]
endpoint = "ipc://{folder}/bus"
[journal]
path = "{folder}/journal"
"""

pytestmark = pytest.mark.download


@pytest.fixture(autouse=True)
def _asked_for(request: pytest.FixtureRequest) -> None:
    if "download" not in request.config.option.markexpr:
        pytest.skip("downloads some hundred MB: pytest -m download")


def ended(command: list[str], folder: Path, settings: Mapping[str, str] | None = None) -> str:
    """What a command that went well wrote to stdout. settings: its environment, by default that of a device."""
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=folder, env=settings or environment(), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    print(f"{time.monotonic() - started:6.1f} s  {' '.join(command)}")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize(
    "target", [Target(machine=machine, python=python) for machine in MACHINES for python in PYTHONS], ids=str
)
def test_every_named_device_has_all_its_wheels(target: Target, tmp_path: Path) -> None:
    pip = pins.read(ROOT / "requirements/pack.txt", target)["pip"]
    needed = [*pins.needed(ROOT / "requirements", target, EXTRAS), pip]
    packing._download(needed, target, tmp_path)
    fetched = {parse_wheel_filename(path.name)[:2] for path in tmp_path.iterdir()}
    assert {(name, str(version)) for name, version in fetched} == {(pin.name, pin.version) for pin in needed}
    print(f"{target}: {len(fetched)} wheels, {sum(path.stat().st_size for path in tmp_path.iterdir()) / 1e6:.0f} MB")


def test_a_pack_is_made_installed_used_upgraded_and_rolled_back(tmp_path: Path) -> None:
    pack, root, settings = tmp_path / "pack", tmp_path / "opt", tmp_path / "edgecell.toml"
    settings.write_text(PHANTOM.format(folder=tmp_path))
    make = [sys.executable, "-m", "deploy.offline.pack", "--machine", HERE.machine, "--python", HERE.python, "--out", str(pack)]
    told = ended([*make, "--extra", "signing", "--bundle", "edgecell/bundles/marrow7"], ROOT, os.environ)
    assert re.search(r"sha256 of SHA256SUMS: [0-9a-f]{64}", told)
    ended(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], pack)
    bill = json.loads((pack / "sbom.cdx.json").read_text())
    sbom.check(json.dumps(bill))

    def install(folder: Path, *words: str) -> str:
        command = [*without_network(), sys.executable, str(folder / "install.py"), "--root", str(root)]
        return ended([*command, "--settings", str(settings), *words], tmp_path)

    def edgecell(*words: str) -> str:
        return ended([*without_network(), str(root / "bin/edgecell"), *words], tmp_path)

    install(pack)
    folders = [str(path) for path in root.glob("current/lib/python*/site-packages")]
    installed = {canonicalize_name(each.name): each.version for each in metadata.distributions(path=folders)}
    packed = {
        part["name"]: part["version"] for part in bill["components"] if part["type"] == "library" and part["name"] != "pip"
    }
    assert installed == {**packed, "edgecell": bill["metadata"]["component"]["version"]}
    messages = [json.loads(line) for line in edgecell("run", str(settings), "--max-frames", "5", "--json").splitlines()]
    assert [each for each in messages if "cumulative" in each][-1]["cells_total"] > 0
    other = tmp_path / "marrow.toml"
    other.write_text(settings.read_text().replace('"pbc8"', f'"{root}/bundles/marrow7"'))
    assert "models.nucleated: marrow7" in edgecell("check", str(other))
    later = shutil.copytree(pack, tmp_path / "later")
    (later / "deploy/later.md").write_text("the same version, packed anew\n")
    with (later / "SHA256SUMS").open("a") as sums:
        sums.write(f"{digest(later / 'deploy/later.md')}  deploy/later.md\n")
    install(later)
    assert len(list((root / "versions").iterdir())) == 2
    install(root, "roll-back")
    edgecell("run", str(settings), "--max-frames", "5", "--resume")
    edgecell("journal", "verify", str(tmp_path / "journal"))
    edgecell("journal", "replay", str(tmp_path / "journal"))
