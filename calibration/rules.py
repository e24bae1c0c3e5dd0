"""What TensorRT accepts in a Q/DQ graph, and what it needs to fuse it into INT8 kernels.

Each rule stands for a parser error or a slow plan that somebody met: non-zero zero points (TensorRT issues 2774, 4698), an
int32 DequantizeLinear on a bias (onnxruntime 14229, 17738), Q/DQ between Conv, Add and ReLU, which breaks their fusion
(NVIDIA's Q/DQ placement recommendations and Model-Optimizer's settings).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from calibration.quantize import before_qdq, final_layers, narrow_convs

# Between a weighted layer and these a Q/DQ pair only hinders fusion, or is moved through them by the builder itself.
_TRANSPARENT = {"Relu", "Sigmoid", "Softmax", "Concat", "Reshape", "Flatten", "Transpose", "Clip"}
_FINAL = {"Gemm", "MatMul"}


def violations(path: Path, kept_float: Collection[str] = ()) -> list[str]:
    """One line for each violation in an `s8s8` model, with the node's name; empty if TensorRT should take it as it is.

    kept_float: Conv nodes of 16 and more channels that were left float on purpose.
    """
    graph = _Graph(onnx.load(path))
    return [*_pair_rules(graph), *_conv_rules(graph, kept_float), *_add_rules(graph), *_other_rules(graph)]


@dataclass
class _Graph:
    """An ONNX graph with the look-ups that the rules need."""

    model: Any
    nodes: list[Any] = field(init=False)
    makers: dict[str, Any] = field(init=False)
    constants: dict[str, NDArray[Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.nodes = list(self.model.graph.node)
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.constants = {each.name: numpy_helper.to_array(each) for each in self.model.graph.initializer}

    def made_by(self, name: str, op_type: str) -> bool:
        return name in self.makers and self.makers[name].op_type == op_type

    def quantized(self, name: str) -> bool:
        return self.made_by(name, "DequantizeLinear")

    def users(self, name: str) -> list[Any]:
        return [node for node in self.nodes if name in node.input]


def _pair_rules(graph: _Graph) -> Iterator[str]:
    """Symmetric int8, in whole pairs."""
    for node in graph.nodes:
        if node.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
            continue
        if node.domain not in {"", "ai.onnx"}:
            yield f"{node.name}: domain {node.domain} is not standard ONNX"
        yield from _numbers(graph, node)
        if node.op_type == "QuantizeLinear":
            if any(each.op_type != "DequantizeLinear" for each in graph.users(node.output[0])):
                yield f"{node.name}: is not followed by DequantizeLinear alone"
        elif not graph.made_by(node.input[0], "QuantizeLinear"):
            yield f"{node.name}: has no QuantizeLinear before it"
        elif list(graph.makers[node.input[0]].input[1:]) != list(node.input[1:]):
            yield f"{node.name}: scale or zero point differ from its QuantizeLinear"


def _numbers(graph: _Graph, node: Any) -> Iterator[str]:
    scale = graph.constants.get(node.input[1])
    if scale is None or not np.all(np.isfinite(scale)) or not np.all(scale > 0):
        yield f"{node.name}: scale is not a positive constant"
    zero = graph.constants.get(node.input[2]) if len(node.input) > 2 else None
    if zero is None or zero.dtype != np.int8:
        yield f"{node.name}: zero point is {'missing' if zero is None else zero.dtype}, not int8"
    elif np.any(zero != 0):
        yield f"{node.name}: zero point is not 0"


def _conv_rules(graph: _Graph, kept_float: Collection[str]) -> Iterator[str]:
    """Input and weight quantized together, the weight per output channel, the bias float; narrow ones left out."""
    narrow = {*narrow_convs(graph.model), *final_layers(graph.model)}
    for node in graph.nodes:
        if node.op_type != "Conv":
            continue
        data, weight = graph.quantized(node.input[0]), graph.quantized(node.input[1])
        if data != weight:
            yield f"{node.name}: only its {'input' if data else 'weight'} is quantized"
        elif not data and node.name not in narrow and node.name not in kept_float:
            yield f"{node.name}: is not quantized"
        elif data and node.name in narrow:
            yield f"{node.name}: is quantized with fewer than 16 channels"
        if weight:
            yield from _per_channel(graph, node, graph.makers[node.input[1]])
        if data and _scale(graph, node.input[0]).size != 1:
            yield f"{node.name}: its input is not quantized per tensor"


def _per_channel(graph: _Graph, conv: Any, dequantize: Any) -> Iterator[str]:
    axis = next((each.i for each in dequantize.attribute if each.name == "axis"), 1)
    channels = graph.constants[before_qdq(graph.makers, conv.input[1])].shape[0]
    if axis != 0 or _scale(graph, conv.input[1]).shape != (channels,):
        yield f"{conv.name}: its weight is not quantized per channel on axis 0"


def _add_rules(graph: _Graph) -> Iterator[str]:
    """In a residual addition the skip input alone is quantized."""
    for node in graph.nodes:
        if node.op_type != "Add" or any(name in graph.constants for name in node.input):
            continue
        quantized = [graph.quantized(name) for name in node.input]
        bare_conv = [graph.made_by(name, "Conv") for name in node.input]
        if sum(quantized) == 1 and bare_conv[quantized.index(False)]:
            continue
        if all(quantized) and not any(graph.made_by(before_qdq(graph.makers, name), "Conv") for name in node.input):
            continue  # an addition of no convolution's output cannot fuse with one; INT8 on both sides is right
        yield f"{node.name}: its skip input, and only that, must be quantized, and the other come straight from a Conv"


def _other_rules(graph: _Graph) -> Iterator[str]:
    for node in graph.nodes:
        if node.op_type == "BatchNormalization":
            yield f"{node.name}: batch norm is not folded"
        if node.op_type in {"Conv", "ConvTranspose", "Gemm"} and len(node.input) > 2 and graph.quantized(node.input[2]):
            yield f"{node.name}: its bias is quantized"
        if node.op_type in _TRANSPARENT and any(graph.quantized(name) for name in node.input):
            yield f"{node.name}: a quantized {node.op_type}; quantize at the input of the next weighted layer instead"
        if node.op_type in _FINAL and any(graph.quantized(name) for name in node.input):
            yield f"{node.name}: the linear layer is quantized"


def _scale(graph: _Graph, dequantized: str) -> NDArray[Any]:
    return graph.constants.get(graph.makers[dequantized].input[1], np.zeros(0))
