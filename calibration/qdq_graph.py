"""An ONNX graph with Q/DQ in it, and the look-ups that the rules about it need."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # its stubs are a package of their own
from numpy.typing import NDArray
from onnx import numpy_helper

from calibration.quantize import WEIGHTED, before_qdq, final_layers, narrow_convs
from edgecell.bundle import Encoding
from edgecell.errors import BundleError

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """rule: `<encoding> <number>`, as listed at the top of the rules' module. node: the node's name. text: what is wrong."""

    rule: str
    node: str
    text: str

    def __str__(self) -> str:
        return f"{self.node}: {self.text} (rule {self.rule})"


@dataclass
class QdqGraph:
    """A model, opened. Nodes without a name get one."""

    model: Any
    nodes: list[Any] = field(init=False)
    makers: dict[str, Any] = field(init=False)
    readers: dict[str, list[Any]] = field(init=False)
    constants: dict[str, NDArray[Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.nodes = list(self.model.graph.node)
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.readers = {}
        for index, node in enumerate(self.nodes):
            node.name = node.name or f"{node.op_type}_{index}"
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.constants = {each.name: numpy_helper.to_array(each) for each in self.model.graph.initializer}

    @classmethod
    def load(cls, path: Path) -> "QdqGraph":
        """Raises BundleError where the file is no whole ONNX model."""
        try:
            return cls(onnx.shape_inference.infer_shapes(onnx.load(path)))
        except (OSError, DecodeError, onnx.shape_inference.InferenceError) as error:
            fix = "check that it is a whole ONNX model; copy it again"
            raise BundleError(f"{path} cannot be read: {' '.join(str(error).split())}", fix=fix) from error

    def encoding(self) -> Encoding:
        """`u8s8` where all activations are uint8, else `s8s8`, the stricter one."""
        zeros = [self.zero_point(node) for node in self.nodes if node.op_type == QUANTIZE]
        return "u8s8" if zeros and all(zero is not None and zero.dtype == np.uint8 for zero in zeros) else "s8s8"

    def made_by(self, name: str, op_type: str) -> bool:
        return name in self.makers and self.makers[name].op_type == op_type

    def quantized(self, name: str) -> bool:
        return self.made_by(name, DEQUANTIZE)

    def weighted(self) -> Iterator[Any]:
        return (node for node in self.nodes if node.op_type in WEIGHTED)

    def scale(self, dequantized: str) -> NDArray[Any]:
        """Of a dequantized tensor; empty if it is no constant."""
        return self.constants.get(self.makers[dequantized].input[1], np.zeros(0))

    def zero_point(self, node: Any) -> NDArray[Any] | None:
        """Of a Q or DQ node; None if it has none, or no constant one."""
        return self.constants.get(node.input[2]) if len(node.input) > 2 else None

    def source(self, name: str) -> str:
        """The tensor behind Q/DQ."""
        return before_qdq(self.makers, name)

    def left_float(self) -> set[str]:
        """Names of the layers that stay float in every encoding: narrow and final ones."""
        return {*narrow_convs(self.model), *final_layers(self.model)}

    def biases(self) -> set[str]:
        """Tensors that a weighted layer adds as its bias."""
        return {node.input[2] for node in self.nodes if node.op_type in {*WEIGHTED, "Gemm"} and len(node.input) > 2}


def axis_of(node: Any) -> int:
    """Of a Q or DQ node: 1 unless it says otherwise, as ONNX has it."""
    return next((int(each.i) for each in node.attribute if each.name == "axis"), 1)


def bad_scale(scale: NDArray[Any] | None) -> bool:
    return scale is None or not scale.size or not bool(np.all(np.isfinite(scale) & (scale > 0)))


def channel_axis(node: Any) -> int:
    """Of a weighted layer's weight: the output channels."""
    return 0 if node.op_type == "Conv" else 1
