"""A detector of YOLOv8n's architecture, written anew from its published layers, as an ONNX file with random weights.

Batch norms are folded into the convolutions, as they are for inference, and the boxes are decoded inside the model, as its
makers export it. With 80 classes it has 3,151,904 parameters and needs 8.7 GFLOP at 640x640, which are the published figures.
Random weights are enough for time; its boxes mean nothing.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

SIDE = 640
STRIDES = (8, 16, 32)
BINS = 16
"""Steps that a distance from a point to a side of its box is told in."""
OPSET = 17


class _Graph:
    """Nodes as they are added, with the channels and side of each value. macs: multiplications with a weight."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.shapes: dict[str, tuple[int, int]] = {}
        self.parameters = 0
        self.macs = 0
        self._rng = np.random.default_rng(0)

    def add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, value: NDArray[Any]) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(value, name))
        return name

    def plain(self, value: str, channels: int, kernel: int, stride: int = 1, bias: float = 0.0) -> str:
        """A convolution with bias."""
        before, side = self.shapes[value]
        spread = math.sqrt(2 / (before * kernel**2))
        weight = self._rng.normal(0, spread, (channels, before, kernel, kernel)).astype(np.float32)
        offset = np.full(channels, bias, np.float32)
        self.parameters += weight.size + offset.size
        self.macs += weight.size * (side // stride) ** 2
        name = self.add(
            "Conv",
            [value, self.constant(weight), self.constant(offset)],
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2] * 4,
        )
        self.shapes[name] = channels, side // stride
        return name

    def conv(self, value: str, channels: int, kernel: int, stride: int = 1) -> str:
        """A convolution and SiLU."""
        made = self.plain(value, channels, kernel, stride)
        name = self.add("Mul", [made, self.add("Sigmoid", [made])])
        self.shapes[name] = self.shapes[made]
        return name

    def concat(self, values: list[str]) -> str:
        name = self.add("Concat", values, axis=1)
        self.shapes[name] = sum(self.shapes[each][0] for each in values), self.shapes[values[0]][1]
        return name

    def c2f(self, value: str, channels: int, repeats: int, shortcut: bool) -> str:
        """Half of the channels goes through bottlenecks, and what each of them gives is kept."""
        half = channels // 2
        wide = self.conv(value, channels, 1)
        sizes = self.constant(np.array([half, half]))
        names = [f"{wide}_kept", f"{wide}_taken"]
        self.nodes.append(onnx.helper.make_node("Split", [wide, sizes], names, axis=1))
        for name in names:
            self.shapes[name] = half, self.shapes[wide][1]
        for _ in range(repeats):
            inner = self.conv(self.conv(names[-1], half, 3), half, 3)
            if shortcut:
                total = self.add("Add", [names[-1], inner])
                self.shapes[total] = self.shapes[inner]
                inner = total
            names.append(inner)
        return self.conv(self.concat(names), channels, 1)

    def sppf(self, value: str, channels: int) -> str:
        """Three poolings one after the other, side by side."""
        values = [self.conv(value, channels // 2, 1)]
        for _ in range(3):
            pooled = self.add("MaxPool", [values[-1]], kernel_shape=[5, 5], strides=[1, 1], pads=[2] * 4)
            self.shapes[pooled] = self.shapes[values[0]]
            values.append(pooled)
        return self.conv(self.concat(values), channels, 1)

    def doubled(self, value: str) -> str:
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        name = self.add("Resize", [value, "", scales], mode="nearest")
        channels, side = self.shapes[value]
        self.shapes[name] = channels, side * 2
        return name


def write(path: Path, classes: int) -> tuple[int, float]:
    """Write the model, input `images` float32 (1, 3, 640, 640) 0-1, output `boxes` (1, 4 + classes, 8400); its parameters and
    GFLOP."""
    graph = _Graph()
    graph.shapes["images"] = 3, SIDE
    maps = _levels(graph)
    joined = [_head(graph, value, stride, classes) for value, stride in zip(maps, STRIDES, strict=True)]
    together = graph.add("Concat", joined, axis=2)
    _decode(graph, together, classes)
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            "yolov8n",
            [onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
            [onnx.helper.make_tensor_value_info("boxes", onnx.TensorProto.FLOAT, [1, 4 + classes, len(_points()[1])])],
            graph.constants,
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=8,
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return graph.parameters + BINS, 2 * graph.macs / 1e9


def _levels(graph: _Graph) -> list[str]:
    """Backbone and neck: the maps of stride 8, 16 and 32."""
    value = graph.conv(graph.conv("images", 16, 3, 2), 32, 3, 2)
    value = graph.c2f(value, 32, 1, shortcut=True)
    fine = graph.c2f(graph.conv(value, 64, 3, 2), 64, 2, shortcut=True)
    middle = graph.c2f(graph.conv(fine, 128, 3, 2), 128, 2, shortcut=True)
    coarse = graph.sppf(graph.c2f(graph.conv(middle, 256, 3, 2), 256, 1, shortcut=True), 256)
    up = graph.c2f(graph.concat([graph.doubled(coarse), middle]), 128, 1, shortcut=False)
    small = graph.c2f(graph.concat([graph.doubled(up), fine]), 64, 1, shortcut=False)
    medium = graph.c2f(graph.concat([graph.conv(small, 64, 3, 2), up]), 128, 1, shortcut=False)
    large = graph.c2f(graph.concat([graph.conv(medium, 128, 3, 2), coarse]), 256, 1, shortcut=False)
    return [small, medium, large]


def _head(graph: _Graph, value: str, stride: int, classes: int) -> str:
    """Logits (1, 64 + classes, points) of one level; rare at first, as such a detector is trained from."""
    wide = max(64, min(classes, 100))
    rare = math.log(5 / classes / (SIDE / stride) ** 2)
    box = graph.plain(graph.conv(graph.conv(value, 4 * BINS, 3), 4 * BINS, 3), 4 * BINS, 1, bias=1.0)
    kind = graph.plain(graph.conv(graph.conv(value, wide, 3), wide, 3), classes, 1, bias=rare)
    return graph.add("Reshape", [graph.concat([box, kind]), graph.constant(np.array([1, 4 * BINS + classes, -1]))])


def _points() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Middles (2, points) in cells of their grid, and its stride (points,)."""
    middles, strides = [], []
    for stride in STRIDES:
        side = np.arange(SIDE // stride, dtype=np.float32) + 0.5
        y, x = np.meshgrid(side, side, indexing="ij")
        middles.append(np.stack([x.ravel(), y.ravel()]))
        strides.append(np.full(x.size, stride, np.float32))
    return np.concatenate(middles, axis=1), np.concatenate(strides)


def _decode(graph: _Graph, logits: str, classes: int) -> None:
    """Distances as the mean of their distributions, boxes as middle and size in pixels, kinds as scores."""
    middles, strides = _points()
    sizes = graph.constant(np.array([4 * BINS, classes]))
    graph.nodes.append(onnx.helper.make_node("Split", [logits, sizes], ["sides", "kinds"], axis=1))
    bins = graph.add("Reshape", ["sides", graph.constant(np.array([1, 4, BINS, -1]))])
    shares = graph.add("Softmax", [bins], axis=2)
    steps = graph.constant(np.arange(BINS, dtype=np.float32).reshape(1, 1, BINS, 1))
    far = graph.add("ReduceSum", [graph.add("Mul", [shares, steps]), graph.constant(np.array([2]))], keepdims=0)
    pair = graph.constant(np.array([2, 2]))
    graph.nodes.append(onnx.helper.make_node("Split", [far, pair], ["before", "behind"], axis=1))
    points = graph.constant(middles[None])
    low, high = graph.add("Sub", [points, "before"]), graph.add("Add", [points, "behind"])
    half = graph.constant(np.array(0.5, np.float32))
    middle = graph.add("Mul", [graph.add("Add", [low, high]), half])
    size = graph.add("Sub", [high, low])
    boxes = graph.add("Mul", [graph.add("Concat", [middle, size], axis=1), graph.constant(strides[None, None])])
    scores = graph.add("Sigmoid", ["kinds"])
    graph.nodes.append(onnx.helper.make_node("Concat", [boxes, scores], ["boxes"], axis=1))
