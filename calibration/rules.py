"""What TensorRT accepts in a Q/DQ graph, and what it needs to fuse it into INT8 kernels: the rules of `s8s8`.

1. Symmetric int8 in standard Q/DQ pairs: zero points int8 and 0 (TensorRT issues 2774, 4698), scales constant and positive, a
   pair of one scale, no operator in integer form (QLinearConv and the like).
2. A float bias: an int32 DequantizeLinear on it does not parse (onnxruntime 14229, 17738), and the weight's steps are not
   widened to make an int32 one fit.
3. Weights per output channel (axis 0 of Conv, 1 of ConvTranspose), stored as float in front of a Q/DQ pair; inputs per tensor.
4. Input and weight of every layer quantized, both or neither, each tensor by one pair that all its readers share, and nothing
   quantized but what a layer or an addition reads: never an output for its own sake.
5. No Q/DQ on what only reshapes, joins or bends values (Relu, Sigmoid, Softmax, Concat, Reshape, Transpose ...), batch norm
   folded, one scale for all that a Concat joins.
6. In a residual addition the skip input alone is quantized, so that Conv + Add + ReLU fuse.
7. Float stay convolutions of under 16 channels, the final linear layer and final convolutions.

They are the settings of NVIDIA's Model-Optimizer and its Q/DQ placement recommendations; each stands for a parser error or a
slow plan that somebody met.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from calibration.qdq_graph import DEQUANTIZE, QUANTIZE, QdqGraph, Violation, axis_of, bad_scale, channel_axis
from calibration.quantize import LINEAR, WEIGHTED
from calibration.ranges import shared_scales

# Between a weighted layer and these a Q/DQ pair only hinders fusion, or is moved through them by the builder itself.
_TRANSPARENT = {
    *("Relu", "LeakyRelu", "Clip", "Sigmoid", "Softmax", "Concat"),
    *("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"),
}
_INTEGER_FORM = {"ConvInteger", "MatMulInteger", "QGemm", "QAttention", "DynamicQuantizeLinear"}
_WIDENED = 1.01  # float rounding of a scale is far below, and a widened one is far above


def violations(path: Path, kept_float: Collection[str] = ()) -> list[Violation]:
    """All violations in an `s8s8` model; empty if TensorRT should take it as it is.

    kept_float: Conv nodes of 16 and more channels that were left float on purpose.
    """
    graph = QdqGraph.load(path)
    return [
        *_symmetric_pairs(graph),
        *_float_bias(graph),
        *_weights(graph),
        *_inputs_alone(graph, kept_float),
        *_nothing_between(graph),
        *_residuals(graph),
        *_left_float(graph),
    ]


def _broken(rule: int, node: Any, text: str) -> Violation:
    return Violation(rule=f"s8s8 {rule}", node=node.name, text=text)


def _symmetric_pairs(graph: QdqGraph) -> Iterator[Violation]:
    biases = graph.biases()
    for node in graph.nodes:
        if node.op_type.startswith("QLinear") or node.op_type in _INTEGER_FORM:
            yield _broken(1, node, f"{node.op_type} is the integer form of an operator, not Q/DQ")
        if node.op_type not in {QUANTIZE, DEQUANTIZE} or node.output[0] in biases:
            continue
        if node.domain not in {"", "ai.onnx"}:
            yield _broken(1, node, f"domain {node.domain} is not standard ONNX")
        yield from _numbers(graph, node)
        if node.op_type == QUANTIZE:
            if any(each.op_type != DEQUANTIZE for each in graph.readers.get(node.output[0], ())):
                yield _broken(1, node, "is not followed by DequantizeLinear alone")
        elif graph.made_by(node.input[0], QUANTIZE):
            if list(graph.makers[node.input[0]].input[1:]) != list(node.input[1:]):
                yield _broken(1, node, "scale or zero point differ from its QuantizeLinear")
        elif node.input[0] not in graph.constants:
            yield _broken(1, node, "has no QuantizeLinear before it")


def _numbers(graph: QdqGraph, node: Any) -> Iterator[Violation]:
    if bad_scale(graph.constants.get(node.input[1])):
        yield _broken(1, node, "scale is not a positive constant")
    zero = graph.zero_point(node)
    if zero is None or zero.dtype != np.int8:
        yield _broken(1, node, f"zero point is {'missing' if zero is None else zero.dtype}, not int8")
    elif np.any(zero != 0):
        yield _broken(1, node, "zero point is not 0")


def _float_bias(graph: QdqGraph) -> Iterator[Violation]:
    for node in graph.nodes:
        if node.op_type in {*WEIGHTED, "Gemm"} and len(node.input) > 2 and graph.quantized(node.input[2]):
            yield _broken(2, node, "its bias is quantized")
    for node in graph.weighted():
        weight = graph.constants.get(graph.source(node.input[1]))
        if weight is None or weight.dtype != np.float32 or not graph.quantized(node.input[1]) or not _per_channel(graph, node):
            continue
        largest = np.abs(np.moveaxis(weight, channel_axis(node), 0).reshape(len(graph.scale(node.input[1])), -1)).max(axis=1)
        needed = largest / 127
        widened = graph.scale(node.input[1])[needed > 0] / needed[needed > 0]
        if widened.size and widened.max() > _WIDENED:
            yield _broken(2, node, f"its weight's steps are {widened.max():.2f} times as wide as the weight needs")


def _per_channel(graph: QdqGraph, node: Any) -> bool:
    axis, weight = channel_axis(node), graph.constants.get(graph.source(node.input[1]))
    scale = graph.scale(node.input[1])
    return axis_of(graph.makers[node.input[1]]) == axis and weight is not None and scale.shape == (weight.shape[axis],)


def _weights(graph: QdqGraph) -> Iterator[Violation]:
    for node in graph.weighted():
        if graph.quantized(node.input[1]):
            if not _per_channel(graph, node):
                yield _broken(3, node, f"its weight is not quantized per channel on axis {channel_axis(node)}")
            if graph.makers[node.input[1]].input[0] in graph.constants:
                yield _broken(3, node, "its weight is stored quantized, not as float in front of a Q/DQ pair")
        if graph.quantized(node.input[0]) and graph.scale(node.input[0]).size > 1:
            yield _broken(3, node, "its input is not quantized per tensor")


def _inputs_alone(graph: QdqGraph, kept_float: Collection[str]) -> Iterator[Violation]:
    allowed_float = {*graph.left_float(), *kept_float}
    for node in graph.weighted():
        data, weight = graph.quantized(node.input[0]), graph.quantized(node.input[1])
        if data != weight:
            yield _broken(4, node, f"only its {'input' if data else 'weight'} is quantized")
        elif not data and node.name not in allowed_float:
            yield _broken(4, node, "is not quantized")
    for tensor, readers in graph.readers.items():
        pairs = [each.name for each in readers if each.op_type == QUANTIZE and each.input[0] == tensor]
        if len(pairs) > 1:
            yield _broken(4, readers[0], f"{tensor} is quantized {len(pairs)} times: {', '.join(pairs)}")
    leaving = {each.name for each in graph.model.graph.output}
    for node in (each for each in graph.nodes if each.op_type == DEQUANTIZE):
        others = {each.op_type for each in graph.readers.get(node.output[0], ())} - WEIGHTED - LINEAR - _TRANSPARENT - {"Add"}
        if others or node.output[0] in leaving:
            what = ", ".join(sorted(others)) or "an output"
            yield _broken(4, node, f"quantizes for {what}; quantize only what a convolution or an addition reads")


def _nothing_between(graph: QdqGraph) -> Iterator[Violation]:
    for node in graph.nodes:
        if node.op_type == "BatchNormalization":
            yield _broken(5, node, "batch norm is not folded")
        if node.op_type in _TRANSPARENT and any(graph.quantized(name) for name in node.input):
            yield _broken(5, node, f"a quantized {node.op_type}; quantize at the input of the next weighted layer instead")
    scales = {node.input[0]: node.input[1] for node in graph.nodes if node.op_type == QUANTIZE}
    for group in shared_scales(graph.model):
        joint = next((graph.makers[name] for name in group if graph.made_by(name, "Concat")), None)
        found = {name: graph.constants[scales[name]].item() for name in group if scales.get(name) in graph.constants}
        if joint is not None and len(set(found.values())) > 1:
            steps = ", ".join(f"{name} {step:.4g}" for name, step in found.items())
            yield _broken(5, joint, f"what it joins has more than one scale: {steps}")


def _residuals(graph: QdqGraph) -> Iterator[Violation]:
    for node in graph.nodes:
        if node.op_type != "Add" or any(name in graph.constants for name in node.input):
            continue
        quantized = [graph.quantized(name) for name in node.input]
        if sum(quantized) == 1 and graph.made_by(node.input[quantized.index(False)], "Conv"):
            continue
        if not any(graph.made_by(graph.source(name), "Conv") for name in node.input) and len(set(quantized)) == 1:
            continue  # an addition of no convolution's output cannot fuse with one
        yield _broken(6, node, "its skip input, and only that, must be quantized, and the other come straight from a Conv")


def _left_float(graph: QdqGraph) -> Iterator[Violation]:
    final_or_narrow = graph.left_float()
    for node in graph.nodes:
        if node.op_type in LINEAR and any(graph.quantized(name) for name in node.input):
            yield _broken(7, node, "the linear layer is quantized")
        elif node.op_type in WEIGHTED and node.name in final_or_narrow and graph.quantized(node.input[1]):
            yield _broken(7, node, "is quantized, though it has fewer than 16 channels or is the final layer")
