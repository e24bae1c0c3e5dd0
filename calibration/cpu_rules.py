"""What ONNX Runtime needs to run a Q/DQ graph in integers on x86 and ARM, with or without VNNI: the rules of `u8s8`.

1. Activations uint8, per tensor, with a constant positive scale: a ReLU melts into them (onnxruntime PR 21329).
2. Weights int8, symmetric, per output channel, of 7 bits: two products of larger ones saturate 16 bits in kernels without VNNI.
3. Bias int32, in steps of input scale times weight scale.
4. No float convolution in ONNX Runtime's optimised graph but those left float on purpose: else a pattern did not fuse.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from calibration.qdq_graph import DEQUANTIZE, QUANTIZE, QdqGraph, Violation, axis_of, bad_scale, channel_axis
from calibration.quantize import optimised_float_convs

SEVEN_BITS = 64  # largest magnitude of a weight


def violations(path: Path, kept_float: Collection[str] = ()) -> list[Violation]:
    """All violations in a `u8s8` model. kept_float: Conv nodes of 16 and more channels left float on purpose."""
    graph = QdqGraph.load(path)
    return [*_activations(graph), *_weights(graph), *_biases(graph), *_fused(graph, path, kept_float)]


def _broken(rule: int, node: str, text: str) -> Violation:
    return Violation(rule=f"u8s8 {rule}", node=node, text=text)


def _activations(graph: QdqGraph) -> Iterator[Violation]:
    for node in graph.nodes:
        if node.op_type == QUANTIZE or (node.op_type == DEQUANTIZE and node.input[0] not in graph.constants):
            scale, zero = graph.constants.get(node.input[1]), graph.zero_point(node)
            if scale is None or bad_scale(scale) or scale.size != 1:
                yield _broken(1, node.name, "scale is not one positive constant")
            if zero is None or zero.dtype != np.uint8:
                yield _broken(1, node.name, f"zero point is {'missing' if zero is None else zero.dtype}, not uint8")


def _weights(graph: QdqGraph) -> Iterator[Violation]:
    for node in _integer_convs(graph):
        weight = graph.makers[node.input[1]]
        stored, zero = graph.constants.get(weight.input[0]), graph.zero_point(weight)
        if stored is None or stored.dtype != np.int8 or zero is None or np.any(zero != 0):
            yield _broken(2, node.name, "its weight is not stored as symmetric int8")
            continue
        axis = channel_axis(node)
        if axis_of(weight) != axis or graph.scale(node.input[1]).shape != (stored.shape[axis],):
            yield _broken(2, node.name, f"its weight is not quantized per channel on axis {axis}")
        if np.abs(stored.astype(int)).max() > SEVEN_BITS:
            yield _broken(2, node.name, f"its weight exceeds 7 bits: +-{np.abs(stored.astype(int)).max()}")


def _biases(graph: QdqGraph) -> Iterator[Violation]:
    for node in _integer_convs(graph):
        if len(node.input) < 3:
            continue
        if not graph.quantized(node.input[2]):
            yield _broken(3, node.name, "its bias is not quantized")
            continue
        stored = graph.constants.get(graph.makers[node.input[2]].input[0])
        steps, wanted = graph.scale(node.input[2]), graph.scale(node.input[0]) * graph.scale(node.input[1])
        if (
            stored is None
            or stored.dtype != np.int32
            or steps.shape != wanted.shape
            or not np.allclose(steps, wanted, rtol=1e-5)
        ):
            yield _broken(3, node.name, "its bias is not int32 in steps of input scale times weight scale")


def _fused(graph: QdqGraph, path: Path, kept_float: Collection[str]) -> Iterator[Violation]:
    meant = {*graph.left_float(), *kept_float}
    for name in optimised_float_convs(path):
        if name not in meant:
            yield _broken(4, name, "is a float convolution in ONNX Runtime's optimised graph")


def _integer_convs(graph: QdqGraph) -> Iterator[Any]:
    """The convolutions with a quantized weight."""
    return (node for node in graph.weighted() if graph.quantized(node.input[1]))
