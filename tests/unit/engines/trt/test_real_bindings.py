"""What is used of TensorRT, looked up in NVIDIA's own bindings of each version: no name is invented, or used before its time.

The bindings are the vendor's wheels, imported in a process of their own. What they stand on is `tests/stand_ins/libnvinfer.c`.
"""

import ast
import importlib
import json
import os
import subprocess
import sys
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import vendor_names
import vendor_wheels
from vendor_names import Use, Version

from edgecell.engines.trt.library import Library
from edgecell.errors import EngineError

ROOT = Path(__file__).parents[4]
ANY_MODULE: Any = None
PACKAGE = "edgecell.engines.trt"
MEETS_OURS = """
import tensorrt_bindings as trt
from edgecell.engines.trt import logger, versions

listener = logger.Listener(trt)
listener.logger.log(trt.ILogger.ERROR, "one\\n two")
print("heard:", listener.take())
print("dims:", tuple(trt.Dims((1, -1, 3))))
if hasattr(trt, "PluginTensorDesc"):
    trt.PluginTensorDesc().dims = (1, -1, 3)  # a tuple in place of Dims
if hasattr(trt, "IProgressMonitor"):
    class Config:
        progress_monitor = None
    monitor = versions.watched(trt, Config(), lambda *told: print("told:", *told))
    monitor.phase_start("tactics", None, 3)
    monitor.step_complete("tactics", 0)
try:
    trt.Builder(listener.logger)
except (TypeError, RuntimeError) as error:
    print("refused:", type(error).__name__)
"""


@cache
def used() -> tuple[list[Use], list[str]]:
    if not (ROOT / ".stubs").is_dir():
        pytest.skip("the stubs are not there: make types")
    pytest.importorskip("mypy")
    return vendor_names.uses(PACKAGE, ROOT)


def run(version: Version, folder: Path, *command: str) -> str:
    """Standard output of Python with the real bindings of a version, and libraries that give nothing."""
    name = ".".join(map(str, version))
    bindings = vendor_wheels.bindings(version, folder / name / "site")
    libraries = vendor_wheels.libraries(version, folder / name / "libraries")
    environment = os.environ | {"PYTHONPATH": f"{bindings}:{ROOT}:{ROOT / 'tests'}", "LD_LIBRARY_PATH": str(libraries)}
    ended = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@cache
def offered(version: Version, folder: Path) -> dict[str, dict[str, str]]:
    """What the real bindings of a version have: owner -> member -> docstring."""
    names: dict[str, dict[str, str]] = json.loads(run(version, folder, str(ROOT / "tests/vendor_names.py")))
    return names


@pytest.fixture(params=vendor_wheels.BINDINGS, ids=lambda version: ".".join(map(str, version)))
def version(request: pytest.FixtureRequest) -> Version:
    asked: Version = request.param
    return asked


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bindings")


def test_every_name_used_is_in_every_version_that_comes_by(version: Version, folder: Path) -> None:
    names = offered(version, folder)
    missing = [each.missing(names) for each in used()[0] if each.served(version)]
    assert not [each for each in missing if each]


def test_names_are_found_where_they_are_used() -> None:
    """That the list is not empty for want of types: what is known to be used, with its class and its versions."""
    found = {(each.owner, each.name, each.argument, each.since, each.until) for each in used()[0]}
    assert {
        ("", "Builder", "", (0,), None),
        ("BuilderFlag", "INT8", "", (8, 6), (10, 12)),
        ("IExecutionContext", "execute_async_v3", "", (0,), None),
        ("IBuilderConfig", "set_timing_cache", "ignore_mismatch", (0,), None),
        ("IProgressMonitor", "phase_start", "", (10, 0), None),
        ("ILogger", "log", "", (0,), None),
    } <= found


def test_nothing_without_a_type_is_used_beside_tensorrt() -> None:
    found, untyped = used()
    files = {each.place.partition(":")[0] for each in found}
    assert {"builder.py", "network.py", "versions.py"} <= files
    assert not [each for each in untyped if each.partition(":")[0] in files]


def test_an_invented_name_or_one_of_another_version_would_be_noticed(version: Version, folder: Path) -> None:
    names = offered(version, folder)

    def missing(owner: str, name: str, argument: str = "") -> bool:
        use = Use(owner=owner, name=name, argument=argument, place="", since=(0,), until=None)
        return bool(use.missing(names))

    assert missing("IBuilderConfig", "set_flags_of_mine")
    assert missing("", "IBuilderOfMine")
    assert missing("IBuilderConfig", "set_timing_cache", "mismatch")
    assert missing("BuilderFlag", "INT8") == (version >= (11,))
    assert missing("NetworkDefinitionCreationFlag", "STRONGLY_TYPED") == (version < (10,))


def test_what_we_derive_from_the_real_classes_works(version: Version, folder: Path) -> None:
    told = run(version, folder, "-c", MEETS_OURS).splitlines()
    monitor = ["told: tactics 0 3", "told: tactics 1 3"] if version >= (10,) else []
    assert told == ["heard: one two", "dims: (1, -1, 3)", *monitor, "refused: TypeError"]


def test_the_stand_in_knows_nothing_that_the_real_one_does_not(version: Version, folder: Path) -> None:
    """Else what is proved on the stand-in could still fail on the version that it stands for."""
    real = offered(version, folder)
    stand_ins = os.pathsep.join([str(ROOT / "tests/stand_ins"), str(ROOT / "tests")])
    environment = os.environ | {"PYTHONPATH": stand_ins, "TENSORRT_STAND_IN_VERSION": ".".join(map(str, version))}
    command = [sys.executable, str(ROOT / "tests/stand_in_names.py")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    defined: dict[str, dict[str, list[str]]] = json.loads(ended.stdout)
    assert {"Builder", "ICudaEngine", "ILogger.Severity"} <= set(defined)
    uses = [
        Use(owner=owner, name=name, argument=argument, place="stand-in", since=(0,), until=None)
        for owner, names in defined.items()
        for name, arguments in names.items()
        for argument in arguments or [""]
    ]
    assert [missing for each in uses if (missing := each.missing(real))] == []


def picked() -> list[tuple[str, list[Any]]]:
    """Where a way is picked by version, and the ways, in all modules of the package."""
    found = []
    for path in sorted((ROOT / PACKAGE.replace(".", "/")).glob("*.py")):
        module = importlib.import_module(f"{PACKAGE}.{path.stem}")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "pick":
                ways = [attrgetter(ast.unparse(each))(module) for each in node.args]
                found.append((f"{path.name}:{node.lineno}", ways))
    return found


def test_every_version_has_exactly_one_way_wherever_ways_part() -> None:
    versions = [(8, 6), *((10, minor) for minor in range(20)), *((11, minor) for minor in range(10))]
    places = picked()
    assert len(places) >= 8
    for version in versions:
        library = Library(module=ANY_MODULE, version=version, text="")
        for place, ways in places:
            assert sum(serves(library, way) for way in ways) == 1, f"{place}, {version}"


def serves(library: Library, way: Any) -> bool:
    try:
        library.pick(way)
    except EngineError:
        return False
    return True
