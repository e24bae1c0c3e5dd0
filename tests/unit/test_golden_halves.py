"""Golden cells of the shipped bundles beside what TensorRT does to `s8s8`: layers left float in half precision, emulated."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgecell.bundle import Bundle, open_bundle, shipped
from edgecell.engines.onnxrt import OnnxRuntimeEngine, OnnxRuntimeOptions
from edgecell.errors import BundleMismatch
from edgecell.golden import replay
from edgecell.signature import ANY

FLOATING = {"Conv", "Add", "Relu", "GlobalAveragePool", "Gemm"}


@pytest.fixture(params=shipped())
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return open_bundle(request.param, ANY)


class SwappedColours(OnnxRuntimeEngine):
    """Blue for red."""

    def infer(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        return super().infer(batch[:, ::-1])


def with_halves(model: Path, to: Path) -> Path:
    """The model with each result between its quantization steps rounded to half precision; what is quantized stays exact."""
    loaded = onnx.load(str(model))
    outputs = {each.name for each in loaded.graph.output}
    nodes = []
    for node in loaded.graph.node:
        nodes.append(node)
        if node.op_type in FLOATING:
            name = node.output[0]
            node.output[0] = f"{name}_whole"
            nodes.append(helper.make_node("Cast", [f"{name}_whole"], [f"{name}_half"], to=TensorProto.FLOAT16))
            nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    del loaded.graph.node[:]
    loaded.graph.node.extend(nodes)
    assert {each.name for each in loaded.graph.output} == outputs
    onnx.save(loaded, str(to))
    return to


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
