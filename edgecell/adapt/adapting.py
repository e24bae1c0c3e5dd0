"""The whole of it: labelled folder and old bundle in, new bundle and report out."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell import app
from edgecell.adapt.choose import Adapted, Base, adapt_layer
from edgecell.adapt.confidence import loss
from edgecell.adapt.labelled import Labelled, labelled_files, read_labelled
from edgecell.adapt.layer import FEATURES, Array, Labels, read_statistics
from edgecell.adapt.normalise import followed
from edgecell.adapt.onnxfile import library, read_layer
from edgecell.adapt.rebundle import Adaptation, check_free, rebundle
from edgecell.adapt.report import Gain, answers, gain, held_out
from edgecell.bundle import LOGITS, Bundle, CellClass, open_bundle
from edgecell.errors import BundleError, BundleMismatch
from edgecell.golden import replay
from edgecell.preprocess import to_batch
from edgecell.settings import PartSettings
from edgecell.signature import Trust

LOG = logging.getLogger("edgecell.adapt")
MODEL = "u8s8.onnx"
Scales = Callable[[Sequence[Path], float], Sequence[float]]
"""Image files, and um per pixel of the bundle's own dataset -> um per pixel that these images may have, at least one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """bundle: the new one, opened. absent: classes that can be counted and had no labelled cell."""

    old: Bundle
    bundle: Bundle
    labelled: Labelled
    adapted: Adapted
    gain: Gain
    absent: tuple[str, ...]
    normalised: bool
    pixel_um: float


def adapt(bundle: str, folder: Path, out: Path, scales_um: Scales) -> Result:
    """Adapt a bundle to the labelled cells in `folder` and write the new one to `out`.

    bundle: name or folder. Of several scales the one is taken at which the old bundle answers the labelled cells best. Raises
    SettingsError, BundleError, EngineError, MissingDependency.
    """
    library()
    check_free(out)
    old = open_bundle(bundle, Trust())
    files = labelled_files(folder, old.manifest.classes)
    labelled, base = read_labelled(files, old.manifest.classes), _base(old)
    scales = scales_um([file for _, file in files], old.manifest.preprocess.pixel_um)
    pixel_um, features = _at_best_scale(old, base, labelled, scales)
    absent = _absent(old.manifest.classes, labelled.labels)
    LOG.info("holding out each of %d cells once", len(labelled.labels))
    seen = held_out(base, features, labelled.labels, complete=not absent)
    gained = gain(answers(base.layer.logits(features), base.confidence), seen, labelled.labels, old.class_names)
    LOG.info("fitting to all cells")
    adapted = adapt_layer(base, features, labelled.labels, complete=not absent)
    adaptation = Adaptation(
        adapted=adapted,
        statistics=base.statistics and followed(base.statistics, features, labelled.labels),
        gain=gained,
        labelled=labelled,
        source=folder.resolve().name,
        pixel_um=pixel_um,
    )
    made = rebundle(old, adaptation, lambda path, crops: _infer(old, path, crops), out)
    _check(made, labelled.crops(old.manifest.preprocess, pixel_um), adapted.layer.logits(features))
    return Result(
        old=old,
        bundle=made,
        labelled=labelled,
        adapted=adapted,
        gain=gained,
        absent=absent,
        normalised=base.statistics is not None,
        pixel_um=pixel_um,
    )


def _base(old: Bundle) -> Base:
    if FEATURES not in {each.name for each in old.manifest.outputs}:
        fix = "adapt a bundle of the workshop, such as pbc8"
        raise BundleError(f"bundle {old.manifest.name} has no output {FEATURES!r}", fix=fix)
    return Base(
        layer=read_layer(old.file(MODEL)),
        statistics=read_statistics(old),
        confidence=old.manifest.confidence,
        reject=tuple(at for at, each in enumerate(old.manifest.classes) if each.group == "reject"),
    )


def _at_best_scale(old: Bundle, base: Base, labelled: Labelled, scales: Sequence[float]) -> tuple[float, Array]:
    """um per pixel, and the features (N, W) at it, from the engine that the device runs, its golden cells replayed."""
    with _engine(old, old.file(MODEL)) as engine:
        replay(old, engine, "u8s8")
    tried = []
    for pixel_um in dict.fromkeys(scales):
        crops = labelled.crops(old.manifest.preprocess, pixel_um)
        features = _infer(old, old.file(MODEL), crops)[FEATURES].astype(np.float64)
        tried.append((loss(base.layer.logits(features), labelled.labels, base.confidence.temperature), pixel_um, features))
    _, best_um, best = min(tried, key=lambda each: each[0])
    if len(tried) > 1:
        names = " and ".join(f"{pixel_um:.3g}" for _, pixel_um, _ in tried)
        LOG.info("of %s um per pixel the bundle answers the labelled cells better at %.3g", names, best_um)
    return best_um, best


def _engine(bundle: Bundle, path: Path) -> Any:
    """s8s8 is TensorRT's: here it is computed as written, with graph optimisation off."""
    options = {"optimise": path.stem != "s8s8"}
    chosen = app.choose("engine", PartSettings(part="onnxrt", options=options))
    return chosen.part(path, manifest=bundle.manifest, options=chosen.options)


def _infer(bundle: Bundle, path: Path, crops: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
    largest, spec = bundle.manifest.input.batch.max, bundle.manifest.preprocess
    with _engine(bundle, path) as engine:
        parts = [engine.infer(to_batch(crops[at : at + largest], spec)) for at in range(0, len(crops), largest)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _absent(classes: tuple[CellClass, ...], labels: Labels) -> tuple[str, ...]:
    present = set(labels.tolist())
    return tuple(each.name for at, each in enumerate(classes) if at not in present and each.group != "reject")


def _check(made: Bundle, crops: NDArray[np.uint8], expected: Array) -> None:
    """The new bundle opens on the device's engine and answers as the fitted layer does. Raises BundleMismatch."""
    with _engine(made, made.file(MODEL)) as engine:
        replay(made, engine, "u8s8")
    worst = float(np.abs(_infer(made, made.file(MODEL), crops)[LOGITS] - expected).max())
    if not worst <= 1e-3 * max(float(np.abs(expected).max()), 1.0):
        raise BundleMismatch(f"{made.path} answers labelled cells {worst:.3g} beside the fitted layer", fix="report this")
