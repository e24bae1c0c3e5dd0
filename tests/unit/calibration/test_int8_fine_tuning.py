"""The INT8 models of a bundle when they lose too much: fine-tuned, and kept only if that loses less."""

from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from tiny_bundle import tiny_model
from toy_cells import PIXEL_UM, RADII_UM, toy_cell, toy_recipe, write_split

torch = pytest.importorskip("torch", reason="the workshop's torch is not installed")

from calibration import cpu_rules, int8, rules  # noqa: E402
from calibration.augment import base_window  # noqa: E402
from calibration.cells import ScoredCells, TrainingCells, plain_crops  # noqa: E402
from calibration.evaluate import run  # noqa: E402
from calibration.recipe import Int8, Recipe  # noqa: E402
from edgecell.bundle import Quantization  # noqa: E402

CELLS = 48


class Case(NamedTuple):
    recipe: Recipe
    training: TrainingCells
    validation: list[ScoredCells]
    folder: Path

    def made(self, **how: object) -> Quantization:
        recipe = msgspec.structs.replace(self.recipe, int8=msgspec.convert({"methods": ["percentile 90"], **how}, Int8))
        return int8.make(recipe, self.training, self.validation, self.folder)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A float model that is always right: the labels are its own."""
    recipe = toy_recipe(tmp_path / "toy.toml", write_split([], tmp_path / "toy.tsv"))
    folder = tmp_path / "bundle"
    folder.mkdir()
    labels = list(RADII_UM)
    windows = np.stack([base_window(toy_cell(labels[n % 3], n), (112.0, 112.0), PIXEL_UM) for n in range(2 * CELLS)])
    crops = plain_crops(windows, recipe.preprocess)
    model = tiny_model()
    onnx.save(model, folder / "float.onnx")
    bias = next(each for each in model.graph.initializer if each.name == "fc.bias")
    logits = run(folder, "float", crops, recipe.preprocess)["logits"]
    bias.CopyFrom(numpy_helper.from_array(-logits.mean(axis=0), bias.name))
    onnx.save(model, folder / "float.onnx")
    allowed = np.eye(3, dtype=bool)[(logits - logits.mean(axis=0)).argmax(axis=1)]
    assert allowed.any(axis=0).all(), "every class wins somewhere"
    names = tuple(f"toy/{n}" for n in range(CELLS))
    training = TrainingCells(
        names=names,
        allowed=allowed[:CELLS],
        windows=windows[:CELLS],
        masks=np.zeros(windows.shape[:3], np.uint8)[:CELLS],
        repeats=np.ones(CELLS, np.int64),
    )
    slides = ("toy/one",) * CELLS
    validation = ScoredCells(names=names, allowed=allowed[CELLS:], crops=crops[CELLS:], slides=slides)
    return Case(recipe, training, [validation], folder)


def weights(folder: Path) -> dict[str, NDArray[np.float32]]:
    return {each.name: numpy_helper.to_array(each) for each in onnx.load(folder / "float.onnx").graph.initializer}


def test_a_large_drop_is_repaired_and_recorded(case: Case) -> None:
    before = weights(case.folder)
    made = case.made(largest_drop=0.01, fine_tune_steps=50, rate=3e-3)
    assert made.fine_tuning is not None
    assert (made.fine_tuning.steps, made.fine_tuning.rate) == (50, 3e-3)
    assert max(made.fine_tuning.drop_before.values()) > 0.2
    assert max(made.drop.values()) < max(made.fine_tuning.drop_before.values()) - 0.1
    assert not np.array_equal(before["conv2.weight"], weights(case.folder)["conv2.weight"])
    # The drop is counted against the network as it was before, whose labels these are.
    assert made.drop == int8.drop(int8.accuracies(case.recipe, case.validation, case.folder), 1.0)
    assert rules.violations(case.folder / "s8s8.onnx") == []
    assert cpu_rules.violations(case.folder / "u8s8.onnx") == []
    assert not [path for path in (*case.folder.iterdir(), *case.folder.parent.glob("tmp*")) if path.is_dir()]


def test_what_fine_tuning_makes_worse_is_turned_down(case: Case) -> None:
    before = weights(case.folder)
    made = case.made(methods=["min-max"], largest_drop=-1.0, fine_tune_steps=3, rate=10.0)
    assert made.fine_tuning is None
    assert all(np.array_equal(value, weights(case.folder)[name]) for name, value in before.items())
    assert sorted(path.name for path in case.folder.glob("*.onnx")) == ["float.onnx", "s8s8.onnx", "u8s8.onnx"]
    assert not [path for path in (*case.folder.iterdir(), *case.folder.parent.glob("tmp*")) if path.is_dir()]


@pytest.mark.parametrize("how", [{"largest_drop": 1.0}, {"largest_drop": -1.0, "fine_tune_steps": 0}])
def test_without_need_or_leave_nothing_is_tuned(case: Case, how: dict[str, float]) -> None:
    before = weights(case.folder)
    made = case.made(**how)
    assert made.fine_tuning is None
    assert set(made.drop) == {"u8s8", "s8s8"}
    assert all(np.array_equal(value, weights(case.folder)[name]) for name, value in before.items())
