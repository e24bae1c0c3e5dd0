"""fp16.onnx of the shipped bundles: half precision inside, the float model's names, types and answers outside."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from calibration.range_trials import agreement, answers, error
from edgecell.bundle import SHIPPED, Bundle, open_bundle, shipped
from edgecell.golden import inputs, read_golden

NAMES = shipped()
pytestmark = pytest.mark.skipif(not NAMES, reason=f"no bundle in {SHIPPED.name}/ yet")
BOUND = 0.002  # of an output's standard deviation, mean over the outputs; half precision has 11 bits, a step of 0.0005


@pytest.fixture(scope="module", params=NAMES)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return open_bundle(str(request.param))


def described(values: Any) -> list[tuple[str, int, list[str | int]]]:
    return [
        (
            each.name,
            each.type.tensor_type.elem_type,
            [dim.dim_param or dim.dim_value for dim in each.type.tensor_type.shape.dim],
        )
        for each in values
    ]


def test_it_has_the_float_models_opset_names_and_float32_outside(bundle: Bundle) -> None:
    half, full = onnx.load(bundle.file("fp16.onnx")), onnx.load(bundle.file("float.onnx"))
    assert [(each.domain, each.version) for each in half.opset_import] == [("", 17)]
    assert described(half.graph.input) == described(full.graph.input)
    assert described(half.graph.output) == described(full.graph.output)
    assert {kind for _, kind, _ in described([*half.graph.input, *half.graph.output])} == {TensorProto.FLOAT}
    assert [each.name for each in half.graph.input] == [bundle.manifest.input.name]
    assert {each.name for each in half.graph.output} == {each.name for each in bundle.manifest.outputs}


def test_every_weight_is_the_float_one_rounded(bundle: Bundle) -> None:
    half, full = (
        {each.name: numpy_helper.to_array(each) for each in onnx.load(bundle.file(name)).graph.initializer}
        for name in ("fp16.onnx", "float.onnx")
    )
    weights = [name for name, value in full.items() if value.ndim > 1]
    assert weights
    for name in weights:
        assert half[name].dtype == np.float16
        assert np.allclose(half[name].astype(np.float32), full[name], rtol=2**-10, atol=1e-7)


def test_it_answers_as_the_float_model_does(bundle: Bundle, tmp_path: Path) -> None:
    golden = inputs(read_golden(bundle.file("golden.npz"), "float").crops, bundle.manifest)
    expected, actual = (answers(bundle.file(name), [golden]) for name in ("float.onnx", "fp16.onnx"))
    assert 0 < error(actual, expected) < BOUND
    share = agreement(actual, expected)
    # A segmenter answers for each of 648 places, of which one may be a near tie; golden cells are clear.
    assert share is None or share > (0.999 if bundle.manifest.task == "classify" else 0.998)
