"""The exact integer reference: by hand on small numbers, and beside ONNX Runtime on whole models."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tiny_bundle import make_tiny_bundle
from tiny_segmenter import Up, tiny_segmenter

from calibration.integer import compute
from calibration.qdq_graph import QUANTIZE, QdqGraph
from calibration.quantize import quantize
from calibration.step_shares import opened, step_shares
from edgecell.bundle import SHIPPED, open_bundle, shipped
from edgecell.golden import inputs, read_golden
from edgecell.preprocess import to_batch

MOST_BESIDE = 1e-4  # of a layer's values: float32 against exact multiplication, where the product lies between two steps
IN_FLOAT = {"Resize", "ConvTranspose"}  # by ONNX Runtime: the order of its sums tells
PIXELS = 12 * 80 * 80  # of a shipped bundle's golden cells, enough for a hundred thousand values a layer


def one_conv(*, weight: int, bias: int, scales: tuple[float, float, float], zero: int) -> Any:
    """u8s8: input -> Q/DQ -> 1x1 Conv of one channel -> Q/DQ -> output. scales: of input, weight and output."""
    numbers: dict[str, NDArray[Any]] = {
        "sx": np.array(scales[0], np.float32),
        "sw": np.array([scales[1]], np.float32),
        "sb": np.array([scales[0] * scales[1]], np.float32),
        "sy": np.array(scales[2], np.float32),
        "zx": np.array(zero, np.uint8),
        "zw": np.zeros(1, np.int8),
        "zb": np.zeros(1, np.int32),
        "zy": np.array(zero, np.uint8),
        "w": np.full((1, 1, 1, 1), weight, np.int8),
        "b": np.array([bias], np.int32),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "sx", "zx"], ["x8"]),
        helper.make_node("DequantizeLinear", ["x8", "sx", "zx"], ["x"]),
        helper.make_node("DequantizeLinear", ["w", "sw", "zw"], ["wf"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "sb", "zb"], ["bf"], axis=0),
        helper.make_node("Conv", ["x", "wf", "bf"], ["y"]),
        helper.make_node("QuantizeLinear", ["y", "sy", "zy"], ["y8"]),
        helper.make_node("DequantizeLinear", ["y8", "sy", "zy"], ["output"]),
    ]
    shape = ["batch", 1, "h", "w"]
    graph = helper.make_graph(
        nodes,
        "one_conv",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in numbers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def computed(model: Any, folder: Path, cells: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    onnx.save(model, folder / "model.onnx")
    return compute(folder / "model.onnx", cells, {})


def row(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32).reshape(1, 1, 1, -1)


def test_a_convolution_by_hand(tmp_path: Path) -> None:
    """(q - 10) * 3 + 4 sums, in steps of 0.5 * 0.25, rounded half to even to steps of 0.25, saturated to uint8."""
    model = one_conv(weight=3, bias=4, scales=(0.5, 0.25, 0.25), zero=10)
    found = computed(model, tmp_path, row(0, 0.5, 1, 1.5, -5, 60, 100))
    assert found["x8"].ravel().tolist() == [10, 11, 12, 13, 0, 130, 210]
    # sums 4, 7, 10, 13, -26, 364, 604; halves 2, 3.5, 5, 6.5, -13, 182, 302
    assert found["y8"].ravel().tolist() == [12, 14, 15, 16, 0, 192, 255]
    assert found["y8"].dtype == np.uint8
    assert found["output"].ravel().tolist() == [0.5, 1.0, 1.25, 1.5, -2.5, 45.5, 61.25]


def test_a_sum_beyond_int32_is_refused(tmp_path: Path) -> None:
    model = one_conv(weight=64, bias=2**31 - 1000, scales=(1.0, 1.0, 1.0), zero=0)
    with pytest.raises(ValueError, match="int32"):
        computed(model, tmp_path, row(200))


def test_given_tensors_replace_our_own_for_what_follows(tmp_path: Path) -> None:
    onnx.save(one_conv(weight=1, bias=0, scales=(1.0, 1.0, 1.0), zero=0), tmp_path / "model.onnx")
    found = compute(tmp_path / "model.onnx", row(5, 6), {"x8": row(7, 9).astype(np.uint8)})
    assert found["x8"].ravel().tolist() == [5, 6]
    assert found["y8"].ravel().tolist() == [7, 9]


def integer_convs(path: Path, folder: Path) -> int:
    """How many convolutions ONNX Runtime computes in integers while it shows every quantized tensor."""
    graph = QdqGraph.load(path)
    onnx.save(opened(graph.model, [each.output[0] for each in graph.nodes if each.op_type == QUANTIZE]), folder / "opened.onnx")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    ort.InferenceSession(str(folder / "opened.onnx"), options, ["CPUExecutionProvider"])
    return sum(each.op_type == "QLinearConv" for each in onnx.load(folder / "optimised.onnx").graph.node)


def assert_equal_within_a_step(path: Path, cells: NDArray[np.float32], folder: Path) -> None:
    shares = step_shares(path, cells)
    convs = [each for each in QdqGraph.load(path).nodes if each.op_type == "Conv" and "Dequantize" in each.input[1]]
    assert convs
    assert len(convs) == integer_convs(path, folder), "what is compared must be QLinearConv"
    assert {each.name for each in convs} <= {each.layer for each in shares}
    for each in shares:
        assert each.worst <= 1, each
        assert each.share <= MOST_BESIDE or each.op in IN_FLOAT, each


@pytest.mark.skipif(not shipped(), reason=f"no bundle in {SHIPPED.name}/ yet")
@pytest.mark.parametrize("name", shipped())
def test_every_layer_of_a_shipped_model_is_equal_within_a_step(name: str, tmp_path: Path) -> None:
    bundle = open_bundle(name)
    crops = read_golden(bundle.file("golden.npz"), "u8s8").crops
    some = crops[: max(1, PIXELS // crops[0, ..., 0].size)]
    assert_equal_within_a_step(bundle.file("u8s8.onnx"), inputs(some, bundle.manifest), tmp_path)


@pytest.mark.parametrize("up", ["nearest", "linear", "transposed"])
def test_every_layer_of_a_segmenter_is_equal_within_a_step(up: str, tmp_path: Path) -> None:
    fields = np.random.default_rng(2).standard_normal((2, 3, 32, 48)).astype(np.float32)
    onnx.save(tiny_segmenter(cast(Up, up)), tmp_path / "float.onnx")
    made = quantize(tmp_path / "float.onnx", [fields], tmp_path)
    assert_equal_within_a_step(made.u8s8, fields, tmp_path)


def test_outputs_are_those_of_onnx_runtime(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    golden = read_golden(bundle.file("golden.npz"), "u8s8")
    found = compute(bundle.file("u8s8.onnx"), to_batch(golden.crops, bundle.manifest.preprocess), {})
    for name, expected in golden.outputs.items():
        assert np.abs(found[name] - expected).max() < 0.02 * expected.std()


def test_a_changed_weight_is_seen(tmp_path: Path) -> None:
    """The comparison can fail: a model whose file says otherwise than what ran."""
    bundle = make_tiny_bundle(tmp_path / "bundle")
    cells = to_batch(read_golden(bundle.file("golden.npz"), "u8s8").crops[:2], bundle.manifest.preprocess)
    path = bundle.file("u8s8.onnx")
    graph = QdqGraph.load(path)
    theirs = compute(path, cells, {})
    weight = next(each for each in graph.model.graph.initializer if each.name.endswith("weight_quantized"))
    weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
    onnx.save(graph.model, path)
    ours = compute(path, cells, {})
    assert (
        max(int(np.abs(ours[name].astype(int) - theirs[name]).max()) for name in theirs if theirs[name].dtype == np.uint8) > 1
    )
