"""The stubs that mypy reads TensorRT and CUDA from: that they are mended exactly, and say what the installed package says."""

import ast
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import vendor_stubs
import vendor_wheels
from cuda.bindings import runtime

ROOT = Path(__file__).parents[2]

BROKEN = "\n".join(wrong for wrong, _, times in vendor_stubs.MENDS for _ in range(times))


def test_what_is_wrong_in_tensorrt_s_stub_is_mended() -> None:
    mended = vendor_stubs.mend(BROKEN)
    assert all(right in mended for _, right, _ in vendor_stubs.MENDS)
    assert not re.search(r"\bin: ", mended)


def test_bool_is_python_s_as_a_type_and_tensorrt_s_as_a_name() -> None:
    stub = "__all__ = ['bool']\ndef f(x: bool, y: list[bool] = [], *, z: int) -> bool:\n    ...\nbool: DataType\n"
    expected = "__all__ = ['bool']\ndef f(x: _bool, y: list[_bool] = [], *, z: int) -> _bool:\n    ...\nbool: DataType\n"
    assert vendor_stubs.mend(BROKEN + stub).endswith(expected)


@pytest.mark.parametrize("wrong", [wrong for wrong, _, _ in vendor_stubs.MENDS])
def test_another_stub_than_the_known_one_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(wrong))):
        vendor_stubs.mend(BROKEN.replace(wrong, "", 1))
    with pytest.raises(ValueError, match="times, not"):
        vendor_stubs.mend(BROKEN + wrong)


def test_cuda_s_stub_holds_every_function_and_enumeration_of_the_installed_package() -> None:
    stub = ast.parse("\n".join(vendor_stubs.cuda_lines()))
    functions = {node.name: node for node in stub.body if isinstance(node, ast.FunctionDef)}
    classes = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}
    public = {name: getattr(runtime, name) for name in dir(runtime) if name.startswith("cuda")}
    assert {name for name, each in public.items() if isinstance(each, type)} == set(classes)
    callables = {name for name, each in public.items() if callable(each) and not isinstance(each, type)}
    assert callables - set(functions) <= {"cudaGetExportTable"}  # whose docstring says less
    assert len(functions) > 300
    for name, function in functions.items():
        parameters = [each.arg for each in function.args.args]
        code = public[name].__code__
        assert parameters == list(code.co_varnames[: code.co_argcount]), name
    members = {ast.unparse(node.targets[0]) for node in classes["cudaMemcpyKind"].body if isinstance(node, ast.Assign)}
    assert members == set(runtime.cudaMemcpyKind.__members__)


def test_cuda_s_stub_says_what_a_function_returns() -> None:
    lines = set("\n".join(vendor_stubs.cuda_lines()).splitlines())
    assert "def cudaMalloc(size: int) -> tuple[cudaError_t, Any]: ..." in lines
    assert "def cudaEventElapsedTime(start: Any, end: Any) -> tuple[cudaError_t, float]: ..." in lines
    copy = "def cudaMemcpyAsync(dst: Any, src: Any, count: int, kind: cudaMemcpyKind, stream: Any) -> tuple[cudaError_t]: ..."
    assert copy in lines
    assert isinstance(runtime.cudaGetDeviceCount()[0], runtime.cudaError_t), "the error comes first, in a tuple"


@pytest.mark.parametrize("requirements", sorted((ROOT / "requirements/cuda").glob("*.txt")), ids=lambda path: str(path.stem))
def test_what_is_used_of_cuda_is_the_same_in_older_versions(requirements: Path, tmp_path: Path) -> None:
    """Names, arguments and results of every function that edgecell calls, in packages of CUDA 12 and of the installed one."""
    source = (ROOT / "edgecell/engines/trt/cuda_python.py").read_text(encoding="utf-8")
    used = set(re.findall(r"\bruntime\.(cuda\w+)", source))
    assert {"cudaMalloc", "cudaStreamBeginCapture", "cudaStreamNonBlocking", "cudaMemcpyKind"} <= used
    for wheel in vendor_wheels.fetch(requirements).glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tmp_path)
    program = "import cuda.bindings, vendor_stubs; print(cuda.bindings.__version__, *vendor_stubs.cuda_lines(), sep='\\n')"
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT / 'tests'}"}
    command = [sys.executable, "-c", program]
    older = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert older[0].startswith(requirements.stem)
    said = [line for line in vendor_stubs.cuda_lines() if set(re.findall(r"^(?:def |class )?(cuda\w+)", line)) & used]
    assert len(said) == len(used)
    for line in said:
        if line.startswith("class"):
            assert line.partition("\n")[0] in older
        else:
            assert line in older
