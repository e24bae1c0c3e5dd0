"""The INT8 models of a bundle: ranges chosen on training cells, the drop measured on validation cells, fine-tuning if large."""

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from calibration.cells import ScoredCells, TrainingCells, plain_crops
from calibration.evaluate import run
from calibration.quantize import Quantized, encode, load
from calibration.range_trials import choose
from calibration.ranges import collect
from calibration.recipe import Recipe
from edgecell.bundle import LOGITS, Encoding, FineTuning, Quantization
from edgecell.errors import SettingsError
from edgecell.preprocess import to_batch

LOG = logging.getLogger("edgecell.calibration")
ENCODINGS: tuple[Encoding, ...] = ("u8s8", "s8s8")
_BATCH = 64


def make(recipe: Recipe, cells: TrainingCells, validation: Sequence[ScoredCells], folder: Path) -> Quantization:
    """Write `u8s8.onnx` and `s8s8.onnx` beside `float.onnx` in `folder`; fine-tuning, where it helps, writes all three anew."""
    setting, comparing = draw(recipe, len(cells.names))
    model = load(folder / "float.onnx")
    statistics = collect(model, batches(recipe, cells, setting))
    held_out = list(batches(recipe, cells, comparing))
    method, trials = choose(model, folder / "float.onnx", statistics, recipe.int8.methods, held_out)
    quantized = encode(model, statistics.ranges(method), statistics.cells, folder)
    right = accuracies(recipe, validation, folder)
    made = Quantization(
        method=f"static Q/DQ, {method}, per channel",
        calibration_cells=quantized.calibration_cells,
        kept_float=quantized.kept_float,
        compared=tuple(trials),
        compared_cells=len(comparing),
        drop=drop(right, right["float"]),
    )
    LOG.info("INT8 by %s, accuracy lost on validation cells: %s", method, made.drop)
    if max(made.drop.values()) <= recipe.int8.largest_drop or not recipe.int8.fine_tune_steps:
        return made
    return fine_tune(recipe, cells, validation, folder, quantized, made, right["float"])


def fine_tune(
    recipe: Recipe,
    cells: TrainingCells,
    validation: Sequence[ScoredCells],
    folder: Path,
    quantized: Quantized,
    made: Quantization,
    wanted: float,
) -> Quantization:
    """Train on with quantization simulated, in the ranges that there are, and keep the new weights if they lose less.

    wanted: accuracy of the float model as it was trained, against which a drop is counted before and after.
    """
    from calibration import qat
    from calibration.steps import Steps
    from calibration.train import loss_of

    how = recipe.int8
    # Beside the bundle, not in it: what a kill leaves behind must not come to be part of one.
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        tuned = Path(name)
        qat.fine_tune(
            folder / "float.onnx",
            (quantized.u8s8, quantized.s8s8),
            Steps(cells, recipe),
            lambda outputs, batch: loss_of(outputs[LOGITS], batch[1]),
            tuned / "float.onnx",
            steps=how.fine_tune_steps,
            rate=how.rate,
        )
        encode(load(tuned / "float.onnx"), quantized.ranges, quantized.calibration_cells, tuned)
        after = drop(accuracies(recipe, validation, tuned), wanted)
        better = max(after.values()) < max(made.drop.values())
        LOG.info("fine-tuned for INT8, accuracy lost on validation cells: %s, %s", after, "kept" if better else "turned down")
        if not better:
            return made
        for path in tuned.iterdir():
            path.replace(folder / path.name)
    done = FineTuning(steps=how.fine_tune_steps, rate=how.rate, drop_before=made.drop)
    return msgspec.structs.replace(made, drop=after, fine_tuning=done)


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


def accuracies(recipe: Recipe, validation: Sequence[ScoredCells], folder: Path) -> dict[str, float]:
    """By encoding, float among them, the share of cells whose best class is one that the annotation allows."""
    crops = np.concatenate([part.seen(recipe.preprocess) for part in validation])
    allowed = np.concatenate([part.allowed for part in validation])
    if not len(crops):
        raise SettingsError("no validation cell", fix="check the split files of the recipe against the dataset")
    found = {name: run(folder, name, crops, recipe.preprocess)[LOGITS] for name in ("float", *ENCODINGS)}
    return {name: float(allowed[np.arange(len(logits)), logits.argmax(axis=1)].mean()) for name, logits in found.items()}


def drop(right: Mapping[str, float], wanted: float) -> dict[str, float]:
    """By INT8 encoding, the accuracy lost against `wanted`."""
    return {name: wanted - right[name] for name in ENCODINGS}
