"""The stubs that mypy reads TensorRT and CUDA from: that they are mended exactly, and say what the installed package says."""

import ast
import re

import pytest
import vendor_stubs
from cuda.bindings import runtime

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
