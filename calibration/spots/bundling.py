"""A trained segmenter -> a bundle folder: encodings, limits, golden fields, figures, card, manifest."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch import nn

from calibration import golden_cells, goldens
from calibration.bundling import halve
from calibration.certify import SIZE, Wanted, commit, hold
from calibration.confidence import threshold
from calibration.export import INPUT, OPSET, fold
from calibration.models.field_net import MULTIPLE
from calibration.quantize import quantize
from calibration.spots.card import card
from calibration.spots.held import Best, Maps, chosen, judged, line, temperature, values_of
from calibration.spots.recipe import Recipe
from calibration.spots.sheet import Sheet
from calibration.spots.sheets import Sheets
from calibration.spots.train import OUTPUTS
from edgecell.bundle import (
    MANIFEST,
    BatchRange,
    Bundle,
    Confidence,
    Dataset,
    Encoding,
    InputSpec,
    Manifest,
    OutputSpec,
    Provenance,
    Quantization,
    write_manifest,
)
from edgecell.certificate import CERTIFICATE, Certificate, Figure, versions
from edgecell.detection import Detection
from edgecell.engines.onnxrt import OnnxRuntimeEngine, OnnxRuntimeOptions
from edgecell.preprocess import field_values
from edgecell.segmenters.network.look import tempered
from edgecell.signature import SIGNATURE

LOG = logging.getLogger("edgecell.calibration")
USUAL = 480, 768
"""Input of a frame of 1920x1200 px at 0.1 um per pixel."""
GOLDEN_PX = 144


def bundle(recipe: Recipe, recipe_sha256: str, model: nn.Module, sheets: Sheets, folder: Path) -> Bundle:
    """Make the bundle in `folder` and open it. Raises BundleError when it misses a limit of the recipe.

    What stops halfway leaves no manifest, and so no bundle.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    export(model, folder / "float.onnx")
    halve(folder / "float.onnx", folder / "fp16.onnx")
    fields = calibration_fields(recipe, sheets.training)
    quantized = quantize(folder / "float.onnx", (values_of(sheet, recipe) for sheet in fields), folder)
    quantization = Quantization(
        method="static Q/DQ, minimum to maximum, per channel",
        calibration_cells=sum(len(sheet.boxes) for sheet in fields),
        kept_float=quantized.kept_float,
    )
    choices, confidence = choose(recipe, sheets.held, folder)
    pictures = golden_cells.fields(recipe.work_um, GOLDEN_PX)
    goldens.write(folder, pictures, np.stack([field_values(picture, recipe.preprocess) for picture in pictures]))
    (folder / "CARD.md").write_text(card(recipe, choices, confidence, len(sheets.training), len(sheets.held)))
    figures = figures_of(recipe, choices, folder)
    proof = Certificate(
        measured_on="held-back fields",
        figures=figures,
        libraries=versions(),
        limits=hold(wanted(recipe), figures, folder),
        recipe_sha256=recipe_sha256,
        commit=commit(),
    )
    return write_manifest(folder, _manifest(recipe, recipe_sha256, choices, confidence, quantization, figures), proof)


def wanted(recipe: Recipe) -> list[Wanted]:
    """The recipe's limits."""
    f1 = (
        Wanted(figure=f"{recipe.data.name}.held.{kind}.f1", bound="at least", limit=limit)
        for kind, limit in recipe.acceptance.f1_at_least.items()
    )
    return [*f1, Wanted(figure=SIZE, bound="at most", limit=recipe.acceptance.max_size_mb)]


def export(model: nn.Module, path: Path) -> None:
    """Write float.onnx, batch norm folded: input (N, 3, H, W) -> kinds, box and inside on a grid of a quarter of it."""
    axes = {name: {0: "batch", 2: f"{name}_height", 3: f"{name}_width"} for name in (INPUT, *OUTPUTS)}
    torch.onnx.export(
        fold(model.eval()),
        (torch.zeros(1, 3, 4 * MULTIPLE, 4 * MULTIPLE),),
        str(path),
        input_names=[INPUT],
        output_names=list(OUTPUTS),
        dynamic_axes=axes,
        opset_version=OPSET,
        dynamo=False,
    )


def calibration_fields(recipe: Recipe, sheets: Sequence[Sheet]) -> list[Sheet]:
    """Whole training fields drawn with the recipe's seed: what the device sees, without augmentation."""
    rng = np.random.default_rng(recipe.training.seed)
    count = min(recipe.acceptance.calibration_fields, len(sheets))
    return [sheets[at] for at in rng.choice(len(sheets), count, replace=False).tolist()]


def choose(recipe: Recipe, held: Sequence[Sheet], folder: Path) -> tuple[list[Best], Confidence]:
    """Limits of every kind, temperature and threshold on the fields held back, with the INT8 model that will run."""
    with ExitStack() as stack:
        maps = opened(stack, folder, "u8s8")
        choices = chosen(maps, held, recipe)
        LOG.info("INT8, held back: %s", line(choices, recipe))
        LOG.info("float, held back: %s", line(chosen(opened(stack, folder, "float"), held, recipe), recipe))
        scores, right = judged(maps, held, recipe, [each.limit for each in choices])
    even = temperature(scores, right)
    wanted = recipe.acceptance.error_of_decided
    unsure = 0.0 if wanted is None else threshold(tempered(scores.astype(np.float32), even).astype(np.float64), right, wanted)
    LOG.info("temperature %.3f, unsure below %.3f, from %d cells", even, unsure, len(scores))
    return choices, Confidence(temperature=even, unsure_below=unsure)


def opened(stack: ExitStack, folder: Path, encoding: Encoding) -> Maps:
    """One encoding on ONNX Runtime, as the device runs it; `s8s8` as it is written, which is how TensorRT computes it."""
    options = OnnxRuntimeOptions(optimise=encoding != "s8s8")
    return stack.enter_context(OnnxRuntimeEngine(folder / f"{encoding}.onnx", options=options)).infer


def figures_of(recipe: Recipe, choices: Sequence[Best], folder: Path) -> dict[str, Figure]:
    """Of the fields held back, and the size of the files so far (1 MB = 1,000,000 bytes)."""
    aside = {MANIFEST, CERTIFICATE, SIGNATURE}
    size_mb = sum(path.stat().st_size for path in folder.iterdir() if path.name not in aside) / 1e6
    return {**dict(_of_kinds(recipe, choices)), SIZE: Figure(value=size_mb)}


def _of_kinds(recipe: Recipe, choices: Sequence[Best]) -> Iterator[tuple[str, Figure]]:
    for entry, each in zip(recipe.classes, choices, strict=True):
        for name in ("f1", "precision", "recall"):
            yield f"{recipe.data.name}.held.{entry.name}.{name}", Figure(value=getattr(each, name), n=each.labelled)


def _manifest(
    recipe: Recipe,
    recipe_sha256: str,
    choices: Sequence[Best],
    confidence: Confidence,
    quantization: Quantization,
    figures: Mapping[str, Figure],
) -> Manifest:
    spec, data = recipe.preprocess, recipe.data
    shapes = ((len(recipe.classes), 0, 0), (4, 0, 0), (1, 0, 0))
    split = f"near-copies of {data.apart} left out; " if data.apart else ""
    return Manifest(
        name=recipe.name,
        version=recipe.version,
        task="segment",
        specimen=recipe.specimen,
        classes=recipe.classes,
        input=InputSpec(
            name=INPUT,
            shape=(3, spec.size_px, spec.size_px),
            multiple=MULTIPLE,
            usual=USUAL,
            batch=BatchRange(min=1, opt=1, max=4),
        ),
        preprocess=spec,
        outputs=tuple(OutputSpec(name=name, shape=shape) for name, shape in zip(OUTPUTS, shapes, strict=True)),
        confidence=confidence,
        detection=Detection(least_scores=tuple(each.limit for each in choices), overlap=recipe.acceptance.overlap),
        quantization=quantization,
        files={},
        metrics={name: figure.value for name, figure in figures.items()},
        provenance=Provenance(
            datasets=(Dataset(name=data.name, licence=data.licence, source=data.source, pixel_um=data.pixel_um),),
            split=f"{split}{data.held:g} of the groups of near-copies held back by the name of their first field",
            recipe_sha256=recipe_sha256,
            commit=commit(),
            seed=recipe.training.seed,
        ),
    )
