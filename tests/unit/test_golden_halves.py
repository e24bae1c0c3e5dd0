"""Golden cells of the shipped bundles beside what engines rightly do to a model, emulated: TensorRT to `s8s8`, whose float
layers it computes in half precision, OpenVINO to `u8s8`, whose residual sums it does not round. And beside what is wrong."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell.adapt.onnxfile import with_halves, with_unrounded_sums
from edgecell.bundle import Bundle, Encoding, open_bundle, shipped
from edgecell.engines.onnxrt import OnnxRuntimeEngine, OnnxRuntimeOptions
from edgecell.engines.openvino import OpenVinoEngine
from edgecell.errors import BundleMismatch
from edgecell.golden import GOLDEN, inputs, read_golden, replay
from edgecell.signature import ANY


@pytest.fixture(params=shipped())
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return open_bundle(request.param, ANY)


class SwappedColours(OnnxRuntimeEngine):
    """Blue for red."""

    def infer(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        return super().infer(batch[:, ::-1])


def test_half_precision_between_the_quantized_layers_is_no_other_model(bundle: Bundle, tmp_path: Path) -> None:
    model, options = with_halves(bundle.file("s8s8.onnx"), tmp_path / "s8s8.onnx"), OnnxRuntimeOptions(encoding="s8s8")
    with OnnxRuntimeEngine(model, manifest=bundle.manifest, options=options) as engine:
        report = replay(bundle, engine, "s8s8")
    assert all(value > 0 for value in report.deviation.values())  # it did change something


def test_sums_that_are_not_rounded_are_no_other_model(bundle: Bundle, tmp_path: Path) -> None:
    """Such sums are what OpenVINO computes, where it is there to ask: nearer to it than ONNX Runtime's own."""
    model = with_unrounded_sums(bundle.file("u8s8.onnx"), tmp_path / "u8s8.onnx")
    with OnnxRuntimeEngine(model, manifest=bundle.manifest) as engine:
        report = replay(bundle, engine, "u8s8")
        answers = engine.infer(golden_batch(bundle))
    assert all(value > 0 for value in report.deviation.values())
    if not OpenVinoEngine.probe().usable:
        pytest.skip("no OpenVINO to compare with")
    with OpenVinoEngine(bundle.file("u8s8.onnx"), manifest=bundle.manifest) as other:
        theirs = other.infer(golden_batch(bundle))
    rounded = read_golden(bundle.file(GOLDEN), "u8s8").outputs
    for name, answer in theirs.items():
        assert np.square(answers[name] - answer).mean() < 0.4 * np.square(rounded[name] - answer).mean()


@pytest.mark.parametrize("encoding", ["s8s8", "u8s8"])
def test_wrong_colours_are_far_beyond_what_is_allowed(bundle: Bundle, encoding: Encoding) -> None:
    options = OnnxRuntimeOptions(encoding=encoding)
    with (
        SwappedColours(bundle.file(f"{encoding}.onnx"), manifest=bundle.manifest, options=options) as engine,
        pytest.raises(BundleMismatch, match="golden cell"),
    ):
        replay(bundle, engine, encoding)


def golden_batch(bundle: Bundle) -> NDArray[np.float32]:
    return inputs(read_golden(bundle.file(GOLDEN), "u8s8").crops, bundle.manifest)
