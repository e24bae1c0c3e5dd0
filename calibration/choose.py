"""What is decided, and what is foreign: temperature, threshold and hold-back limit, all from validation cells."""

import logging
from pathlib import Path

import msgspec
import numpy as np

from calibration import strange
from calibration.cells import ScoredCells, keep, scored
from calibration.confidence import temperature, threshold
from calibration.evaluate import run
from calibration.recipe import Recipe
from edgecell.bundle import LOGITS, Confidence
from edgecell.classify import softmax
from edgecell.domain import LEAST
from edgecell.errors import SettingsError
from edgecell.stain import evened

LOG = logging.getLogger("edgecell.calibration")


def choose(recipe: Recipe, root: Path, folder: Path) -> Confidence:
    """Temperature and threshold on the validation cells of all datasets with one label, with the INT8 model that will run.

    Raises SettingsError where there is no such cell.
    """
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
