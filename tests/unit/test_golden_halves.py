"""Golden cells of the shipped bundles beside what TensorRT does to `s8s8`: layers left float in half precision, emulated."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell.adapt.onnxfile import with_halves
from edgecell.bundle import Bundle, open_bundle, shipped
from edgecell.engines.onnxrt import OnnxRuntimeEngine, OnnxRuntimeOptions
from edgecell.errors import BundleMismatch
from edgecell.golden import replay
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


def test_wrong_colours_are_far_beyond_what_is_allowed(bundle: Bundle) -> None:
    options = OnnxRuntimeOptions(encoding="s8s8")
    with (
        SwappedColours(bundle.file("s8s8.onnx"), manifest=bundle.manifest, options=options) as engine,
        pytest.raises(BundleMismatch, match="golden cell"),
    ):
        replay(bundle, engine, "s8s8")
