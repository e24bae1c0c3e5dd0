"""A trained network -> a bundle folder: encodings, threshold, figures, golden cells, card, manifest."""

import logging
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import nn

from calibration import features, golden_cells, strange
from calibration.card import card
from calibration.cells import ScoredCells, TrainingCells, keep, plain_crops, scored
from calibration.confidence import temperature, threshold
from calibration.datasets import adapter
from calibration.evaluate import agreement, run, score
from calibration.export import FEATURES, INPUT, export
from calibration.metrics import Figures
from calibration.quantize import quantize
from calibration.recipe import Data, Recipe
from edgecell.bundle import (
    LOGITS,
    MANIFEST,
    Bundle,
    Confidence,
    Dataset,
    Encoding,
    InputSpec,
    Manifest,
    Metric,
    OutputSpec,
    Provenance,
    Quantization,
    write_manifest,
)
from edgecell.classify import softmax
from edgecell.domain import LEAST
from edgecell.errors import SettingsError
from edgecell.golden import GOLDEN, write_golden
from edgecell.preprocess import to_batch
from edgecell.stain import evened

LOG = logging.getLogger("edgecell.calibration")
ENCODINGS: tuple[Encoding, ...] = ("u8s8", "s8s8")
MODELS = ("float.onnx", "fp16.onnx", "u8s8.onnx", "s8s8.onnx")


def bundle(recipe: Recipe, recipe_sha256: str, model: nn.Module, cells: TrainingCells, root: Path, folder: Path) -> Bundle:
    """Make the bundle in `folder` and open it. Raises SettingsError when it is larger than the recipe allows.

    What stops halfway leaves no manifest, and so no bundle: neither a new one nor an old one with new files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    export(model, recipe, folder / "float.onnx")
    halve(folder / "float.onnx", folder / "fp16.onnx")
    quantized = quantize(folder / "float.onnx", calibration_batches(recipe, cells), folder)
    quantization = Quantization(
        method="static Q/DQ, minimum to maximum, per channel",
        calibration_cells=quantized.calibration_cells,
        kept_float=quantized.kept_float,
    )
    return finish(recipe, recipe_sha256, quantization, cells, root, folder)


def rebundle(recipe: Recipe, recipe_sha256: str, old: Bundle, cells: TrainingCells, root: Path, folder: Path) -> Bundle:
    """The models of a bundle under another preprocessing, threshold or card; nothing is trained.

    Raises SettingsError where the recipe's classes or input are not those of the models.
    """
    manifest = old.manifest
    if manifest.classes != recipe.classes or manifest.input.shape != (3, recipe.preprocess.size_px, recipe.preprocess.size_px):
        raise SettingsError(f"{old.path} has other classes or another input size", fix="build the recipe from the start")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    if folder.resolve() != old.path.resolve():
        for name in MODELS:
            shutil.copyfile(old.path / name, folder / name)
    return finish(recipe, recipe_sha256, manifest.quantization, cells, root, folder)


def finish(
    recipe: Recipe, recipe_sha256: str, quantization: Quantization, cells: TrainingCells, root: Path, folder: Path
) -> Bundle:
    """Everything but the models, which are in `folder`."""
    confidence = choose(recipe, root, folder)
    tested, metrics = test(recipe, confidence, root, folder)
    write_goldens(recipe, folder)
    features.write(cells, recipe.preprocess, folder, recipe.training.seed)
    datasets = [_dataset(data) for data in recipe.data]
    (folder / "CARD.md").write_text(card(recipe, tested, confidence, datasets))
    weigh(folder, recipe.acceptance.max_size_mb)
    return write_manifest(folder, _manifest(recipe, recipe_sha256, confidence, quantization, metrics, datasets))


def weigh(folder: Path, largest_mb: float) -> None:
    """Raises SettingsError when the files of `folder` are larger together (1 MB = 1,000,000 bytes)."""
    size_mb = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    if size_mb > largest_mb:
        raise SettingsError(f"bundle {folder} is {size_mb:.2f} MB, {largest_mb:g} allowed", fix="narrow the network")
    LOG.info("bundle %s: %.2f MB", folder, size_mb)


def halve(float_onnx: Path, path: Path) -> None:
    """fp16.onnx for strongly typed TensorRT: half precision inside, float32 inputs and outputs."""
    onnx.save(convert_float_to_float16(onnx.load(float_onnx), keep_io_types=True), path)


def calibration_batches(recipe: Recipe, cells: TrainingCells) -> Iterator[NDArray[np.float32]]:
    """Plain crops of training cells drawn with the recipe's seed: what the device sees, without augmentation."""
    rng = np.random.default_rng(recipe.training.seed)
    count = min(recipe.acceptance.calibration_cells, len(cells.names))
    chosen = rng.choice(len(cells.names), count, replace=False)
    for at in range(0, count, 64):
        yield to_batch(plain_crops(cells.windows[chosen[at : at + 64]], recipe.preprocess), recipe.preprocess)


def choose(recipe: Recipe, root: Path, folder: Path) -> Confidence:
    """Temperature and threshold on the validation cells of all datasets with one label, with the INT8 model that will run."""
    parts = [scored(recipe.preprocess, recipe.class_names, data, "val", root) for data in recipe.data]
    crops = np.concatenate([part.seen(recipe.preprocess) for part in parts])
    truth = np.concatenate([part.truth for part in parts])
    known = truth >= 0
    if not known.any():
        raise SettingsError(f"no validation cell in {root}", fix="check the split files of the recipe against the dataset")
    logits = run(folder, "u8s8", crops[known], recipe.preprocess)[LOGITS]
    t = temperature(logits, truth[known])
    probabilities = softmax(logits, t)
    right = probabilities.argmax(axis=1) == truth[known]
    limit = threshold(probabilities.max(axis=1), right, recipe.acceptance.error_of_decided)
    LOG.info("temperature %.4f, unsure below %.4f, from %d validation cells", t, limit, known.sum())
    confidence = Confidence(temperature=t, unsure_below=limit)
    seen = look_at_strange(recipe, confidence, parts, folder)
    foreign = strange.foreign_below(seen, recipe.acceptance.error_on_strange)
    LOG.info("foreign below %.4f, from %d made-up slides", foreign, len(seen))
    return msgspec.structs.replace(confidence, foreign_below=foreign)


def look_at_strange(recipe: Recipe, confidence: Confidence, parts: list[ScoredCells], folder: Path) -> list[strange.Seen]:
    """What the INT8 model makes of made-up slides of validation cells, without those that show no cell."""
    reject = [number for number, entry in enumerate(recipe.classes) if entry.group == "reject"]
    cells = [keep(part, (part.truth >= 0) & ~np.isin(part.truth, reject)) for part in parts]
    seen = []
    for slide in strange.slides(recipe, [part for part in cells if len(part.names) >= LEAST]):
        crops = evened(slide.crops, recipe.preprocess)
        logits = run(folder, "u8s8", crops, recipe.preprocess)[LOGITS]
        probabilities = softmax(logits, confidence.temperature)
        called, confidences = probabilities.argmax(axis=1), probabilities.max(axis=1)
        decided = (confidences >= confidence.unsure_below) & ~np.isin(called, reject)
        telling = confidences[~np.isin(called, reject)]
        seen.append(
            strange.Seen(
                mean_confidence=float(telling.mean()) if telling.size else 0.0,
                cells=len(slide.truth),
                decided=int(decided.sum()),
                wrong=int((decided & (called != slide.truth)).sum()),
            )
        )
    return seen


def test(recipe: Recipe, confidence: Confidence, root: Path, folder: Path) -> tuple[dict[str, Figures], dict[str, Metric]]:
    """Figures of the INT8 model on the test split of every dataset that has one, and beside them the float model's accuracy."""
    tested: dict[str, Figures] = {}
    metrics: dict[str, Metric] = {}
    for data in recipe.data:
        cells = scored(recipe.preprocess, recipe.class_names, data, "test", root)
        if not len(cells.names):
            continue
        int8, floating, simulated = (
            run(folder, encoding, cells.seen(recipe.preprocess), recipe.preprocess) for encoding in ("u8s8", "float", "s8s8")
        )
        figures = score(int8[LOGITS], cells.truth, confidence, recipe.class_names)
        tested[f"{data.dataset}, test split, INT8"] = figures
        metrics |= _metrics(data.dataset, figures)
        metrics[f"{data.dataset}.accuracy_fp32"] = score(
            floating[LOGITS], cells.truth, confidence, recipe.class_names
        ).accuracy.value
        metrics[f"{data.dataset}.agreement_u8s8_s8s8"] = agreement(int8, simulated)
        LOG.info("%s test: INT8 %s, FP32 %.4f", data.dataset, figures.accuracy, metrics[f"{data.dataset}.accuracy_fp32"])
    return tested, metrics


def _metrics(name: str, figures: Figures) -> dict[str, Metric]:
    low, high = figures.accuracy.interval
    values = {
        "cells": float(figures.accuracy.n),
        "accuracy": figures.accuracy.value,
        "accuracy_low": low,
        "accuracy_high": high,
        "decided": figures.decided.value,
        "accuracy_of_decided": figures.right_of_decided.value,
        "decided_and_wrong": figures.wrong.value,
    }
    return {f"{name}.{key}": value for key, value in values.items()}


def write_goldens(recipe: Recipe, folder: Path) -> None:
    """golden.npz: the answers of the float model and of both encodings to phantom crops."""
    crops = golden_cells.draw(recipe.preprocess)
    reference = run(folder, "float", crops, recipe.preprocess)
    kept = write_golden(
        folder / GOLDEN, crops, reference, {encoding: run(folder, encoding, crops, recipe.preprocess) for encoding in ENCODINGS}
    )
    LOG.info("%d golden cells", kept)


def _dataset(data: Data) -> Dataset:
    facts = adapter(data.dataset).facts
    return Dataset(
        name=data.dataset,
        licence=facts.licence,
        source=facts.citation,
        pixel_um=data.pixel_um or facts.pixel_um,
        pixel_um_source="assumed by the recipe" if data.pixel_um else facts.pixel_um_source,
    )


def commit() -> str:
    """The commit that the workshop runs from, with `-modified` where the tree differs from it."""
    asked = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--dirty=-modified", "--exclude=*"],  # noqa: S607
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or "unknown"


def _manifest(
    recipe: Recipe,
    recipe_sha256: str,
    confidence: Confidence,
    quantization: Quantization,
    metrics: dict[str, Metric],
    datasets: list[Dataset],
) -> Manifest:
    spec, width = recipe.preprocess, recipe.network.widths[-1]
    return Manifest(
        name=recipe.name,
        version=recipe.version,
        task="classify",
        specimen=recipe.specimen,
        classes=recipe.classes,
        input=InputSpec(name=INPUT, shape=(3, spec.size_px, spec.size_px)),
        preprocess=spec,
        outputs=(OutputSpec(name=LOGITS, shape=(len(recipe.classes),)), OutputSpec(name=FEATURES, shape=(width,))),
        confidence=confidence,
        quantization=quantization,
        files={},
        metrics=metrics,
        provenance=Provenance(
            datasets=tuple(datasets),
            split=", ".join(f"calibration/splits/{data.split}" for data in recipe.data),
            recipe_sha256=recipe_sha256,
            commit=commit(),
            seed=recipe.training.seed,
        ),
    )
