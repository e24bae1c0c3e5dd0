"""The INT8 models of a bundle: ranges chosen on training cells, the drop measured on validation cells."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.cells import ScoredCells, TrainingCells, plain_crops, scored
from calibration.evaluate import run
from calibration.quantize import encode, load
from calibration.range_trials import choose
from calibration.ranges import collect
from calibration.recipe import Recipe
from edgecell.bundle import LOGITS, Encoding, Quantization
from edgecell.errors import SettingsError
from edgecell.preprocess import to_batch

LOG = logging.getLogger("edgecell.calibration")
ENCODINGS: tuple[Encoding, ...] = ("u8s8", "s8s8")
_BATCH = 64


def make(recipe: Recipe, cells: TrainingCells, root: Path, folder: Path) -> Quantization:
    """Write `u8s8.onnx` and `s8s8.onnx` beside `float.onnx` in `folder`."""
    setting, comparing = draw(recipe, len(cells.names))
    model = load(folder / "float.onnx")
    statistics = collect(model, batches(recipe, cells, setting))
    held_out = list(batches(recipe, cells, comparing))
    method, trials = choose(model, folder / "float.onnx", statistics, recipe.int8.methods, held_out)
    quantized = encode(model, statistics.ranges(method), statistics.cells, folder)
    watched = [scored(recipe.preprocess, recipe.class_names, data, "val", root) for data in recipe.data]
    lost = drop(recipe, watched, folder)
    LOG.info("INT8 by %s, accuracy lost on validation cells: %s", method, lost)
    return Quantization(
        method=f"static Q/DQ, {method}, per channel",
        calibration_cells=quantized.calibration_cells,
        kept_float=quantized.kept_float,
        compared=tuple(trials),
        compared_cells=len(comparing),
        drop=lost,
    )


def draw(recipe: Recipe, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of `count` training cells set the ranges, and which others compare the methods, drawn with the recipe's seed.

    Of a small training set, half set the ranges. Raises SettingsError where there are not two cells.
    """
    if count < 2:
        raise SettingsError("INT8 ranges need two training cells or more", fix="check the split files of the recipe")
    order = np.random.default_rng(recipe.training.seed).permutation(count)
    setting = min(recipe.acceptance.calibration_cells, (count + 1) // 2)
    return order[:setting], order[setting : setting + recipe.int8.compared_cells]


def batches(recipe: Recipe, cells: TrainingCells, chosen: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    """Plain crops of training cells: what the device sees, without augmentation."""
    for at in range(0, len(chosen), _BATCH):
        yield to_batch(plain_crops(cells.windows[chosen[at : at + _BATCH]], recipe.preprocess), recipe.preprocess)


def drop(recipe: Recipe, watched: list[ScoredCells], folder: Path) -> dict[str, float]:
    """By encoding, the share of validation cells that the float model gets right, less that of the INT8 model."""
    crops = np.concatenate([part.seen(recipe.preprocess) for part in watched])
    allowed = np.concatenate([part.allowed for part in watched])
    if not len(crops):
        raise SettingsError("no validation cell", fix="check the split files of the recipe against the dataset")
    right = {name: _right(folder, name, crops, allowed, recipe) for name in ("float", *ENCODINGS)}
    return {name: right["float"] - right[name] for name in ENCODINGS}


def _right(folder: Path, encoding: Encoding, crops: NDArray[np.uint8], allowed: NDArray[np.bool_], recipe: Recipe) -> float:
    logits = run(folder, encoding, crops, recipe.preprocess)[LOGITS]
    return float(allowed[np.arange(len(logits)), logits.argmax(axis=1)].mean())
