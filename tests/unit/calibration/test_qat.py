"""Fine-tuning with quantization simulated: it rounds as ONNX Runtime does, and repairs what bad ranges broke."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from tiny_bundle import make_tiny_bundle, tiny_crops, tiny_manifest, tiny_model
from tiny_segmenter import Up, tiny_segmenter

torch = pytest.importorskip("torch", reason="the workshop's torch is not installed")

from calibration.onnx_module import OnnxModule  # noqa: E402
from calibration.qat import Simulation, distance, fine_tune  # noqa: E402
from calibration.quantize import Quantized, encode, load, quantize  # noqa: E402
from calibration.range_trials import agreement, answers, error  # noqa: E402
from calibration.steps import Batch, Part  # noqa: E402
from edgecell.errors import SettingsError  # noqa: E402
from edgecell.preprocess import to_batch  # noqa: E402


def cells(seed: int, count: int = 16) -> NDArray[np.float32]:
    return to_batch(tiny_crops(count, seed=seed), tiny_manifest().preprocess)


class Shown:
    """Discs without labels: a schedule of 12 batches."""

    batch = 16
    per_epoch = 12

    def __len__(self) -> int:
        return self.per_epoch

    def part(self, part: Part) -> Batch:
        return (torch.from_numpy(cells(100 + part.step, self.batch)),)


def no_labels(outputs: Any, batch: Batch) -> Any:
    return outputs["logits"].sum() * 0


@pytest.fixture
def float_onnx(tmp_path: Path) -> Path:
    """Of the tiny bundle, whose three classes all win somewhere."""
    return make_tiny_bundle(tmp_path / "bundle").file("float.onnx")


@pytest.fixture(scope="module", params=["classifier", "nearest", "linear", "transposed"])
def any_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Quantized:
    folder = tmp_path_factory.mktemp("qat")
    model = tiny_model() if request.param == "classifier" else tiny_segmenter(cast(Up, request.param))
    onnx.save(model, folder / "float.onnx")
    return quantize(folder / "float.onnx", [cells(1)], folder)


def named(outputs: Any) -> list[dict[str, NDArray[np.float32]]]:
    return [{name: value.detach().numpy() for name, value in outputs.items()}]


def test_the_module_computes_the_float_graph(any_model: Quantized) -> None:
    path = any_model.u8s8.parent / "float.onnx"
    found = named(OnnxModule(load(path))(torch.from_numpy(cells(2))))
    assert error(found, answers(path, [cells(2)])) < 1e-5


@pytest.mark.parametrize("encoding", ["u8s8", "s8s8"])
def test_the_simulation_rounds_as_onnx_runtime_does(any_model: Quantized, encoding: str) -> None:
    """Far nearer to the INT8 model than that is to the float one. What is left are sums in another order: interpolation between
    steps often lies half way, where the order decides."""
    path = any_model.u8s8.parent / "float.onnx"
    encoded = path.with_name(f"{encoding}.onnx")
    int8 = answers(encoded, [cells(2)])
    found = named(OnnxModule(load(path))(torch.from_numpy(cells(2)), Simulation(encoded)))
    assert error(found, int8) < 0.4 * error(answers(path, [cells(2)]), int8)


def test_ranges_cut_far_inside_are_repaired(float_onnx: Path, tmp_path: Path) -> None:
    """A percentile that is far too low, before and after, on cells that were not shown."""
    before = quantize(float_onnx, [cells(1)], tmp_path, method="percentile 90")
    unseen = [cells(3, 128)]
    wanted = answers(float_onnx, unseen)
    lost = {path.stem: answers(path, unseen) for path in (before.u8s8, before.s8s8)}
    encoded = (before.u8s8, before.s8s8)
    fine_tune(float_onnx, encoded, Shown(), no_labels, tmp_path / "tuned.onnx", steps=60, rate=3e-3)
    after = encode(load(tmp_path / "tuned.onnx"), before.ranges, before.calibration_cells, tmp_path)
    repaired = {path.stem: answers(path, unseen) for path in (after.u8s8, after.s8s8)}
    for name in ("u8s8", "s8s8"):
        assert (agreement(repaired[name], wanted) or 0) > (agreement(lost[name], wanted) or 0) + 0.2
        assert error(repaired[name], wanted) < 0.6 * error(lost[name], wanted)


def test_nothing_but_weights_changes(float_onnx: Path, tmp_path: Path) -> None:
    made = quantize(float_onnx, [cells(1)], tmp_path)
    fine_tune(float_onnx, [made.u8s8], Shown(), no_labels, tmp_path / "tuned.onnx", steps=2, rate=1e-3)
    old, new = onnx.load(float_onnx), onnx.load(tmp_path / "tuned.onnx")
    assert [node.name for node in old.graph.node] == [node.name for node in new.graph.node]
    pairs = list(zip(old.graph.initializer, new.graph.initializer, strict=True))
    assert all(one.name == other.name and one.dims == other.dims for one, other in pairs)
    changed = [one.name for one, other in pairs if not np.array_equal(numpy_helper.to_array(one), numpy_helper.to_array(other))]
    assert {"conv2.weight", "conv2.bias", "fc.weight"} <= set(changed)


def test_no_step_changes_nothing(float_onnx: Path, tmp_path: Path) -> None:
    made = quantize(float_onnx, [cells(1)], tmp_path)
    fine_tune(float_onnx, [made.u8s8], Shown(), no_labels, tmp_path / "tuned.onnx", steps=0, rate=1e-3)
    assert error(answers(tmp_path / "tuned.onnx", [cells(2)]), answers(float_onnx, [cells(2)])) == 0


def test_the_gradient_passes_the_rounding_and_stops_at_the_cut(float_onnx: Path, tmp_path: Path) -> None:
    made = quantize(float_onnx, [cells(1)], tmp_path)
    simulation = Simulation(made.u8s8)
    highest = made.ranges["relu1.out"][1]
    values = torch.tensor([-1.0, 0.3 * highest, 0.7 * highest, 2 * highest], requires_grad=True)
    simulation("conv2", 0, values).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [0, 1, 1, 0]
    assert simulation("conv0", 0, values) is values, "what is left float is left alone"


def test_distance_is_in_variances() -> None:
    wanted = {"logits": torch.tensor([[0.0, 2.0], [4.0, 6.0]])}
    assert distance(wanted, wanted).item() == 0
    assert distance({"logits": wanted["logits"] + 1}, wanted).item() == pytest.approx(1 / (20 / 3))


def test_an_unknown_operator_is_named() -> None:
    model = tiny_model()
    model.graph.node[1].op_type = "Erf"
    with pytest.raises(SettingsError, match="cannot fine-tune Erf"):
        OnnxModule(model)
