"""The rules accept what quantize makes, and name what is broken in it on purpose: each graph breaks one rule and no other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tiny_bundle import tiny_model
from tiny_segmenter import Up, tiny_segmenter

from calibration import cpu_rules
from calibration.quantize import Quantized, quantize
from calibration.rules import violations
from edgecell.bundle import SHIPPED, open_bundle, shipped

SHIPPED_NAMES = shipped()
Damage = Callable[[Any], None]


def quantized(model: Any, folder: Path) -> Quantized:
    onnx.save(model, folder / "float.onnx")
    return quantize(folder / "float.onnx", [np.random.default_rng(1).random((4, 3, 32, 32), dtype=np.float32)], folder)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Quantized:
    """Stem conv0, blocks conv2 conv4 + skip and conv7 conv9 + conv10, gemm15: see tiny_bundle."""
    return quantized(tiny_model(), tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Quantized:
    """conv0, conv2, maxpool4, conv5, convtranspose7, concat8, conv9, final conv11 and conv12."""
    return quantized(tiny_segmenter("transposed"), tmp_path_factory.mktemp("segmenter"))


def node(graph: Any, name: str) -> Any:
    return next(each for each in graph.node if each.name == name)


def set_constant(graph: Any, name: str, change: Callable[[Any], Any]) -> None:
    constant = next(each for each in graph.initializer if each.name == name)
    constant.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(constant)), name))


def insert_before(graph: Any, name: str, *nodes: Any) -> None:
    at = list(graph.node).index(node(graph, name))
    for offset, each in enumerate(nodes):
        graph.node.insert(at + offset, each)


def another_pair(graph: Any, tensor: str, like: str, **axis: int) -> tuple[list[Any], str]:
    """A new Q/DQ pair on a tensor, with the numbers of the pair on `like`, and the tensor that it makes."""
    parameters = node(graph, f"{like}_QuantizeLinear").input[1:]
    made = [f"{tensor}.q", f"{tensor}.dq"]
    pair = [
        helper.make_node("QuantizeLinear", [tensor, *parameters], made[:1], name=made[0], **axis),
        helper.make_node("DequantizeLinear", [made[0], *parameters], made[1:], name=made[1], **axis),
    ]
    return pair, made[1]


def zero_point(graph: Any) -> None:
    set_constant(graph, "relu1.out_zero_point", lambda value: value + np.int8(1))


def unsigned(graph: Any) -> None:
    set_constant(graph, "relu1.out_zero_point", lambda value: value.astype(np.uint8))


def zero_scale(graph: Any) -> None:
    set_constant(graph, "relu1.out_scale", lambda value: value * np.float32(0))


def lone_dequantize(graph: Any) -> None:
    node(graph, "relu1.out_DequantizeLinear").input[0] = "relu1.out"


def unlike_pair(graph: Any) -> None:
    node(graph, "relu1.out_DequantizeLinear").input[1] = "relu3.out_scale"


def vendor_domain(graph: Any) -> None:
    node(graph, "relu1.out_QuantizeLinear").domain = "com.microsoft"


def integer_form(graph: Any) -> None:
    made = helper.make_node("QLinearAdd", [], ["integer"], name="integer", domain="com.microsoft")
    insert_before(graph, "gemm15", made)


def read_as_integers(graph: Any) -> None:
    insert_before(graph, "conv2", helper.make_node("Cast", ["relu1.out_QuantizeLinear_Output"], ["cast"], name="cast", to=1))


def int32_bias(graph: Any) -> None:
    """As QuantizeBias=True writes it."""
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.ones(16, np.int32), "bias.int32"),
            numpy_helper.from_array(np.ones(16, np.float32), "bias.scale"),
            numpy_helper.from_array(np.zeros(16, np.int32), "bias.zero"),
        ]
    )
    made = helper.make_node("DequantizeLinear", ["bias.int32", "bias.scale", "bias.zero"], ["bias"], name="bias", axis=0)
    insert_before(graph, "conv2", made)
    node(graph, "conv2").input[2] = "bias"


def widened_weight(graph: Any) -> None:
    """As the quantizer does where an int32 bias would not fit."""

    def widen(value: Any) -> Any:
        wider = value.copy()
        wider[3] *= 7
        return wider

    set_constant(graph, "conv2.weight_scale", widen)


def wrong_axis(graph: Any) -> None:
    for op in ("QuantizeLinear", "DequantizeLinear"):
        node(graph, f"conv2.weight_{op}").attribute[0].i = 1


def one_weight_scale(graph: Any) -> None:
    set_constant(graph, "conv2.weight_scale", lambda value: value.max())
    set_constant(graph, "conv2.weight_zero_point", lambda value: value[0])


def stored_weight(graph: Any) -> None:
    """As AddQDQPairToWeight=False writes it."""
    set_constant(graph, "conv2.weight", lambda value: np.clip(value * 10, -127, 127).astype(np.int8))
    graph.node.remove(node(graph, "conv2.weight_QuantizeLinear"))
    node(graph, "conv2.weight_DequantizeLinear").input[0] = "conv2.weight"


def input_per_channel(graph: Any) -> None:
    for name in ("scale", "zero_point"):
        set_constant(graph, f"relu3.out_{name}", lambda value: np.repeat(value, 16))


def bare_weight(graph: Any) -> None:
    node(graph, "conv2").input[1] = "conv2.weight"


def bare_input(graph: Any) -> None:
    node(graph, "conv2").input[0] = "relu1.out"


def bare_conv(graph: Any) -> None:
    node(graph, "conv2").input[1] = "conv2.weight"
    node(graph, "conv2").input[0] = "relu1.out"


def dedicated_pair(graph: Any) -> None:
    """As DedicatedQDQPair=True writes it."""
    pair, made = another_pair(graph, "relu1.out", "relu1.out")
    insert_before(graph, "conv2", *pair)
    node(graph, "conv2").input[0] = made


def quantized_pooling(graph: Any) -> None:
    pooling = next(each for each in graph.node if each.op_type == "GlobalAveragePool")
    pair, made = another_pair(graph, pooling.input[0], "relu1.out")
    insert_before(graph, pooling.name, *pair)
    pooling.input[0] = made


def quantized_relu(graph: Any) -> None:
    pair, made = another_pair(graph, "conv2.out", "relu1.out")
    insert_before(graph, "relu3", *pair)
    node(graph, "relu3").input[0] = made


def batch_norm(graph: Any) -> None:
    norm = helper.make_node("BatchNormalization", ["conv2.out", *["conv2.bias"] * 4], ["normed"], name="norm")
    insert_before(graph, "relu3", norm)
    node(graph, "relu3").input[0] = "normed"


def bare_skip(graph: Any) -> None:
    node(graph, "add5").input[1] = "relu1.out"


def quantized_main_branch(graph: Any) -> None:
    pair, made = another_pair(graph, "conv4.out", "relu1.out")
    insert_before(graph, "add5", *pair)
    node(graph, "add5").input[0] = made


def quantized_linear(graph: Any) -> None:
    pair, made = another_pair(graph, "features", "relu1.out")
    insert_before(graph, "gemm15", *pair)
    node(graph, "gemm15").input[0] = made


def quantized_narrow(graph: Any) -> None:
    data, weight = another_pair(graph, "input", "relu1.out"), another_pair(graph, "conv0.weight", "conv2.weight", axis=0)
    largest = np.abs(numpy_helper.to_array(next(each for each in graph.initializer if each.name == "conv0.weight")))
    graph.initializer.append(numpy_helper.from_array(largest.max(axis=(1, 2, 3)) / 127, "conv0.scale"))
    for each in weight[0]:
        each.input[1] = "conv0.scale"
    insert_before(graph, "conv0", *data[0], *weight[0])
    node(graph, "conv0").input[0], node(graph, "conv0").input[1] = data[1], weight[1]


CLASSIFIERS: list[tuple[Damage, int, str]] = [
    (zero_point, 1, "zero point is not 0"),
    (unsigned, 1, "zero point is uint8, not int8"),
    (zero_scale, 1, "scale is not a positive constant"),
    (lone_dequantize, 1, "has no QuantizeLinear before it"),
    (unlike_pair, 1, "differ from its QuantizeLinear"),
    (vendor_domain, 1, "domain com.microsoft is not standard"),
    (integer_form, 1, "integer: QLinearAdd is the integer form"),
    (read_as_integers, 1, "is not followed by DequantizeLinear alone"),
    (int32_bias, 2, "conv2: its bias is quantized"),
    (widened_weight, 2, "conv2: its weight's steps are 7.00 times as wide"),
    (wrong_axis, 3, "conv2: its weight is not quantized per channel on axis 0"),
    (one_weight_scale, 3, "conv2: its weight is not quantized per channel on axis 0"),
    (stored_weight, 3, "conv2: its weight is stored quantized"),
    (input_per_channel, 3, "conv4: its input is not quantized per tensor"),
    (bare_weight, 4, "conv2: only its input is quantized"),
    (bare_input, 4, "conv2: only its weight is quantized"),
    (bare_conv, 4, "conv2: is not quantized"),
    (dedicated_pair, 4, "relu1.out is quantized 2 times"),
    (quantized_pooling, 4, "quantizes for GlobalAveragePool"),
    (quantized_relu, 5, "relu3: a quantized Relu"),
    (batch_norm, 5, "norm: batch norm is not folded"),
    (bare_skip, 6, "add5: its skip input"),
    (quantized_main_branch, 6, "add5: its skip input"),
    (quantized_linear, 7, "gemm15: the linear layer is quantized"),
    (quantized_narrow, 7, "conv0: is quantized, though it has fewer than 16 channels"),
]


def transposed_axis(graph: Any) -> None:
    for op in ("QuantizeLinear", "DequantizeLinear"):
        node(graph, f"up.weight_{op}").attribute[0].i = 0


def quantized_concat(graph: Any) -> None:
    pair, made = another_pair(graph, "convtranspose7.out", "concat8.out")
    insert_before(graph, "concat8", *pair)
    node(graph, "concat8").input[1] = made


def another_scale(graph: Any) -> None:
    set_constant(graph, "maxpool4.out_scale", lambda value: value * np.float32(2))


def quantized_output(graph: Any) -> None:
    pair, made = another_pair(graph, "conv11.out", "concat8.out")
    insert_before(graph, "identity13", *pair)
    node(graph, "identity13").input[0] = made


def quantized_sigmoid(graph: Any) -> None:
    pair, made = another_pair(graph, "conv12.out", "concat8.out")
    insert_before(graph, "sigmoid14", *pair)
    node(graph, "sigmoid14").input[0] = made


def quantized_final(graph: Any) -> None:
    data, weight = (
        another_pair(graph, "relu10.out", "concat8.out"),
        another_pair(graph, "conv12.weight", "conv2.weight", axis=0),
    )
    largest = np.abs(numpy_helper.to_array(next(each for each in graph.initializer if each.name == "conv12.weight")))
    graph.initializer.append(numpy_helper.from_array(largest.max(axis=(1, 2, 3)) / 127, "conv12.scale"))
    for each in weight[0]:
        each.input[1] = "conv12.scale"
    insert_before(graph, "conv12", *data[0], *weight[0])
    node(graph, "conv12").input[0], node(graph, "conv12").input[1] = data[1], weight[1]


SEGMENTERS: list[tuple[Damage, int, str]] = [
    (transposed_axis, 3, "convtranspose7: its weight is not quantized per channel on axis 1"),
    (quantized_output, 4, "quantizes for Identity"),
    (quantized_concat, 5, "concat8: a quantized Concat"),
    (another_scale, 5, "concat8: what it joins has more than one scale"),
    (quantized_sigmoid, 5, "sigmoid14: a quantized Sigmoid"),
    (quantized_final, 7, "conv12: is quantized, though it has fewer than 16 channels or is the final layer"),
]


def named(damage: Damage) -> str:
    return damage.__name__


def assert_named(path: Path, damage: Damage, rule: str, expected: str, check: Callable[[Path], Any], broken: Path) -> None:
    model = onnx.load(path)
    damage(model.graph)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, broken)
    found = check(broken)
    assert any(expected in str(each) for each in found), [str(each) for each in found]
    assert {each.rule for each in found} == {rule}, [str(each) for each in found]


@pytest.mark.parametrize(("damage", "rule", "text"), CLASSIFIERS, ids=[named(each[0]) for each in CLASSIFIERS])
def test_a_classifier_that_breaks_one_rule(classifier: Quantized, tmp_path: Path, damage: Damage, rule: int, text: str) -> None:
    assert_named(classifier.s8s8, damage, f"s8s8 {rule}", text, violations, tmp_path / "broken.onnx")


@pytest.mark.parametrize(("damage", "rule", "text"), SEGMENTERS, ids=[named(each[0]) for each in SEGMENTERS])
def test_a_segmenter_that_breaks_one_rule(segmenter: Quantized, tmp_path: Path, damage: Damage, rule: int, text: str) -> None:
    assert_named(segmenter.s8s8, damage, f"s8s8 {rule}", text, violations, tmp_path / "broken.onnx")


def signed(graph: Any) -> None:
    set_constant(graph, "relu3.out_zero_point", lambda value: value.astype(np.int8))


def eight_bits(graph: Any) -> None:
    set_constant(graph, "conv4.weight_quantized", lambda value: (value.astype(int) * 127 // 64).astype(np.int8))


def shifted_weight(graph: Any) -> None:
    set_constant(graph, "conv4.weight_zero_point", lambda value: value + np.int8(1))


def float_bias(graph: Any) -> None:
    graph.initializer.append(numpy_helper.from_array(np.zeros(16, np.float32), "float.bias"))
    node(graph, "conv4").input[2] = "float.bias"


def coarse_bias(graph: Any) -> None:
    set_constant(graph, "conv4.bias_quantized_scale", lambda value: value * np.float32(1.001))


def unfused(graph: Any) -> None:
    """A function between the convolution and its Q that no fusion knows."""
    insert_before(graph, "relu3.out_QuantizeLinear", helper.make_node("Tanh", ["relu3.out"], ["bent"], name="bent"))
    node(graph, "relu3.out_QuantizeLinear").input[0] = "bent"


ON_A_CPU: list[tuple[Damage, int, str]] = [
    (signed, 1, "zero point is int8, not uint8"),
    (eight_bits, 2, "conv4: its weight exceeds 7 bits: +-127"),
    (shifted_weight, 2, "conv4: its weight is not stored as symmetric int8"),
    (float_bias, 3, "conv4: its bias is not quantized"),
    (coarse_bias, 3, "conv4: its bias is not int32 in steps of input scale times weight scale"),
    (unfused, 4, "conv2: is a float convolution in ONNX Runtime's optimised graph"),
]


@pytest.mark.parametrize(("damage", "rule", "text"), ON_A_CPU, ids=[named(each[0]) for each in ON_A_CPU])
def test_a_cpu_model_that_breaks_one_rule(classifier: Quantized, tmp_path: Path, damage: Damage, rule: int, text: str) -> None:
    assert_named(classifier.u8s8, damage, f"u8s8 {rule}", text, cpu_rules.violations, tmp_path / "broken.onnx")


def test_what_quantize_makes_of_a_classifier_is_clean(classifier: Quantized) -> None:
    assert violations(classifier.s8s8) == []
    assert cpu_rules.violations(classifier.u8s8) == []


@pytest.mark.parametrize("up", ["nearest", "linear", "transposed"])
def test_what_quantize_makes_of_a_segmenter_is_clean(tmp_path: Path, up: str) -> None:
    made = quantized(tiny_segmenter(cast(Up, up)), tmp_path)
    assert violations(made.s8s8) == []
    assert cpu_rules.violations(made.u8s8) == []


def test_neither_encoding_passes_for_the_other(classifier: Quantized) -> None:
    assert {each.rule for each in violations(classifier.u8s8)} >= {"s8s8 1", "s8s8 2", "s8s8 3"}
    assert {each.rule for each in cpu_rules.violations(classifier.s8s8)} >= {"u8s8 1", "u8s8 2", "u8s8 3", "u8s8 4"}


def test_a_convolution_left_float_on_purpose_is_no_violation(classifier: Quantized, tmp_path: Path) -> None:
    model = onnx.load(classifier.s8s8)
    bare_conv(model.graph)
    onnx.save(model, tmp_path / "kept.onnx")
    assert violations(tmp_path / "kept.onnx", kept_float=["conv2"]) == []


@pytest.mark.skipif(not SHIPPED_NAMES, reason=f"no bundle in {SHIPPED.name}/ yet")
@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_shipped_models_break_no_rule(name: str) -> None:
    bundle = open_bundle(name)
    kept = bundle.manifest.quantization.kept_float
    assert violations(bundle.file("s8s8.onnx"), kept) == []
    assert cpu_rules.violations(bundle.file("u8s8.onnx"), kept) == []
