"""The last layer in an ONNX file: found, read, and written with other weights. Everything else stays as it is.

It is the Gemm that makes `logits` of `features`, float in every encoding; in a half-precision file there are Casts around it.
And Q/DQ models as TensorRT and OpenVINO compute them, whose golden answers allow for that.
"""

from pathlib import Path
from typing import Any

import numpy as np

from edgecell.adapt.layer import Layer
from edgecell.bundle import LOGITS
from edgecell.errors import BundleError, MissingDependency

_FLOATING = {"Conv", "ConvTranspose", "Add", "Relu", "GlobalAveragePool", "Gemm"}


def library() -> Any:
    """The package `onnx`. Raises MissingDependency: it comes with the extra `adapt`, and nothing else on a device needs it."""
    try:
        import onnx
    except ImportError as error:
        raise MissingDependency(f"adapting a bundle needs onnx: {error}", fix="pip install 'edgecell[adapt]'") from error
    return onnx


def read_layer(path: Path) -> Layer:
    """The last layer, weights (K, W). Raises BundleError when the file does not end in one, MissingDependency."""
    onnx = library()
    gemm, constants = _last_layer(onnx.load(path), path)
    weight, bias = (np.asarray(onnx.numpy_helper.to_array(constants[name]), np.float64) for name in gemm.input[1:])
    return Layer(weight=weight if _transposed(gemm) else weight.T, bias=bias)


def write_layer(source: Path, layer: Layer, path: Path) -> None:
    """The model of `source` with another last layer, in the number format that it has there. Raises as `read_layer`."""
    onnx = library()
    model = onnx.load(source)
    gemm, constants = _last_layer(model, source)
    weight = layer.weight if _transposed(gemm) else layer.weight.T
    for name, value in zip(gemm.input[1:], (weight, layer.bias), strict=True):
        old = onnx.numpy_helper.to_array(constants[name])
        if old.shape != value.shape:
            raise BundleError(f"{source}: {name} is {old.shape}, not {value.shape}", fix="build the bundle again")
        new = onnx.numpy_helper.from_array(np.ascontiguousarray(value, dtype=old.dtype), name)
        constants[name].CopyFrom(new)
    onnx.save(model, path)


def with_halves(source: Path, path: Path) -> Path:
    """Write a Q/DQ model with each float result rounded to half precision; what is quantized stays exact. Returns `path`.

    So TensorRT computes what a Q/DQ model leaves float. Raises MissingDependency.
    """
    onnx = library()
    model, nodes = onnx.load(source), []
    for node in model.graph.node:
        nodes.append(node)
        if node.op_type in _FLOATING:
            name = node.output[0]
            node.output[0] = f"{name}_whole"
            nodes.append(onnx.helper.make_node("Cast", [f"{name}_whole"], [f"{name}_half"], to=onnx.TensorProto.FLOAT16))
            nodes.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)
    return path


def with_unrounded_sums(source: Path, path: Path) -> Path:
    """Write a Q/DQ model in which what a convolution adds to a sum is clipped as before, but not rounded. Returns `path`.

    So OpenVINO computes a sum that it fuses with the convolution before it: the first one of its inputs that is one. That is
    one rounding less, nearer to the float model. Raises MissingDependency.
    """
    onnx = library()
    model, nodes = onnx.load(source), []
    makers = {name: node for node in model.graph.node for name in node.output}
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    for node in model.graph.node:
        at = next((at for at, name in enumerate(node.input) if _is_quantized_conv(name, makers)), None)
        if node.op_type == "Add" and at is not None:
            quantize = makers[makers[node.input[at]].input[0]]
            scale, zero = (constants[name] for name in quantize.input[1:])
            steps = np.iinfo(zero.dtype)
            limits = [np.float32((float(step) - float(zero)) * float(scale)) for step in (steps.min, steps.max)]
            names = [f"{node.name}_least", f"{node.name}_most"]
            model.graph.initializer.extend(map(onnx.numpy_helper.from_array, map(np.asarray, limits), names))
            clipped = f"{node.name}_clipped"
            nodes.append(onnx.helper.make_node("Clip", [quantize.input[0], *names], [clipped]))
            node.input[at] = clipped
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)
    return path


def _is_quantized_conv(name: str, makers: dict[str, Any]) -> bool:
    """Whether a value is the result of a convolution, quantized and dequantized again."""
    for kind in ("DequantizeLinear", "QuantizeLinear", "Conv"):
        node = makers.get(name)
        if node is None or node.op_type != kind:
            return False
        name = node.input[0]
    return True


def _last_layer(model: Any, path: Path) -> tuple[Any, dict[str, Any]]:
    """The Gemm, and the file's constants by name."""
    makers: dict[str, Any] = {name: node for node in model.graph.node for name in node.output}
    node: Any = makers.get(LOGITS)
    while node is not None and node.op_type == "Cast":
        node = makers.get(node.input[0])
    constants = {each.name: each for each in model.graph.initializer}
    plain = node is not None and node.op_type == "Gemm" and len(node.input) == 3 and set(node.input[1:]) <= constants.keys()
    if not plain or any(each.name in {"alpha", "beta"} and each.f != 1.0 for each in node.attribute):
        fix = "adapt a bundle of the workshop: its models end in one linear layer"
        raise BundleError(f"{path} has no last linear layer whose weights could be changed", fix=fix)
    return node, constants


def _transposed(gemm: Any) -> bool:
    """Whether the weights stand as (K, W)."""
    return any(each.name == "transB" and each.i for each in gemm.attribute)
