"""A whole, valid, small bundle, built in a moment: three classes, 32 px, a residual net with fixed weights."""

import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIZE, WIDTH, CLASSES = 32, 16, ("neutrophil", "lymphocyte", "artefact")


def tiny_model(*, size: int = SIZE, width: int = WIDTH, classes: int = len(CLASSES), seed: int = 0) -> Any:
    """ONNX: stem 3 -> width, one identity block, one projection block to 2 width, pooled `features`, `logits`. Opset 17."""
    net = _Net(np.random.default_rng(seed))
    stem = net.relu(net.conv("input", 3, width, 3, 2))
    first = net.relu(net.add(net.conv(net.relu(net.conv(stem, width, width, 3, 1)), width, width, 3, 1), stem))
    wide = 2 * width
    main = net.conv(net.relu(net.conv(first, width, wide, 3, 2)), wide, wide, 3, 1)
    last = net.relu(net.add(main, net.conv(first, width, wide, 1, 2)))
    pooled = net.node("GlobalAveragePool", [last])
    net.node("Flatten", [pooled], output="features", axis=1)
    weight = net.constant("fc.weight", net.draw((classes, wide), wide) * 8)
    bias = net.constant("fc.bias", np.zeros(classes, np.float32))
    net.node("Gemm", ["features", weight, bias], output="logits", transB=1)
    graph = helper.make_graph(
        net.nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, size, size])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", wide]),
        ],
        net.constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class _Net:
    """Collects nodes and weights; every tensor is named by its node."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def draw(self, shape: tuple[int, ...], fan_in: int) -> NDArray[np.float32]:
        return (self.rng.standard_normal(shape) * np.sqrt(2.0 / fan_in)).astype(np.float32)

    def constant(self, name: str, value: NDArray[np.float32]) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def node(self, op_type: str, inputs: list[str], *, output: str = "", **attributes: object) -> str:
        name = f"{op_type.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [output or f"{name}.out"], name=name, **attributes))
        return output or f"{name}.out"

    def conv(self, source: str, inside: int, outside: int, kernel: int, stride: int) -> str:
        at = len(self.nodes)
        weight = self.constant(f"conv{at}.weight", self.draw((outside, inside, kernel, kernel), inside * kernel * kernel))
        bias = self.constant(f"conv{at}.bias", self.draw((outside,), 200))
        return self.node("Conv", [source, weight, bias], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4)

    def relu(self, source: str) -> str:
        return self.node("Relu", [source])

    def add(self, main: str, skip: str) -> str:
        return self.node("Add", [main, skip])
