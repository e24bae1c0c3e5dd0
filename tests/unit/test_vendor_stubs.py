"""The stubs that mypy reads TensorRT and CUDA from: that they are mended exactly, and say what the installed package says."""

import ast

import pytest
import vendor_stubs
from cuda.bindings import runtime

BROKEN = """\
from __future__ import annotations
import typing
__all__ = ['bool', 'int8']
class IPluginV2:
    def get_workspace_size(self, in: list[int], out: list[int]) -> int: ...
class INetworkDefinition:
    def add_scale_nd(self, shift: Weights = None, power: Weights = None, channel_axis: int) -> IScaleLayer: ...
class IPluginV3:
    def configure_plugin(self: IPluginV3, in: list[int]) -> None: ...
    def get_workspace_size(self: IPluginV3, in: list[int]) -> int: ...
    def on_shape_change(self: IPluginV3, in: list[bool]) -> tuple[int, bool]: ...
class OnnxParser:
    def get_error(self, index: int) -> ...:
        '''says bool too'''
    def parse(self, model: bool) -> bool: ...
bool: DataType
"""


def test_what_is_wrong_in_tensorrt_s_stub_is_mended() -> None:
    with pytest.raises(SyntaxError):
        ast.parse(BROKEN)
    mended = vendor_stubs.mend(BROKEN)
    ast.parse(mended)
    assert "def parse(self, model: _bool) -> _bool: ..." in mended
    assert "inputs: list[_bool]) -> tuple[int, _bool]" in mended
    assert "-> ParserError:" in mended
    assert {"bool: DataType", "__all__ = ['bool', 'int8']"} <= set(mended.splitlines())


@pytest.mark.parametrize("text", ["in: list[int], out", "-> ...:", "channel_axis: int)", "import typing\n"])
def test_another_stub_than_the_known_one_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"times, not|does not import"):
        vendor_stubs.mend(BROKEN.replace(text, "", 1))


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
