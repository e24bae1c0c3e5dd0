"""TensorRT on machines without a GPU: whatever is or is not installed, a command ends in one line and its exit code.

Each command is a process of its own, because the vendor's library can take the process with it: TensorRT 8.6 does where it is
asked for a runtime and there is no driver. The real library is used where it can be fetched.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import vendor_wheels
from command_line import ENVIRONMENT, PATIENCE_S, Ended

Settings = Mapping[str, str]
RUN = ("run", "--engine", "trt", "--max-frames", "1")
AUTO = ("run", "--engine", "auto", "--max-frames", "1", "--json")
PREPARE = ("prepare", str(Path(__file__).with_name("no_gpu.toml")))
WITHOUT_DRIVER = (
    "as it is",
    "no device",
    "driver does not start",
    "TensorRT 8.6, no driver",
    "TensorRT 11.4 without libraries",
)
WITH_DEVICE = ("a device alone", "a device, TensorRT 11.4 without libraries")
NOTHING_BEHIND = ("a device, TensorRT 11.4 that makes nothing", "a device that is none, TensorRT 8.6")


@pytest.fixture
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """The environment of a kind of machine, by its name."""
    kind: str = request.param
    python, libraries, told = [ENVIRONMENT["PYTHONPATH"]], [], {}
    if "device" in kind or "driver does" in kind:
        libraries.append(str(request.getfixturevalue("libcuda").parent))
        told["LIBCUDA_STAND_IN_DEVICES"] = "0" if kind == "no device" else "1"
        told["LIBCUDA_STAND_IN_VERSION"] = "13090"  # new enough for any CUDA binding
        told["LIBCUDA_STAND_IN_INIT"] = "999" if kind == "driver does not start" else "0"
    if "11.4" in kind:
        python.append(str(vendor_wheels.bindings((11, 4, 0), tmp_path / "bindings")))
        libraries += [str(vendor_wheels.libraries((11, 4, 0), tmp_path / "libraries"))] if "makes nothing" in kind else []
    if "8.6" in kind:
        python.append(str(vendor_wheels.bindings((8, 6, 1), tmp_path / "bindings")))
        libraries.append(str(vendor_wheels.complete()))
    told |= {"PYTHONPATH": os.pathsep.join(python), "LD_LIBRARY_PATH": os.pathsep.join(libraries)}
    visible = {name: value for name, value in ENVIRONMENT.items() if name != "CUDA_VISIBLE_DEVICES"}
    return {**visible, **told, "XDG_CACHE_HOME": str(tmp_path / "cache")}


def ended(machine: Settings, *arguments: str) -> Ended:
    """How a command ended. Fails when a signal ended it."""
    command = [sys.executable, "-m", "edgecell", *arguments]
    done = subprocess.run(command, env=dict(machine), capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode >= 0, f"signal {-done.returncode}: {done.stderr}"
    assert "Traceback" not in done.stdout + done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


def error_of(machine: Settings, *arguments: str, code: int) -> str:
    """The one line that a command ended with; before it there is but progress."""
    told = ended(machine, *arguments)
    assert told.code == code, told.err
    *progress, line = told.err.splitlines()
    assert all(each.startswith("pbc8") for each in progress), told.err
    assert line.startswith("edgecell: error: ")
    assert ". Fix: " in line
    assert told.out == ""
    return line


@pytest.mark.parametrize("machine", WITHOUT_DRIVER, indirect=True)
def test_without_a_driver_the_missing_thing_is_named(machine: Settings) -> None:
    lines = {error_of(machine, *command, code=3) for command in (RUN, PREPARE)}
    assert len(lines) == 1, "both see the same"
    assert "NVIDIA driver" in lines.pop()
    report = ended(machine, "doctor")
    assert (report.code, report.err) == (0, "")


@pytest.mark.parametrize("machine", ["as it is", "TensorRT 8.6, no driver", "a device alone"], indirect=True)
def test_auto_runs_on_the_cpu_and_says_why(machine: Settings) -> None:
    told = ended(machine, *AUTO)
    assert told.code == 0, told.err
    engines = {each["engine"] for message in told.documents for each in message.get("models", [])}
    assert engines
    assert all("onnxruntime" in each and "auto: trt cannot be used" in each for each in engines)


@pytest.mark.parametrize("machine", WITH_DEVICE, indirect=True)
def test_without_the_library_it_is_named(machine: Settings) -> None:
    lines = {error_of(machine, *command, code=3) for command in (RUN, PREPARE)}
    assert len(lines) == 1
    expected = r"does not load: libnv\w+\.so\.11: " if "bindings" in machine["PYTHONPATH"] else "TensorRT is not installed"
    assert re.search(expected, lines.pop())


@pytest.mark.parametrize("machine", NOTHING_BEHIND, indirect=True)
def test_a_library_that_fails_takes_nothing_with_it(machine: Settings) -> None:
    """The driver's word is taken, the library is real and loads; what it makes of it is an error like any other."""
    assert "edgecell prepare" in error_of(machine, *RUN, code=6)
    assert re.search(r"TensorRT \d+\.[\d.]+ could not make a builder", error_of(machine, *PREPARE, code=6))
    report = ended(machine, "doctor")
    assert (report.code, report.err) == (0, "")
    assert "not yet verified on a GPU" in " ".join(report.out.split())


@pytest.mark.parametrize("machine", ["TensorRT 8.6, no driver"], indirect=True)
def test_the_real_library_does_crash_where_no_driver_was_looked_for(machine: Settings) -> None:
    """Why the tests above are not empty: this is what would happen in the process itself."""
    program = "import tensorrt_bindings as trt; trt.Runtime(trt.Logger())"
    done = subprocess.run(
        [sys.executable, "-c", program], env=dict(machine), capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode < 0
