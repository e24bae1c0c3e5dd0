"""Float ONNX against the network that it was made from."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from toy_cells import toy_recipe, write_split

torch = pytest.importorskip("torch", reason="the workshop's torch is not installed")

from calibration import export, train  # noqa: E402
from calibration.recipe import Recipe  # noqa: E402

# torch calls its TorchScript exporter deprecated; the new one writes no opset 17.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("export")
    return toy_recipe(folder / "toy.toml", write_split([], folder / "toy.tsv"))


@pytest.fixture
def model(recipe: Recipe) -> Any:
    """A network whose batch norm has seen data, so that folding it wrongly shows."""
    torch.manual_seed(3)
    made = train.network(recipe)
    with torch.no_grad():
        for _ in range(5):
            made.train()(torch.randn(16, 3, 32, 32) * 2 + 1)
    return made


@pytest.mark.parametrize("count", [1, 5])
def test_onnx_answers_as_torch_does(model: Any, recipe: Recipe, tmp_path: Path, count: int) -> None:
    cells = torch.randn(count, 3, 32, 32)
    with torch.no_grad():
        expected = [each.numpy() for each in model.eval()(cells)]
    export.export(model, recipe, tmp_path / "float.onnx")
    session = ort.InferenceSession(str(tmp_path / "float.onnx"), providers=["CPUExecutionProvider"])
    logits, features = session.run(["logits", "features"], {"input": cells.numpy()})
    assert logits.shape == (count, 3)
    assert features.shape == (count, 32)
    assert np.abs(logits - expected[0]).max() < 1e-4
    assert np.abs(features - expected[1]).max() < 1e-4
    assert expected[1].std() > 1e-2, "the network answers something"


def test_folding_takes_batch_norm_out_and_changes_no_answer(model: Any) -> None:
    cells = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        before = [each.clone() for each in model.eval()(cells)]
        after = export.fold(model)(cells)
    assert not any(isinstance(each, torch.nn.BatchNorm2d) for each in model.modules())
    assert all(torch.allclose(one, two, atol=1e-4) for one, two in zip(before, after, strict=True))


def test_the_graph_is_what_every_tensorrt_reads(model: Any, recipe: Recipe, tmp_path: Path) -> None:
    export.export(model, recipe, tmp_path / "float.onnx")
    made = onnx.load(tmp_path / "float.onnx")
    assert [each.version for each in made.opset_import if each.domain in {"", "ai.onnx"}] == [17]
    kinds = {node.op_type for node in made.graph.node}
    assert kinds == {"Conv", "Relu", "Add", "GlobalAveragePool", "Flatten", "Gemm"}, "batch norm is folded"
    [source] = made.graph.input
    assert (source.name, [each.dim_param or each.dim_value for each in source.type.tensor_type.shape.dim]) == (
        "input",
        ["batch", 3, 32, 32],
    )
    assert [each.name for each in made.graph.output] == ["logits", "features"]
    assert all(each.type.tensor_type.shape.dim[0].dim_param == "batch" for each in made.graph.output)
