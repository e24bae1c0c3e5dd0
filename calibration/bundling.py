"""A trained network -> a bundle folder.

export -> quantize -> choose the confidence -> test -> golden cells -> features -> card -> limits -> certificate
-> manifest
"""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import nn

from calibration import features, golden_cells, goldens, int8
from calibration import split as splits
from calibration.card import card
from calibration.cells import TrainingCells, scored
from calibration.certify import certificate, commit, figures_of, hold, wanted
from calibration.choose import choose
from calibration.datasets import adapter
from calibration.export import FEATURES, INPUT, export
from calibration.recipe import Data, Recipe
from calibration.tested import measure
from edgecell.bundle import (
    LOGITS,
    MANIFEST,
    Bundle,
    Confidence,
    Dataset,
    InputSpec,
    Manifest,
    Metric,
    OutputSpec,
    Provenance,
    Quantization,
    write_manifest,
)
from edgecell.errors import SettingsError
from edgecell.preprocess import to_batch

LOG = logging.getLogger("edgecell.calibration")
MODELS = ("float.onnx", "fp16.onnx", "u8s8.onnx", "s8s8.onnx")


def bundle(recipe: Recipe, recipe_sha256: str, model: nn.Module, cells: TrainingCells, root: Path, folder: Path) -> Bundle:
    """Make the bundle in `folder` and open it. Raises BundleError when it misses a limit of the recipe.

    What stops halfway leaves no manifest, and so no bundle: neither a new one nor an old one with new files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    export(model, recipe, folder / "float.onnx")
    validation = [scored(recipe.preprocess, recipe.class_names, data, "val", root) for data in recipe.data]
    quantization = int8.make(recipe, cells, validation, folder)
    halve(folder / "float.onnx", folder / "fp16.onnx")
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
    """Everything but the models, which are in `folder`. The limits come before the manifest: what misses one is no bundle."""
    confidence = choose(recipe, root, folder)
    tested = measure(recipe, confidence, root, folder, "test")
    crops = golden_cells.draw(recipe.preprocess)
    goldens.write(folder, crops, to_batch(crops, recipe.preprocess))
    features.write(cells, recipe.preprocess, folder, recipe.training.seed)
    datasets = [_dataset(data) for data in recipe.data]
    sections = {each.title: each.int8 for each in tested}
    (folder / "CARD.md").write_text(card(recipe, sections, confidence, datasets))
    figures = figures_of(recipe, confidence, tested, root, folder)
    proof = certificate(recipe_sha256, [data.split for data in recipe.data], figures, hold(wanted(recipe), figures, folder))
    metrics = {name: value for each in tested for name, value in {**each.metrics(), **each.confusion()}.items()}
    return write_manifest(folder, _manifest(recipe, recipe_sha256, confidence, quantization, metrics, datasets), proof)


def halve(float_onnx: Path, path: Path) -> None:
    """fp16.onnx for strongly typed TensorRT: half precision inside, float32 inputs and outputs."""
    onnx.save(convert_float_to_float16(onnx.load(float_onnx), keep_io_types=True), path)


def _dataset(data: Data) -> Dataset:
    facts = adapter(data.dataset, data.options).facts
    return Dataset(
        name=data.dataset,
        licence=facts.licence,
        source=facts.citation,
        pixel_um=data.pixel_um or facts.pixel_um,
        pixel_um_source="assumed by the recipe" if data.pixel_um else facts.pixel_um_source,
        classes=data.classes,
    )


def _manifest(
    recipe: Recipe,
    recipe_sha256: str,
    confidence: Confidence,
    quantization: Quantization,
    metrics: Mapping[str, Metric | Mapping[str, Metric]],
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
        tolerant=tuple(group.classes for group in recipe.tolerant),
        files={},
        metrics=metrics,
        provenance=Provenance(
            datasets=tuple(datasets),
            split=", ".join(splits.shown(data.split) for data in recipe.data),
            recipe_sha256=recipe_sha256,
            commit=commit(),
            seed=recipe.training.seed,
        ),
    )
