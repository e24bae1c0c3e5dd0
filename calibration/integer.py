"""An exact reference for `u8s8`: the Q/DQ graph computed in NumPy as integers, after the definition of ONNX's QLinearConv.

uint8 activations, int8 weights, sums and biases as integers within int32, then one multiplication by input scale * weight scale
/ output scale, rounding to the nearest step (half to even) and saturation. What the graph leaves float is float32.

Sums of products are made in float64, where whole numbers up to 2**53 are exact, so that the matrix product is a fast one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from calibration.qdq_graph import DEQUANTIZE, QUANTIZE, QdqGraph, axis_of

_INT32 = 2**31


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """A quantized tensor: integers, the scale and the zero point, each a number or shaped to broadcast."""

    values: NDArray[Any]
    scale: NDArray[np.float64]
    zero: NDArray[np.int64]

    def same_steps(self, other: "Steps") -> bool:
        return np.array_equal(self.scale, other.scale) and np.array_equal(self.zero, other.zero)


@dataclass(frozen=True, slots=True, eq=False)
class Exact:
    """float64 numbers, each to be multiplied by `scale`: whole ones after a convolution."""

    numbers: NDArray[np.float64]
    scale: NDArray[np.float64]


Value = NDArray[np.float32] | Steps | Exact


def compute(path: Path, batch: NDArray[np.float32], given: Mapping[str, NDArray[np.uint8]]) -> dict[str, NDArray[Any]]:
    """Every quantized tensor (uint8) and every output (float32) of a `u8s8` model on a batch float32 (N, C, H, W).

    given: tensors by the name that their QuantizeLinear gives them; what follows is computed from these, in place of our own
    (which is still returned), so that the difference of one layer is not carried into the next. Raises ValueError where a sum
    leaves int32.
    """
    graph = QdqGraph.load(path)
    values: dict[str, Value] = {graph.model.graph.input[0].name: batch}
    found: dict[str, NDArray[Any]] = {}
    for node in graph.nodes:
        if node.op_type == DEQUANTIZE:
            values[node.output[0]] = _steps(graph, node, values)
        elif node.op_type == QUANTIZE:
            made = _quantized(_value(graph, values, node.input[0]), _parameters(graph, node))
            found[node.output[0]] = made.values
            forced = given.get(node.output[0])
            values[node.output[0]] = made if forced is None else Steps(forced, made.scale, made.zero)
        else:
            inputs = [_value(graph, values, name) if name else None for name in node.input]
            values.update(zip(node.output, _apply(node, inputs), strict=False))
    return found | {each.name: real(values[each.name]) for each in graph.model.graph.output}


def real(value: Value) -> NDArray[np.float32]:
    """The numbers that a tensor stands for."""
    if isinstance(value, Steps):
        return np.asarray((value.values.astype(np.int64) - value.zero) * value.scale, np.float32)
    if isinstance(value, Exact):
        return np.asarray(value.numbers * value.scale, np.float32)
    return value


def _value(graph: QdqGraph, values: Mapping[str, Value], name: str) -> Value:
    return values[name] if name in values else graph.constants[name]


def _parameters(graph: QdqGraph, node: Any) -> Steps:
    """Scale and zero point of a Q or DQ node, without values."""
    scale, zero = (np.asarray(graph.constants[name]) for name in node.input[1:3])
    return Steps(np.zeros(0, np.uint8), scale.astype(np.float64), zero.astype(np.int64))


def _steps(graph: QdqGraph, node: Any, values: Mapping[str, Value]) -> Steps:
    source, how = _value(graph, values, node.input[0]), _parameters(graph, node)
    if isinstance(source, Steps):
        return source
    stored = np.asarray(source)
    shape = [1] * stored.ndim
    if how.scale.ndim:
        shape[axis_of(node) if stored.ndim > 1 else 0] = -1
    return Steps(stored, how.scale.reshape(shape), how.zero.reshape(shape))


def _quantized(value: Value, into: Steps) -> Steps:
    if isinstance(value, Steps):
        if value.same_steps(into):
            return value
        value = Exact((value.values.astype(np.int64) - value.zero).astype(np.float64), value.scale)
    if isinstance(value, Exact):
        nearest = np.rint(value.numbers * (value.scale / into.scale))
    else:
        nearest = np.rint(value / np.float32(into.scale)).astype(np.float64)
    return Steps(np.clip(nearest + into.zero, 0, 255).astype(np.uint8), into.scale, into.zero)


def _apply(node: Any, inputs: list[Value | None]) -> list[Value]:
    """The outputs of a node: in integers where its inputs are and an integer form is known, else in float32."""
    integer = _INTEGER.get(node.op_type)
    steps = [each for each in inputs if isinstance(each, Steps)]
    if integer is not None and len(steps) == sum(each is not None for each in inputs):
        return [integer(node, steps)]
    if node.op_type == "Resize" and isinstance(inputs[0], Steps) and _picks(node):
        return [_nearest(inputs[0], *inputs[2:])]
    if node.op_type == "Relu" and isinstance(inputs[0], Exact):
        return [Exact(np.maximum(inputs[0].numbers, 0), inputs[0].scale)]
    floats = [None if each is None else real(each) for each in inputs]
    if node.op_type == "Conv":
        return [_float_conv(node, *(each for each in floats if each is not None))]
    model = onnx.helper.make_model(_alone(node, floats), opset_imports=[onnx.helper.make_opsetid("", 17)])
    fed = {name: value for name, value in zip(node.input, floats, strict=True) if value is not None}
    return [np.asarray(each) for each in ReferenceEvaluator(model).run(None, fed)]


def _alone(node: Any, floats: list[NDArray[np.float32] | None]) -> Any:
    given = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in zip(node.input, floats, strict=True)
        if value is not None
    ]
    made = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in node.output]
    return onnx.helper.make_graph([node], "alone", given, made)


def _float_conv(
    node: Any, cells: NDArray[np.float32], weight: NDArray[np.float32], bias: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    summed = _summed(cells, weight, _attributes(node))
    return summed if bias is None else summed + bias[:, None, None]


def _conv(node: Any, inputs: list[Steps]) -> Exact:
    """QLinearConv up to its int32 sums; the bias has the scale of the sums."""
    cells, weight = inputs[:2]
    centred = (cells.values.astype(np.int64) - cells.zero).astype(np.float64)
    sums = _summed(centred, (weight.values.astype(np.int64) - weight.zero).astype(np.float64), _attributes(node))
    if len(inputs) > 2:
        sums += inputs[2].values.astype(np.float64)[:, None, None]
    if np.abs(sums).max(initial=0) >= _INT32:
        raise ValueError(f"{node.name}: a sum leaves the range of int32")
    return Exact(sums, cells.scale * weight.scale.reshape(-1, 1, 1))


def _summed(cells: NDArray[Any], weight: NDArray[Any], how: Mapping[str, Any]) -> NDArray[Any]:
    """Convolution (N, C, H, W) * (M, C / groups, h, w) -> (N, M, ...), in the arrays' own type."""
    if how.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise ValueError("a convolution pads by auto_pad: export it with pads that are written out")
    top, left, bottom, right = how.get("pads", (0, 0, 0, 0))
    (down, across), (far, wide) = how.get("strides", (1, 1)), how.get("dilations", (1, 1))
    padded = np.pad(cells, ((0, 0), (0, 0), (top, bottom), (left, right)))
    high, broad = (size * step - step + 1 for size, step in zip(weight.shape[2:], (far, wide), strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (high, broad), (2, 3))
    windows = windows[:, :, ::down, ::across, ::far, ::wide]
    groups = int(how.get("group", 1))
    parts = zip(np.split(windows, groups, axis=1), np.split(weight, groups), strict=True)
    summed = [np.tensordot(part, kernel, axes=((1, 4, 5), (1, 2, 3))) for part, kernel in parts]
    return np.ascontiguousarray(np.moveaxis(np.concatenate(summed, axis=-1), -1, 1))


def _add(_: Any, inputs: list[Steps]) -> Exact:
    parts = [(each.values.astype(np.int64) - each.zero) * each.scale for each in inputs]
    return Exact(parts[0] + parts[1], np.asarray(1.0))


def _max_pool(node: Any, inputs: list[Steps]) -> Steps:
    how, cells = _attributes(node), inputs[0]
    (top, left, bottom, right), (down, across) = how.get("pads", (0, 0, 0, 0)), how.get("strides", (1, 1))
    padded = np.pad(cells.values, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, how["kernel_shape"], (2, 3))
    return Steps(windows[:, :, ::down, ::across].max(axis=(4, 5)), cells.scale, cells.zero)


def _average_pool(_: Any, inputs: list[Steps]) -> Exact:
    cells = inputs[0]
    sums = (cells.values.astype(np.int64) - cells.zero).sum(axis=(2, 3), keepdims=True)
    return Exact(sums.astype(np.float64), cells.scale / np.prod(cells.values.shape[2:]))


def _concat(node: Any, inputs: list[Steps]) -> Steps | Exact:
    axis = _attributes(node)["axis"]
    if all(each.same_steps(inputs[0]) for each in inputs):
        return Steps(np.concatenate([each.values for each in inputs], axis), inputs[0].scale, inputs[0].zero)
    parts = [(each.values.astype(np.int64) - each.zero) * each.scale for each in inputs]
    return Exact(np.concatenate(parts, axis), np.asarray(1.0))


def _picks(node: Any) -> bool:
    """Whether a Resize repeats values as PyTorch's `nearest` does, and computes none."""
    wanted = {"mode": b"nearest", "coordinate_transformation_mode": b"asymmetric", "nearest_mode": b"floor"}
    return wanted.items() <= _attributes(node).items()


def _nearest(cells: Steps, scales: Value | None, sizes: Value | None = None) -> Steps:
    values = cells.values
    for axis in (2, 3):
        side = values.shape[axis]
        size = int(np.floor(side * np.asarray(scales)[axis])) if sizes is None else int(np.asarray(sizes)[axis])
        values = np.take(values, np.arange(size) * side // size, axis)
    return Steps(values, cells.scale, cells.zero)


def _attributes(node: Any) -> dict[str, Any]:
    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}


_INTEGER: Mapping[str, Callable[[Any, list[Steps]], Steps | Exact]] = {
    "Conv": _conv,
    "Add": _add,
    "MaxPool": _max_pool,
    "GlobalAveragePool": _average_pool,
    "Concat": _concat,
}
