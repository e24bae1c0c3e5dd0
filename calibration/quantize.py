"""Static quantization: one calibration, two Q/DQ encodings.

`s8s8` is for TensorRT only: symmetric int8 activations and weights, float bias, Q/DQ on the inputs of convolutions and on the
skip input of residual additions (the settings of NVIDIA's Model-Optimizer; TensorRT issues 2774, 4698, onnxruntime 14229,
17738). `u8s8` is for ONNX Runtime and OpenVINO: uint8 activations, so that ReLU melts into the quantization (onnxruntime PR
21329), int32 bias, and 7-bit weights (reduce_range), so that kernels without VNNI do not saturate at 16 bit.

The ranges are collected once and used for both, and the same layers stay float in both: the final layers, linear or
convolution, which are small and decide, and convolutions of under 16 channels. For the first one, on RGB, that holds for a CPU
too: measured with ONNX Runtime 1.31 on x86 with VNNI, 16 cells of 80 px, INT8 there saves no time (6.05 against 5.95 ms) and
costs accuracy (error of the logits 0.030 against 0.022 of their spread). ONNX Runtime has no integer kernel for a transposed
convolution and computes it in float, from the same INT8 weights: left float, it would get coarser ones by ONNX Runtime itself.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from calibration.ranges import MIN_MAX, PASSING, Ranges, activations, collect

_NARROW = (
    16  # channels: TensorRT's INT8 convolutions work on blocks of 16 and more, narrower ones gain nothing (Model-Optimizer)
)
WEIGHTED = {"Conv", "ConvTranspose"}
LINEAR = {"Gemm", "MatMul"}
# What may lie between a final convolution and the output that it makes: no further feature is computed there.
_FINISHING = {
    *("Sigmoid", "Softmax", "LogSoftmax", "Tanh", "Identity", "Reshape", "Flatten", "Transpose", "Slice", "Split"),
    *("Concat", "Resize", "QuantizeLinear", "DequantizeLinear"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """The two files, the names of the nodes left float in both, and the ranges with the number of cells that set them."""

    s8s8: Path
    u8s8: Path
    kept_float: tuple[str, ...]
    calibration_cells: int
    ranges: Ranges


def quantize(
    float_onnx: Path,
    calibration_batches: Iterable[NDArray[np.float32]],
    out_dir: Path,
    exclude: Collection[str] = (),
    *,
    method: str = MIN_MAX,
) -> Quantized:
    """Write `s8s8.onnx` and `u8s8.onnx` of a float model (batch norm folded) into out_dir.

    calibration_batches: float32 (N, 3, H, W), preprocessed training cells. exclude: further Conv nodes to leave float
    (ONNX Runtime still quantizes such a one itself, with 8-bit weights, where both its neighbours are quantized).
    method: of calibration.ranges. Raises ValueError without batches.
    """
    model = load(float_onnx)
    statistics = collect(model, calibration_batches)
    return encode(model, statistics.ranges(method), statistics.cells, out_dir, exclude)


def load(float_onnx: Path) -> Any:
    """The float model with inferred shapes and a name for every node, since nodes are left out by name."""
    model = onnx.shape_inference.infer_shapes(onnx.load(float_onnx))
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    return model


def encode(model: Any, ranges: Ranges, cells: int, out_dir: Path, exclude: Collection[str] = ()) -> Quantized:
    """Write both encodings of a loaded model with ranges that `cells` cells have set."""
    kept = tuple(dict.fromkeys([*narrow_convs(model), *exclude, *final_layers(model)]))
    s8s8, u8s8 = out_dir / "s8s8.onnx", out_dir / "u8s8.onnx"
    _save(_s8s8(model, ranges, kept), s8s8)
    _save(_u8s8(model, ranges, kept), u8s8)
    return Quantized(s8s8=s8s8, u8s8=u8s8, kept_float=kept, calibration_cells=cells, ranges=ranges)


def narrow_convs(model: Any) -> Iterator[str]:
    """Names of the convolutions with fewer than 16 channels in or out, whether their weight is behind Q/DQ or not.

    A depthwise one has a single channel a filter, so it is among them: INT8 gains it next to nothing.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    shapes = {each.name: tuple(each.dims) for each in model.graph.initializer}
    for node in model.graph.node:
        shape = shapes.get(before_qdq(makers, node.input[1])) if node.op_type in WEIGHTED else None
        if shape and min(shape[:2]) < _NARROW:
            yield node.name


def final_layers(model: Any) -> Iterator[str]:
    """Names of the linear layers, and of the convolutions whose result leaves the model without a further layer."""
    leaving = {each.name for each in model.graph.output}
    for node in reversed(model.graph.node):
        if not leaving.isdisjoint(node.output) and node.op_type in _FINISHING:
            leaving |= set(node.input)
    for node in model.graph.node:
        if node.op_type in LINEAR or (node.op_type in WEIGHTED and not leaving.isdisjoint(node.output)):
            yield node.name


def optimised_float_convs(path: Path) -> list[str]:
    """Names of the float convolutions that are left in ONNX Runtime's optimised graph of a model.

    In a well-encoded `u8s8` these are the ones that were left out on purpose; any other means that a Q/DQ pattern did not fuse
    and runs at float speed or below.
    """
    import tempfile

    import onnxruntime as ort

    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        # The layout optimisations above "extended" rename convolutions for one CPU; what has fused is the same.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        options.log_severity_level = 3
        ort.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        optimised = onnx.load(options.optimized_model_filepath)
    return [node.name for node in optimised.graph.node if node.op_type in {"Conv", "FusedConv", "NhwcFusedConv"}]


def _s8s8(model: Any, ranges: Ranges, excluded: Collection[str]) -> Any:
    types = [*sorted(WEIGHTED), "Add"]
    extra = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "QDQDisableWeightAdjustForInt32Bias": True,
        "AddQDQPairToWeight": True,
        "DedicatedQDQPair": False,
        "ForceQuantizeNoInputCheck": True,
        "OpTypesToExcludeOutputQuantization": types,
    }
    quantized = _qdq(model, ranges, excluded, types, activations="QInt8", reduce_range=False, extra=extra)
    _free_other_inputs(quantized.graph, excluded)
    _free_main_branches(quantized.graph)
    _drop_unused_qdq(quantized.graph)
    return quantized


def _u8s8(model: Any, ranges: Ranges, excluded: Collection[str]) -> Any:
    extra = {"ActivationSymmetric": False, "WeightSymmetric": True, "QuantizeBias": True}
    types = [*sorted(WEIGHTED), "Relu", "Add", *sorted(PASSING)]
    # A Concat of numbers about shapes must stay what it is.
    floats = set(activations(model))
    others = [node.name for node in model.graph.node if node.op_type in PASSING and node.output[0] not in floats]
    # The quantizer lets ReLU melt into the step behind it, which cuts off at the lowest value: so that must be zero, even where
    # a range shared with a neighbour of both signs reaches lower.
    melting = {node.output[0] for node in model.graph.node if node.op_type == "Relu"}
    ranges = {name: (0.0 if name in melting else low, high) for name, (low, high) in ranges.items()}
    return _qdq(model, ranges, [*excluded, *others], types, activations="QUInt8", reduce_range=True, extra=extra)


def _qdq(
    model: Any,
    ranges: Ranges,
    excluded: Collection[str],
    types: list[str],
    *,
    activations: str,
    reduce_range: bool,
    extra: Mapping[str, object],
) -> Any:
    """A quantized copy of the model. The quantizer adjusts ranges in place, so each encoding gets its own copy of them."""
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    data = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    quantizer = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=reduce_range,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType[activations],
        tensors_range=TensorsData(CalibrationMethod.MinMax, data),
        nodes_to_quantize=[],
        nodes_to_exclude=list(excluded),
        op_types_to_quantize=types,
        extra_options=dict(extra),
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    return quantizer.model.model


def _free_other_inputs(graph: Any, excluded: Collection[str]) -> None:
    """Take Q/DQ off what else reads a quantized tensor: pooling and Concat, through which TensorRT moves it, float layers."""
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            continue
        if node.name in excluded or node.op_type not in {*WEIGHTED, "Add"}:
            node.input[:] = [before_qdq(makers, name) for name in node.input]


def _free_main_branches(graph: Any) -> None:
    """Take Q/DQ off the convolution's side of each residual Add, so that Conv + Add + ReLU fuse into one INT8 kernel."""
    makers = {name: node for node in graph.node for name in node.output}
    depth = _conv_depth(graph)
    for add in (node for node in graph.node if node.op_type == "Add"):
        sources = [before_qdq(makers, name) for name in add.input]
        branches = [at for at, name in enumerate(sources) if name in makers and makers[name].op_type == "Conv"]
        if branches:
            main = max(branches, key=lambda at: depth[sources[at]])
            add.input[main] = sources[main]


def before_qdq(makers: Mapping[str, Any], name: str) -> str:
    """The tensor that a Q/DQ pair passes on as `name`. makers: tensor -> the node that makes it."""
    while name in makers and makers[name].op_type in {"QuantizeLinear", "DequantizeLinear"}:
        name = makers[name].input[0]
    return name


def _conv_depth(graph: Any) -> dict[str, int]:
    """Convolutions on the longest way from the input to each tensor: of two convolution branches the longer is the main one."""
    depth: dict[str, int] = {}
    for node in graph.node:
        below = max((depth.get(name, 0) for name in node.input), default=0)
        for name in node.output:
            depth[name] = below + (node.op_type == "Conv")
    return depth


def _drop_unused_qdq(graph: Any) -> None:
    for op_type in ("DequantizeLinear", "QuantizeLinear"):
        used = {name for node in graph.node for name in node.input} | {each.name for each in graph.output}
        for node in [each for each in graph.node if each.op_type == op_type and each.output[0] not in used]:
            graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for constant in [each for each in graph.initializer if each.name not in used]:
        graph.initializer.remove(constant)


def _save(model: Any, path: Path) -> None:
    onnx.checker.check_model(model)
    onnx.save(model, path)
