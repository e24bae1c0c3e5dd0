"""The house rules that no linter checks for us: imports that do nothing, sizes, what is tracked, pinned and packed.

The storeys are contracts in pyproject.toml, checked by import-linter; so is who may know what the phantom drew.
"""

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from edgecell import bundle
from edgecell.cli import doctor

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
EDGECELL = sorted((ROOT / "edgecell").rglob("*.py"))
PRODUCT = [*EDGECELL, *sorted((ROOT / "calibration").rglob("*.py"))]
LINES_OF_A_FILE, LINES_OF_A_FUNCTION = 350, 60
BYTES_OF_A_BUNDLE = 10_000_000
MACHINES = ("x86_64", "aarch64")
PINNED = ("base", "build", "pack", "test")
SOURCE_ONLY = {"pycuda"}
"""Extras that cannot be pinned as wheels."""
PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp"}
BINARY = {".onnx", ".npz", ".png"}
DRAWN = {"deploy/pictures/live.png", "deploy/pictures/gallery.png", "deploy/pictures/report.png"}
"""Made by `python -m benchmarks.screenshots`, on the drawn slide."""
MACHINE_PATH = re.compile(r"/(?:root|home/\w+|Users/\w+)/|/work/(?:main|shared)\b")
REGISTRY = re.compile(r"\b(?:pypi|pythonhosted|npmjs|debian|anaconda)\.(?:org|com)\b|--(?:extra-)?index-url")


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def pythons() -> list[str]:
    """The versions that the Makefile checks types for."""
    match = re.search(r"^PYTHONS := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert match
    return match[1].split()


@cache
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def extras() -> list[str]:
    """The extras that go into a pack for a device without a network."""
    return sorted({*pyproject()["project"]["optional-dependencies"]} - SOURCE_ONLY)


@cache
def tracked() -> list[Path]:
    """Files under version control, and those that `git add` would put there."""
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]


def lines_with(pattern: re.Pattern[str]) -> Iterator[str]:
    """Places in tracked text files where `pattern` is found."""
    for path in tracked():
        if path.suffix not in BINARY:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if pattern.search(line):
                    yield f"{named(path)}:{number}: {line.strip()[:100]}"


def test_import_contracts_hold() -> None:
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_importing_every_module_does_nothing_else() -> None:
    command = [sys.executable, "-B", "-W", "error", str(ROOT / "tests/import_everything.py")]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr) == (f"imported {len(EDGECELL)} modules\n", "")


def test_edgecell_needs_only_the_standard_library_and_its_base_dependencies() -> None:
    optional = pyproject()["project"]["optional-dependencies"]
    extras = {Requirement(each).name.replace("-", "_") for some in optional.values() for each in some}
    extras |= {"cuda", "tensorrt"}  # as cuda-bindings is called in Python, and for its types what NVIDIA installs
    extras |= {"picamera2", "gi"}  # a system's own packages, which fit no other system's
    allowed = {"edgecell", "tomli", *doctor.LIBRARIES.values(), *sys.stdlib_module_names, "tomllib", *extras}
    for path in EDGECELL:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name.partition(".")[0] for name in names} <= allowed, named(path)


def test_doctor_looks_at_every_base_dependency() -> None:
    needed = {Requirement(each).name for each in pyproject()["project"]["dependencies"]}
    assert needed == {*doctor.LIBRARIES, "tomli"}


@pytest.mark.parametrize("path", PRODUCT, ids=named)
def test_file_is_one_noun_of_readable_size(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    module = ast.parse(text, feature_version=(3, 10))
    assert ast.get_docstring(module)
    assert text.count("\n") <= LINES_OF_A_FILE
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < LINES_OF_A_FUNCTION, node.name


def test_no_two_tests_share_a_file_name() -> None:
    """pytest would refuse the second, and with it the whole run."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, times in names.items() if times > 1] == []


def test_no_path_of_a_developer_s_machine_is_tracked() -> None:
    assert not list(lines_with(MACHINE_PATH))


def test_no_package_registry_is_named() -> None:
    """Every user has their own; a pinned one would fail behind a mirror."""
    assert not list(lines_with(REGISTRY))


def test_no_picture_is_tracked_but_those_of_the_drawn_slide() -> None:
    assert {named(path) for path in tracked() if path.suffix.lower() in PICTURES} <= DRAWN


@pytest.mark.parametrize("name", bundle.shipped())
def test_shipped_bundle_is_small(name: str) -> None:
    assert sum(path.stat().st_size for path in (bundle.SHIPPED / name).rglob("*")) <= BYTES_OF_A_BUNDLE


def environment_of(python: str, machine: str) -> dict[str, str]:
    """What CPython `python` on Linux on `machine` answers to environment markers."""
    return {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "platform_machine": machine,
        "platform_system": "Linux",
        "sys_platform": "linux",
        "os_name": "posix",
    }


def pinned(name: str, environment: dict[str, str]) -> dict[str, str]:
    """Package -> version of requirements/`name`.txt on that machine. Each one has exactly one version, and hashes."""
    versions: dict[str, str] = {}
    for entry in (ROOT / f"requirements/{name}.txt").read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        text, *hashes = entry.split(" --hash=sha256:")
        requirement = Requirement(text)
        assert hashes, f"{text} has no hash"
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert requirement.name not in versions, f"{requirement.name} is pinned twice"
            versions[requirement.name] = str(requirement.specifier).removeprefix("==")
    return versions


def wanted(group: str) -> list[Requirement]:
    """The requirements of a dependency group, those of the groups it includes too; "base" is the project's own, "extras/NAME"
    has those of an extra besides."""
    if group == "base":
        return [Requirement(each) for each in pyproject()["project"]["dependencies"]]
    if group.startswith("extras/"):
        table = pyproject()["project"]["optional-dependencies"]
        return [*wanted("base"), *map(Requirement, table[group.removeprefix("extras/")])]
    found = wanted("base") if group == "test" else []
    for each in pyproject()["dependency-groups"][group]:
        found += wanted(each["include-group"]) if isinstance(each, dict) else [Requirement(each)]
    return found


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", pythons())
@pytest.mark.parametrize("group", [*PINNED, *(f"extras/{name}" for name in extras())])
def test_pins_satisfy_pyproject_everywhere(group: str, python: str, machine: str) -> None:
    environment = environment_of(python, machine)
    versions = pinned(group, environment)
    for each in wanted(group):
        if each.marker is None or each.marker.evaluate(environment):
            assert versions[canonicalize_name(each.name)] in each.specifier, f"{each} (repair: make lock)"
    assert versions.items() <= pinned("test", environment).items(), "the tests run other versions (repair: make lock)"


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").rglob("*.txt")), ids=named)
def test_whatever_is_fetched_has_one_version_and_its_hashes(path: Path) -> None:
    """What tests fetch of vendors' packages too: some of it is imported."""
    entries = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    assert entries
    for entry in entries:
        text, *hashes = entry.split(" --hash=sha256:")
        assert str(Requirement(text).specifier).startswith("==")
        assert hashes
        assert all(re.fullmatch(r"[0-9a-f]{64}\s*", each) for each in hashes)


def test_stubs_are_pinned_within_pyproject() -> None:
    versions = pinned("stubs", environment_of(pythons()[-1], MACHINES[0]))
    assert list(versions) == ["tensorrt-stubs"]
    assert all(versions[each.name] in each.specifier for each in wanted("stubs")), "repair: make lock"


def test_every_supported_python_is_checked() -> None:
    supported = SpecifierSet(pyproject()["project"]["requires-python"])
    assert [f"3.{minor}" for minor in range(30) if f"3.{minor}" in supported] == pythons()


def test_wheel_holds_the_device_s_part_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(name for name in names if name.endswith(".dist-info/METADATA"))).decode()
    source = {named(path) for path in (ROOT / "edgecell").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {name for name in names if ".dist-info/" not in name} == source
    assert {"edgecell/py.typed", "edgecell/schemas/counts-1.json", "edgecell/bundles/pbc8/u8s8.onnx"} <= names
    assert {"LICENSE", "NOTICE"} <= {Path(name).name for name in names if ".dist-info/licenses/" in name}
    assert not {name for name in names if Path(name).suffix.lower() in PICTURES}
    assert not re.search(r"^Requires-Dist: (?:torch|onnx)\b(?!.*; extra ==)", metadata, re.MULTILINE)
    with capsys.disabled():
        print(f"\n{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB")
