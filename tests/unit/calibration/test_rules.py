"""The rules accept what quantize makes, and name what is broken in it on purpose."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tiny_bundle import tiny_model

from calibration.quantize import Quantized, quantize
from calibration.rules import violations
from edgecell.bundle import SHIPPED, open_bundle, shipped

SHIPPED_NAMES = shipped()


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Quantized:
    path = tmp_path_factory.mktemp("rules")
    onnx.save(tiny_model(), path / "float.onnx")
    return quantize(path / "float.onnx", [np.random.default_rng(1).random((4, 3, 32, 32), dtype=np.float32)], path)


def test_s8s8_obeys_and_u8s8_does_not(quantized: Quantized) -> None:
    assert violations(quantized.s8s8) == []
    assert any("zero point is uint8" in each for each in violations(quantized.u8s8))
    assert any("bias is quantized" in each for each in violations(quantized.u8s8))


def node(graph: Any, name: str) -> Any:
    return next(each for each in graph.node if each.name == name)


def set_constant(graph: Any, name: str, change: Callable[[Any], Any]) -> None:
    constant = next(each for each in graph.initializer if each.name == name)
    constant.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(constant)), name))


def zero_point(graph: Any) -> None:
    set_constant(graph, "relu1.out_zero_point", lambda value: value + np.int8(1))


def zero_scale(graph: Any) -> None:
    set_constant(graph, "relu1.out_scale", lambda value: value * np.float32(0))


def bare_weight(graph: Any) -> None:
    node(graph, "conv2").input[1] = "conv2.weight"


def bare_conv(graph: Any) -> None:
    node(graph, "conv2").input[1] = "conv2.weight"
    node(graph, "conv2").input[0] = "relu1.out"


def bare_skip(graph: Any) -> None:
    node(graph, "add5").input[1] = "relu1.out"


def quantized_main_branch(graph: Any) -> None:
    pair = [node(graph, f"relu1.out_{op}") for op in ("QuantizeLinear", "DequantizeLinear")]
    copies = [helper.make_node(each.op_type, each.input, [f"main_{at}"], name=f"main_{at}") for at, each in enumerate(pair)]
    copies[0].input[0], copies[1].input[0] = "conv4.out", "main_0"
    at = list(graph.node).index(node(graph, "add5"))
    graph.node.insert(at, copies[0])
    graph.node.insert(at + 1, copies[1])
    node(graph, "add5").input[0] = "main_1"


def wrong_axis(graph: Any) -> None:
    for op in ("QuantizeLinear", "DequantizeLinear"):
        node(graph, f"conv2.weight_{op}").attribute[0].i = 1


def quantized_linear(graph: Any) -> None:
    node(graph, "gemm15").input[0] = "relu1.out_DequantizeLinear_Output"


def quantized_bias(graph: Any) -> None:
    node(graph, "conv2").input[2] = "relu1.out_DequantizeLinear_Output"


def quantized_relu(graph: Any) -> None:
    node(graph, "relu3").input[0] = "relu1.out_DequantizeLinear_Output"


def lone_dequantize(graph: Any) -> None:
    node(graph, "relu1.out_DequantizeLinear").input[0] = "relu1.out"


def unlike_pair(graph: Any) -> None:
    node(graph, "relu1.out_DequantizeLinear").input[1] = "relu3.out_scale"


def quantized_narrow(graph: Any) -> None:
    node(graph, "conv0").input[0] = "relu1.out_DequantizeLinear_Output"
    node(graph, "conv0").input[1] = "conv0.fake"
    pair = [node(graph, f"conv2.weight_{op}") for op in ("QuantizeLinear", "DequantizeLinear")]
    graph.node.extend(
        [
            helper.make_node("QuantizeLinear", ["conv0.weight", *pair[0].input[1:]], ["conv0.q"], name="q", axis=0),
            helper.make_node("DequantizeLinear", ["conv0.q", *pair[1].input[1:]], ["conv0.fake"], name="dq", axis=0),
        ]
    )


BROKEN: list[tuple[Callable[[Any], None], str]] = [
    (zero_point, "zero point is not 0"),
    (zero_scale, "scale is not a positive constant"),
    (bare_weight, "conv2: only its input is quantized"),
    (bare_conv, "conv2: is not quantized"),
    (bare_skip, "add5: its skip input"),
    (quantized_main_branch, "add5: its skip input"),
    (wrong_axis, "conv2: its weight is not quantized per channel"),
    (quantized_linear, "gemm15: the linear layer is quantized"),
    (quantized_bias, "conv2: its bias is quantized"),
    (quantized_relu, "relu3: a quantized Relu"),
    (lone_dequantize, "has no QuantizeLinear before it"),
    (unlike_pair, "differ from its QuantizeLinear"),
    (quantized_narrow, "conv0: is quantized with fewer than 16 channels"),
]


@pytest.mark.parametrize(("damage", "expected"), BROKEN, ids=[damage.__name__ for damage, _ in BROKEN])
def test_each_violation_is_named(quantized: Quantized, tmp_path: Path, damage: Callable[[Any], None], expected: str) -> None:
    model = onnx.load(quantized.s8s8)
    damage(model.graph)
    onnx.save(model, tmp_path / "broken.onnx")
    assert any(expected in each for each in violations(tmp_path / "broken.onnx"))


def test_a_convolution_left_float_on_purpose_is_no_violation(quantized: Quantized, tmp_path: Path) -> None:
    model = onnx.load(quantized.s8s8)
    bare_conv(model.graph)
    onnx.save(model, tmp_path / "kept.onnx")
    assert violations(tmp_path / "kept.onnx", kept_float=["conv2"]) == []


@pytest.mark.skipif(not SHIPPED_NAMES, reason=f"no bundle in {SHIPPED.name}/ yet")
@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_shipped_s8s8_is_what_tensorrt_accepts(name: str) -> None:
    bundle = open_bundle(name)
    assert violations(bundle.file("s8s8.onnx"), bundle.manifest.quantization.kept_float) == []
