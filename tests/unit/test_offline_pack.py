"""Which wheels a pack has for a machine that is another one, and its bill of materials."""

import json
import os
import pwd
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from offline_packs import made_wheel
from packaging.tags import Tag, cpython_tags, parse_tag

from deploy.offline import install, pins, sbom
from deploy.offline import pack as packing
from deploy.offline.install import Refused, digest
from deploy.offline.sbom import Wheel
from deploy.offline.target import MACHINES, PYTHONS, Target
from edgecell.bundle import SHIPPED, open_bundle

REQUIREMENTS = Path(__file__).parents[2] / "requirements"
TARGETS = [Target(machine=machine, python=python) for machine in MACHINES for python in PYTHONS]
JETSON = Target(machine="aarch64", python="3.10", glibc=35)


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_target_has_one_version_of_all_that_edgecell_needs(target: Target) -> None:
    found = {pin.name: pin for pin in pins.needed(REQUIREMENTS, target, [])}
    assert {"numpy", "opencv-python-headless", "onnxruntime", "pyzmq", "msgspec", "click", "rich"} <= found.keys()
    assert ("tomli" in found) == (target.python == "3.10")
    assert all(len(sha256) == 64 for pin in found.values() for sha256 in pin.hashes)


def test_markers_are_those_of_the_target_and_not_of_this_python() -> None:
    """onnxruntime has no wheel for 3.10 since 1.24."""
    versions = {target.python: pins.read(REQUIREMENTS / "base.txt", target)["onnxruntime"].version for target in TARGETS}
    assert versions["3.10"].startswith("1.23.")
    assert len({versions[python] for python in PYTHONS if python != "3.10"}) == 1


def test_an_extra_adds_what_it_needs() -> None:
    with_it = {pin.name for pin in pins.needed(REQUIREMENTS, JETSON, ["signing"])}
    assert with_it - {pin.name for pin in pins.needed(REQUIREMENTS, JETSON, [])} == {"cryptography", "cffi", "pycparser"}


def test_platforms_are_those_that_run_on_its_c_library() -> None:
    tags = [word for word in JETSON.pip_options if word.startswith(("many", "linux"))]
    assert tags[0] == "manylinux_2_35_aarch64"
    assert {"manylinux2014_aarch64", "manylinux_2_17_aarch64"} <= {*tags}
    assert not [tag for tag in tags if tag.startswith("manylinux_2_36") or "x86" in tag or tag == "manylinux_2_16_aarch64"]
    numpy = parse_tag("cp310-cp310-manylinux_2_27_aarch64.manylinux_2_28_aarch64")
    assert numpy & _tags(JETSON)


def _tags(target: Target) -> set[Tag]:
    """What an installer on the target would take."""
    major, minor = map(int, target.python.split("."))
    options = target.pip_options
    return {*cpython_tags((major, minor), platforms=[word for word in options if word.endswith(target.machine)])}


def test_the_bill_names_every_wheel_and_model_with_its_hash(tmp_path: Path) -> None:
    needs = "Requires-Dist: numpy\nRequires-Dist: lent; python_version < '3.11'\nRequires-Dist: key; extra == 'signing'\n"
    paths = {
        "edgecell": made_wheel(tmp_path, "edgecell", "0.2.0", {}, needs),
        **{name: made_wheel(tmp_path, name, "1.0", {}) for name in ("numpy", "lent", "key")},
    }
    bundle = open_bundle(SHIPPED / "pbc8")
    text = sbom.bill([Wheel.read(path) for path in paths.values()], {"bundles/pbc8": bundle}, JETSON.markers, ["signing"])
    bill = json.loads(text)
    parts = {part["name"]: part for part in [bill["metadata"]["component"], *bill["components"]]}
    assert bill["specVersion"] == "1.6"
    assert parts.keys() == {*paths, "pbc8"}
    for name, path in paths.items():
        assert parts[name]["hashes"] == [{"alg": "SHA-256", "content": digest(path)}]
        assert parts[name]["licenses"] == [{"license": {"id": "MIT"}}]
    assert parts["pbc8"]["type"] == "machine-learning-model"
    assert parts["pbc8"]["hashes"][0]["content"] == digest(SHIPPED / "pbc8/manifest.json")
    assert {"name": "edgecell:dataset:pbc", "value": "CC BY 4.0"} in parts["pbc8"]["properties"]
    (own,) = (each for each in bill["dependencies"] if each["ref"] == "edgecell@0.2.0")
    assert own["dependsOn"] == ["bundles/pbc8", "key@1.0", "lent@1.0", "numpy@1.0"]


def test_the_serial_number_tells_what_is_packed(tmp_path: Path) -> None:
    def serial(version: str) -> str:
        wheel = Wheel.read(made_wheel(tmp_path, "edgecell", version, {}))
        return str(json.loads(sbom.bill([wheel], {}, JETSON.markers, []))["serialNumber"])

    assert serial("0.2.0") == serial("0.2.0")
    assert serial("0.2.0") != serial("0.2.1")


@pytest.mark.parametrize(
    "text", ['{"bomFormat": "CycloneDX"}', '{"bomFormat": "CycloneDX", "specVersion": "1.6", "parts": []}']
)
def test_what_is_no_bill_of_materials_is_not_written(text: str) -> None:
    with pytest.raises(ValueError, match="not CycloneDX"):
        sbom.check(text)


# Looks at least 5000 times and until it has seen both: on a busy machine the first thousands may fall between two changes.
LOOK = """
import pathlib, sys
seen, looks = set(), 0
while looks < 5000 or len(seen) < 2:
    seen.add(pathlib.Path(sys.argv[1]).resolve(strict=True).name)
    looks += 1
print(*sorted(seen))
"""


def test_a_link_is_never_missing_while_it_changes(tmp_path: Path) -> None:
    """A process beside finds one of the two versions whenever it looks."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    install._link(tmp_path / "current", "a")
    command = [sys.executable, "-c", LOOK, str(tmp_path / "current")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as beside:
        while beside.poll() is None:
            for name in ("b", "a"):
                install._link(tmp_path / "current", name)
        assert beside.stdout is not None
        assert beside.stdout.read() == "a b\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_version_is_looked_at_by_the_user_who_runs_it() -> None:
    nobody = pwd.getpwnam("nobody")
    assert install._called(["sh", "-c", "echo $(id -u) $HOME $(pwd)"], "", "nobody").split() == [
        str(nobody.pw_uid),
        nobody.pw_dir,
        "/",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--settings", "/none.toml"], "there is no /none.toml"),
        (["--user", "no-such-user"], "there is no user no-such-user"),
    ],
)
def test_what_was_named_and_is_not_there_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(Refused, match=said):
        install._installation(install._arguments(words))


def test_a_folder_of_another_making_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    with pytest.raises(Refused, match="not made by this program"), install.Installation(tmp_path, None, None).alone():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_two_at_once_are_not_let_in(tmp_path: Path) -> None:
    one, other = (install.Installation(tmp_path, None, None) for _ in range(2))
    with one.alone(), pytest.raises(Refused, match=r"another install\.py is at work"), other.alone():
        pass


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda about: about | {"glibc": 99}, "needs glibc 2.99 or newer"),
        (lambda about: about | {"python": "3.9"}, "the pack is for .*, Python 3.9"),
    ],
)
def test_a_pack_must_fit_the_machine(change: Callable[[dict[str, object]], dict[str, object]], said: str) -> None:
    version = ".".join(map(str, sys.version_info[:2]))
    fitting: dict[str, object] = {"machine": os.uname().machine, "python": version, "glibc": 17}
    install._fits(fitting)
    with pytest.raises(Refused, match=said):
        install._fits(change(fitting))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--bundle", "there/is/none"], 4, "no bundle 'there/is/none'"),
        (["--bundle", "pbc8", "--bundle", "pbc8"], 2, "two bundles are called pbc8"),
        (["--out", "file/pack"], 2, "Fix: free space, or give another --out"),
    ],
)
def test_what_cannot_be_packed_is_said_before_anything_is_downloaded(
    words: list[str],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    monkeypatch.setattr(packing, "build_wheel", lambda folder: made_wheel(folder, "edgecell", "0.2.0", {}))
    monkeypatch.setattr(packing, "_download", lambda *_: pytest.fail("it was downloaded"))
    assert packing.main(["--machine", "aarch64", "--python", "3.10", "--out", "pack", *words]) == code
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("page", ["README.md", "deploy/offline.md"])
def test_the_pages_name_commands_and_options_that_exist(page: str) -> None:
    text = (REQUIREMENTS.parent / page).read_text(encoding="utf-8")
    makes = re.findall(r'^make pack FOR="(.*?)"|`make pack FOR="(.*?)"`', text, re.MULTILINE)
    calls = re.findall(r"^python3 \S*install\.py(.*?)(?:  #.*)?$", text, re.MULTILINE)
    assert makes
    assert bool(calls) == (page != "README.md")
    for words in makes:
        packing.arguments(shlex.split("".join(words)))  # exits for what it does not take
    for words in calls:
        install._arguments(shlex.split(words))
