"""A small fully convolutional network with two outputs: pooling, upsampling, a skip joined by Concat; any height and width."""

from typing import Any, Literal

import numpy as np
from onnx import TensorProto, helper
from tiny_bundle import Net

Up = Literal["nearest", "linear", "transposed"]


def tiny_segmenter(up: Up = "nearest", *, seed: int = 0) -> Any:
    """ONNX, opset 17: (N, 3, H, W) -> `centres` (N, 4, H/2, W/2), `masks` (N, 16, H/2, W/2) after a sigmoid. H and W: by 4."""
    net = Net(np.random.default_rng(seed))
    stem = net.relu(net.conv("input", 3, 16, 3, 2))
    fine = net.relu(net.conv(stem, 16, 16, 3, 1))
    pooled = net.node("MaxPool", [fine], kernel_shape=[2, 2], strides=[2, 2])
    coarse = net.relu(net.conv(pooled, 16, 32, 3, 1))
    joined = net.node("Concat", [fine, _upsampled(net, coarse, up)], axis=1)
    last = net.relu(net.conv(joined, 48 if up != "transposed" else 32, 32, 3, 1))
    centres, masks = net.conv(last, 32, 4, 1, 1), net.conv(last, 32, 16, 1, 1)
    net.node("Identity", [centres], output="centres")
    net.node("Sigmoid", [masks], output="masks")
    graph = helper.make_graph(
        net.nodes,
        "tiny_segmenter",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [
            helper.make_tensor_value_info("centres", TensorProto.FLOAT, ["batch", 4, "h2", "w2"]),
            helper.make_tensor_value_info("masks", TensorProto.FLOAT, ["batch", 16, "h2", "w2"]),
        ],
        net.constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _upsampled(net: Net, source: str, up: Up) -> str:
    if up == "transposed":
        weight = net.constant("up.weight", net.draw((32, 16, 2, 2), 32))
        bias = net.constant("up.bias", net.draw((16,), 200))
        return net.node("ConvTranspose", [source, weight, bias], kernel_shape=[2, 2], strides=[2, 2])
    scales = net.constant("up.scales", np.array([1, 1, 2, 2], np.float32))
    nearest = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    attributes = nearest if up == "nearest" else {"coordinate_transformation_mode": "half_pixel"}
    return net.node("Resize", [source, "", scales], mode=up, **attributes)
