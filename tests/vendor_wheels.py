"""NVIDIA's own packages of TensorRT's Python bindings, for tests: fetched by their pinned hashes, kept, and made to load.

The bindings need TensorRT's libraries, which are large, only to be called. `tests/stand_ins/libnvinfer.c` is what their loader
asks for and no more, so every version's real module can be imported and looked at on a machine without TensorRT.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgecell-tests"
BINDINGS = {tuple(map(int, path.stem.split("."))): path for path in sorted((ROOT / "requirements/tensorrt").glob("*.txt"))}
"""Version -> requirements file."""
LIBRARIES = ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser", "libnvparsers")
COMPLETE = ROOT / "requirements/tensorrt-complete.txt"
PATIENCE_S = 240.0
_STUB = ROOT / "tests/stand_ins/libnvinfer.c"


@cache
def fetch(requirements: Path, *more: str) -> Path:
    """A folder with the wheels of a requirements file. Skips the test, with pip's reason, when they cannot be had.

    more: pip's options for another Python than this one.
    """
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    tag = "-".join(
        [requirements.stem, *(option.rpartition("=")[2] for option in more)] if more else [requirements.stem, python]
    )
    folder = CACHE / tag
    if not folder.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        new = CACHE / f"{tag}.{os.getpid()}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]
        command += ["--retries=1", "--timeout=15", *more, f"--dest={new}", f"--requirement={requirements}"]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        except subprocess.TimeoutExpired:
            shutil.rmtree(new, ignore_errors=True)
            pytest.skip(f"cannot be fetched within {PATIENCE_S:.0f} s: {requirements.name}")
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


@cache
def complete() -> Path:
    """TensorRT 8.6's own libraries, all but the kernels that a build would choose from, to be put on LD_LIBRARY_PATH.

    They are in one wheel of 819 MB, for CPython 3.10; the bindings of 8.6.1 for other versions load over them. Of cuBLAS and
    cuDNN there are only names, which the loader wants.
    """
    for program in ("gcc", "nm"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not there")
    folder = CACHE / "tensorrt-8.6.0-libraries"
    if not folder.is_dir():
        options = ("--python-version=3.10", "--implementation=cp", "--abi=none", "--platform=manylinux_2_17_x86_64")
        wheels = fetch(COMPLETE, *options)
        new = Path(tempfile.mkdtemp(dir=CACHE))
        with zipfile.ZipFile(next(wheels.glob("*.whl"))) as archive:
            for member in archive.namelist():
                name = Path(member).name
                if name.startswith("libnv") and "builder_resource" not in name:
                    with archive.open(member) as source, (new / name).open("wb") as target:
                        shutil.copyfileobj(source, target)
        _names_of_cuda_libraries(new)
        new.rename(folder)
        shutil.rmtree(wheels)
    return folder


def _names_of_cuda_libraries(folder: Path) -> None:
    """Libraries with the symbols, and their versions, that TensorRT's plugins were linked against; each gives 1 when called."""
    command = ["nm", "--dynamic", "--undefined-only", str(folder / "libnvinfer_plugin.so.8")]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    wanted: dict[str, list[str]] = {}
    for symbol, library in re.findall(r"(\w+)@+(libcu\S+)", listed):
        wanted.setdefault(library, []).append(symbol)
    for library, symbols in wanted.items():
        source, versions = folder / f"{library}.c", folder / f"{library}.map"
        source.write_text("".join(f"int {each}(void) {{ return 1; }}\n" for each in symbols), encoding="utf-8")
        versions.write_text(f"{library} {{ global: *; }};\n", encoding="utf-8")
        options = [f"-Wl,-soname,{library}", f"-Wl,--version-script={versions}"]
        subprocess.run(["gcc", "-shared", "-fPIC", *options, "-o", folder / library, source], check=True)
