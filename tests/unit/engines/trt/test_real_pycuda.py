"""What is used of pycuda, looked up in its own sources: it has no stubs, and builds only where CUDA's headers are.

The sources are fetched from the package index by their pinned hash, and kept; nothing of them is run by the tests.
"""

import ast
import inspect
import re
import shutil
import subprocess
import sys
import tarfile
from functools import cache
from pathlib import Path

import pytest
import vendor_wheels
from conftest import StandInMachine

ROOT = Path(__file__).parents[4]
BINDING = ROOT / "edgecell/engines/trt/pycuda_binding.py"
PINNED = ROOT / "requirements/pycuda/2026.1.txt"


@cache
def sources() -> dict[str, str]:
    """Path inside the archive -> text. Skips, with pip's reason, where it cannot be fetched."""
    folder = vendor_wheels.CACHE / f"pycuda-{PINNED.stem}"
    if not any(folder.glob("*.tar.gz")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=pycuda", "--require-hashes"]
        command += ["--retries=1", "--timeout=15", f"--dest={folder}", f"--requirement={PINNED}"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            pytest.skip(f"pycuda's sources cannot be fetched: {ended.stderr.strip().splitlines()[-1]}")
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        wanted = [each for each in archive.getmembers() if each.name.endswith((".py", ".cpp", ".hpp")) and each.isfile()]
        found = {each.name.partition("/")[2]: archive.extractfile(each) for each in wanted}
        return {name: file.read().decode("utf-8", "replace") for name, file in found.items() if file}


@cache
def offered() -> dict[str, set[str]]:
    """Class -> members, as its C++ declares them to Python; "" is the module."""
    text = sources()["src/wrapper/wrap_cudadrv.cpp"]
    declared = re.compile(r'py::(?:class_|enum_)<[^;"]*?>\s*(?:wrp)?\(\s*"(\w+)"')
    starts = [(each.start(), each[1]) for each in declared.finditer(text)]
    ends = [start for start, _ in starts[1:]] + [len(text)]
    member = re.compile(r'\.(?:def|add_property|value)\(\s*"(\w+)"|DEF_SIMPLE_METHOD(?:_WITH_ARGS)?\((\w+)')
    found = {
        name: {one or other for one, other in member.findall(text[start:end])}
        for (start, name), end in zip(starts, ends, strict=True)
    }
    functions = set(re.findall(r'py::def\(\s*"(\w+)"', text)) | set(
        re.findall(r"DEF_SIMPLE_FUNCTION(?:_WITH_ARGS)?\((\w+)", text)
    )
    errors = set(re.findall(r"DECLARE_EXC\((\w+),", text)) | set(re.findall(r'"pycuda\._driver\.(\w+)"', text))
    return {**found, "": functions | errors | set(found)}


def used_of_the_module() -> set[str]:
    """What the binding reads of `self._driver`, and of what it calls `flags`, which is `event_flags`."""
    found = set()
    for node in ast.walk(ast.parse(BINDING.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self._driver":
            found.add(node.attr)
    return found


def test_every_name_of_the_module_is_there() -> None:
    used = used_of_the_module()
    assert {"init", "Device", "Context", "mem_alloc", "pagelocked_empty", "Stream", "Event", "memcpy_htod_async"} <= used
    assert used - offered()[""] == set()


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        ("Device", {"retain_primary_context"}),
        ("Context", {"push", "pop", "detach"}),
        ("Stream", {"synchronize", "handle"}),
        ("Event", {"record", "synchronize", "time_till"}),
        ("DeviceAllocation", {"free", "__int__"}),
        ("PagelockedHostAllocation", {"free"}),
        ("event_flags", {"BLOCKING_SYNC", "DISABLE_TIMING"}),
    ],
)
def test_every_member_used_is_there(owner: str, names: set[str]) -> None:
    source = BINDING.read_text(encoding="utf-8")
    assert all(f".{name}" in source or name == "__int__" for name in names), "and is used"
    assert names - offered()[owner] == set()


def test_an_invented_name_would_be_noticed() -> None:
    assert "begin_capture" not in offered()["Stream"]
    assert "handle" not in offered()["Event"]
    assert "cuda_malloc" not in offered()[""]


def test_this_pycuda_has_no_graphs() -> None:
    """Which is why the binding says so. A version that has them would be worth a look."""
    text = sources()["src/wrapper/wrap_cudadrv.cpp"] + sources()["src/cpp/cuda.hpp"]
    assert "cuStreamSynchronize" in text
    assert "cuStreamBeginCapture" not in text
    assert "cuGraphLaunch" not in text


def test_the_version_is_where_it_is_looked_for() -> None:
    assert re.search(r"^VERSION_TEXT = ", sources()["pycuda/__init__.py"], re.MULTILINE)
    assert "from pycuda._driver import *" in sources()["pycuda/driver.py"]


def test_the_stand_in_knows_nothing_that_the_real_one_does_not(stand_in_packages: StandInMachine) -> None:
    import pycuda.driver

    ours = {name: each for name, each in vars(pycuda.driver).items() if getattr(each, "__module__", "") == "pycuda.driver"}
    public = {name: each for name, each in ours.items() if not name.startswith("_")}
    assert set(public) - offered()[""] == set()
    for name, each in public.items():
        if isinstance(each, type) and name in offered():
            assert {member for member in vars(each) if not member.startswith("_") and member != "of"} - offered()[name] == set()
    text = sources()["src/wrapper/wrap_cudadrv.cpp"]
    for name in ("memcpy_htod_async", "memcpy_dtoh_async", "pagelocked_empty"):
        declared = re.search(rf'py::def\("{name}",.*?\);', text, re.DOTALL)
        assert declared
        assert re.findall(r'py::args?\("(\w+)"', declared[0]) == list(inspect.signature(public[name]).parameters)
