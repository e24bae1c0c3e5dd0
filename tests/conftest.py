"""What tests share: no journal and no cache in the home of whoever runs them; a machine with NVIDIA's driver and TensorRT, of
stand-ins."""

import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import logging_restored
from gpu_stand_in import GPU, Gpu
from vendor_wheels import CACHE  # as it was before the tests got one of their own

from edgecell.engines.trt import driver

STAND_INS = Path(__file__).parent / "stand_ins"
PACKAGES = ("tensorrt", "tensorrt_bindings", "cuda", "pycuda", "stand_ins")


def pytest_configure(config: pytest.Config) -> None:
    state = tempfile.TemporaryDirectory(prefix="edgecell-tests-")
    os.environ["XDG_STATE_HOME"] = state.name
    os.environ.setdefault("PIP_CACHE_DIR", str(CACHE.parent / "pip"))
    os.environ["XDG_CACHE_HOME"] = state.name
    config.add_cleanup(state.cleanup)


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """A command sets the log up for its process: the next test has none of it."""
    with logging_restored():
        yield


@dataclass(frozen=True, slots=True)
class StandInMachine:
    """A machine on which the stand-ins are found instead of NVIDIA's libraries, in this process and in those it starts."""

    patch: pytest.MonkeyPatch

    def tensorrt(self, version: str, *, fault: str = "", seconds: float = 0.0) -> None:
        """TensorRT is of this version, and what goes wrong with it: see tests/stand_ins/tensorrt."""
        self.patch.setenv("TENSORRT_STAND_IN_VERSION", version)
        self.patch.setenv("TENSORRT_STAND_IN_FAULT", fault)
        self.patch.setenv("TENSORRT_STAND_IN_SECONDS", str(seconds))
        forget()

    def driver(self, **told: int) -> None:
        """What the driver answers: init, version, devices, sm, mib. See tests/stand_ins/libcuda.c."""
        for name, value in told.items():
            self.patch.setenv(f"LIBCUDA_STAND_IN_{name.upper()}", str(value))


def forget() -> None:
    """Vendors' packages are imported anew, as another version for example."""
    for name in [each for each in sys.modules if each.partition(".")[0] in PACKAGES]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def libcuda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in for libcuda.so.1, compiled."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for the stand-in of libcuda")
    library = tmp_path_factory.mktemp("libcuda") / "libcuda.so.1"
    command = [compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(library), str(STAND_INS / "libcuda.c")]
    subprocess.run(command, check=True)
    return library


@pytest.fixture
def stand_in_packages(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInMachine]:
    """TensorRT 10.3.0, cuda-python and pycuda; no driver. Whatever was imported before of that name is back afterwards."""
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in PACKAGES}
    monkeypatch.syspath_prepend(STAND_INS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(STAND_INS), str(STAND_INS.parent)]))
    machine = StandInMachine(monkeypatch)
    machine.tensorrt("10.3.0")
    yield machine
    forget()
    sys.modules.update(kept)


@pytest.fixture
def stand_in_machine(stand_in_packages: StandInMachine, monkeypatch: pytest.MonkeyPatch, libcuda: Path) -> StandInMachine:
    """One device behind CUDA 12.6, and those packages."""
    monkeypatch.setattr(driver, "LIBRARY", str(libcuda))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(libcuda.parent))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return stand_in_packages


@pytest.fixture
def gpu(stand_in_packages: StandInMachine) -> Iterator[Gpu]:
    """The stand-in for a GPU. When the test is over nothing is left on it, and nothing was misused."""
    GPU.reset()
    yield GPU
    gc.collect()
    assert GPU.misuses == []
    assert GPU.live() == {}
