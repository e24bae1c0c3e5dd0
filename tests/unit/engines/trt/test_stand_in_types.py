"""The stand-in for TensorRT beside the vendor's stubs: what it has takes the same arguments, mypy's stubtest says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
STUBS = ROOT / ".stubs"
OVERLOADED = {
    # The stand-in has the one form that is used.
    "ICudaEngine.create_execution_context",
    "Runtime.deserialize_cuda_engine",
    "ErrorCode.name",
}
NAME = re.compile(r"^tensorrt_bindings\.tensorrt\.([\w.]+) (?!is not present at runtime)", re.MULTILINE)
AS_THE_STUBS_NAME_IT = (
    "import tensorrt\nglobals().update({name: each for name, each in vars(tensorrt).items() if name[:2] != '__'})\n"
)


def differing(folder: Path, change: str) -> set[str]:
    """Public members of the stand-in's classes that stubtest finds fault with. change: Python that alters it first."""
    if not STUBS.is_dir():
        pytest.skip("the stubs are not there: make types")
    package = folder / "tensorrt_bindings"
    package.mkdir()
    (package / "__init__.py").write_text("from tensorrt_bindings.tensorrt import *\n")
    (package / "tensorrt.py").write_text(AS_THE_STUBS_NAME_IT + change)
    (folder / "mypy.ini").write_text(f"[mypy]\nmypy_path = {STUBS}\nignore_errors = true\n")
    command = [sys.executable, "-m", "mypy.stubtest", "tensorrt_bindings.tensorrt", "--concise", "--ignore-missing-stub"]
    paths = [str(each) for each in (folder, ROOT / "tests/stand_ins", ROOT / "tests")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "TENSORRT_STAND_IN_VERSION": "10.13.0"}
    ended = subprocess.run(
        [*command, "--mypy-config-file", "mypy.ini"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert "tensorrt_bindings.tensorrt.IActivationLayer is not present at runtime" in ended.stdout, ended.stdout + ended.stderr
    found = set(NAME.findall(ended.stdout))
    return {each for each in found if "." in each and "__" not in each and not each.endswith("Severity")}


def test_the_stand_in_takes_the_arguments_of_the_vendor_s_stubs(tmp_path: Path) -> None:
    """It is altered in one place, to see that such a fault is found; nothing else is."""
    altered = "tensorrt.IExecutionContext.execute_async_v3 = lambda self, stream: True\n"
    assert differing(tmp_path, altered) == OVERLOADED | {"IExecutionContext.execute_async_v3"}
