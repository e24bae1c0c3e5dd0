"""NVIDIA's own packages of TensorRT's Python bindings, for tests: fetched by their pinned hashes, kept, and made to load.

The bindings need TensorRT's libraries, which are large, only to be called. `tests/stand_ins/libnvinfer.c` is what their loader
asks for and no more, so every version's real module can be imported and looked at on a machine without TensorRT.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgecell-tests"
BINDINGS = {tuple(map(int, path.stem.split("."))): path for path in sorted((ROOT / "requirements/tensorrt").glob("*.txt"))}
"""Version -> requirements file."""
LIBRARIES = ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser", "libnvparsers")
_STUB = ROOT / "tests/stand_ins/libnvinfer.c"


@cache
def fetch(requirements: Path, *more: str) -> Path:
    """A folder with the wheels of a requirements file. Skips the test, with pip's reason, when they cannot be had.

    more: pip's options for another Python than this one.
    """
    tag = "-".join(
        [
            requirements.stem,
            *(option.rpartition("=")[2] for option in more or (f"{sys.version_info[0]}.{sys.version_info[1]}",)),
        ]
    )
    folder = CACHE / tag
    if not folder.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        new = CACHE / f"{tag}.{os.getpid()}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]
        command += ["--retries=1", "--timeout=15", *more, f"--dest={new}", f"--requirement={requirements}"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            shutil.rmtree(new, ignore_errors=True)
            errors = [line for line in ended.stderr.splitlines() if line.startswith("ERROR")]
            pytest.skip(f"cannot be fetched: {(errors or [ended.stderr.strip()])[-1]}")
        if not folder.is_dir():
            new.rename(folder)
    return folder


def bindings(version: tuple[int, ...], folder: Path) -> Path:
    """The real bindings of a version, unpacked to `folder`, to be put on PYTHONPATH. They load only with `libraries`."""
    for wheel in fetch(BINDINGS[version]).glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    return folder


def libraries(version: tuple[int, ...], folder: Path) -> Path:
    """What the bindings' loader asks for, made in `folder`, to be put on LD_LIBRARY_PATH. Skips without a C compiler."""
    if not shutil.which("gcc"):
        pytest.skip("gcc is not there")
    folder.mkdir(parents=True, exist_ok=True)
    for name in LIBRARIES:
        file = f"{name}.so.{version[0]}"
        subprocess.run(["gcc", "-shared", "-fPIC", f"-Wl,-soname,{file}", "-o", folder / file, _STUB], check=True)
    return folder
