"""One calibration, two encodings: what the files hold and how close they are to the float model."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from tiny_bundle import tiny_model
from tiny_segmenter import Up, tiny_segmenter

from calibration.quantize import Quantized, optimised_float_convs, quantize
from calibration.rules import violations
from edgecell.bundle import SHIPPED, open_bundle, shipped
from edgecell.engines.onnxrt import OnnxRuntimeEngine, OnnxRuntimeOptions

SHIPPED_NAMES = shipped()


def batches(count: int = 3) -> Iterator[NDArray[np.float32]]:
    rng = np.random.default_rng(7)
    for _ in range(count):
        yield rng.standard_normal((8, 3, 32, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quantize")
    onnx.save(tiny_model(), path / "float.onnx")
    return path


@pytest.fixture(scope="module")
def quantized(folder: Path) -> Quantized:
    return quantize(folder / "float.onnx", batches(), folder)


def constants(path: Path) -> dict[str, NDArray[np.float32]]:
    return {each.name: numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer}


def infer(path: Path, *, optimise: bool = True) -> NDArray[np.float32]:
    with OnnxRuntimeEngine(path, options=OnnxRuntimeOptions(optimise=optimise)) as engine:
        return engine.infer(next(batches(1)))["logits"]


def test_both_encodings_leave_the_same_layers_float(quantized: Quantized) -> None:
    assert quantized.kept_float == ("conv0", "gemm15")
    assert quantized.calibration_cells == 24
    assert optimised_float_convs(quantized.u8s8) == ["conv0"]


def test_s8s8_does_not_fuse_on_a_cpu_which_is_why_u8s8_exists(quantized: Quantized) -> None:
    assert len(optimised_float_convs(quantized.s8s8)) > 1


def test_encodings_share_their_ranges(quantized: Quantized) -> None:
    """A ReLU output of range (0, highest): the int8 step is highest / 127, the uint8 step highest / 255."""
    s8s8, u8s8 = constants(quantized.s8s8), constants(quantized.u8s8)
    shared = [name for name in s8s8 if name.startswith("relu") and name.endswith("_scale")]
    assert len(shared) >= 3
    for name in shared:
        highest = quantized.ranges[name.removesuffix("_scale")][1]
        assert s8s8[name] * 127 == pytest.approx(highest, rel=1e-5)
        assert u8s8[name] * 255 == pytest.approx(highest, rel=1e-5)


def test_u8s8_weights_have_seven_bits_so_that_no_kernel_saturates(quantized: Quantized) -> None:
    weights = [value for name, value in constants(quantized.u8s8).items() if name.endswith("weight_quantized")]
    assert weights
    assert all(np.abs(each.astype(int)).max() in (63, 64) for each in weights)


@pytest.mark.parametrize("name", ["s8s8", "u8s8"])
def test_answers_stay_close_to_float(quantized: Quantized, folder: Path, name: str) -> None:
    expected = infer(folder / "float.onnx")
    actual = infer(folder / f"{name}.onnx", optimise=name == "u8s8")
    assert np.sqrt(np.mean((actual - expected) ** 2)) < 0.05 * expected.std()
    assert not np.array_equal(actual, expected)


def test_excluded_convolutions_keep_their_float_weight(folder: Path, tmp_path: Path) -> None:
    result = quantize(folder / "float.onnx", batches(1), tmp_path, exclude=["conv4"])
    assert result.kept_float == ("conv0", "conv4", "gemm15")
    for path in (result.s8s8, result.u8s8):
        left = next(node for node in onnx.load(path).graph.node if node.name == "conv4")
        assert left.input[1] == "conv4.weight"


def test_without_cells_there_is_no_calibration(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="calibration"):
        quantize(folder / "float.onnx", [], tmp_path)
    assert not list(tmp_path.iterdir())


def fields(count: int = 3) -> Iterator[NDArray[np.float32]]:
    rng = np.random.default_rng(5)
    for _ in range(count):
        yield rng.standard_normal((2, 3, 32, 48)).astype(np.float32)


@pytest.fixture(scope="module", params=["nearest", "linear", "transposed"])
def segmenter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Quantized:
    folder, up = tmp_path_factory.mktemp("segmenter"), cast(Up, request.param)
    onnx.save(tiny_segmenter(up), folder / "float.onnx")
    return quantize(folder / "float.onnx", fields(), folder)


def test_a_segmenter_keeps_its_final_convolutions_float(segmenter: Quantized) -> None:
    assert segmenter.kept_float == ("conv0", "conv11", "conv12")
    assert sorted(optimised_float_convs(segmenter.u8s8)) == ["conv0", "conv11", "conv12"]
    assert violations(segmenter.s8s8) == []


def test_a_segmenter_stays_close_to_float_on_fields_of_another_size(segmenter: Quantized) -> None:
    """Under a Concat of both signs the ReLU beside it must still cut off at zero: not doing so costs half of the spread."""
    field = np.random.default_rng(6).standard_normal((1, 3, 64, 32)).astype(np.float32)
    with OnnxRuntimeEngine(segmenter.u8s8.parent / "float.onnx") as engine:
        expected = engine.infer(field)
    for path in (segmenter.u8s8, segmenter.s8s8):
        with OnnxRuntimeEngine(path, options=OnnxRuntimeOptions(optimise=path.stem == "u8s8")) as engine:
            actual = engine.infer(field)
        for name in ("centres", "masks"):
            assert np.sqrt(np.mean((actual[name] - expected[name]) ** 2)) < 0.05 * expected[name].std()


def test_what_a_concat_joins_shares_one_scale(segmenter: Quantized) -> None:
    """In `s8s8` the scale before the pooling and after the Concat is one, so that TensorRT can move it through both."""
    scales = constants(segmenter.s8s8)
    assert scales["maxpool4.out_scale"] == scales["concat8.out_scale"]
    ranges = segmenter.ranges
    assert ranges["relu3.out"] == ranges["maxpool4.out"] == ranges["concat8.out"]


@pytest.mark.skipif(not SHIPPED_NAMES, reason=f"no bundle in {SHIPPED.name}/ yet")
@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_shipped_u8s8_has_no_float_convolution_but_the_excluded(name: str) -> None:
    bundle = open_bundle(name)
    left = set(optimised_float_convs(bundle.file("u8s8.onnx")))
    assert left <= set(bundle.manifest.quantization.kept_float)
