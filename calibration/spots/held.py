"""How good a segmenter is on held-back fields at their true scale, and which scores its cells need."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.fields import match
from calibration.models.field_net import MULTIPLE
from calibration.spots.recipe import Recipe
from calibration.spots.sheet import Sheet
from edgecell.preprocess import field_values
from edgecell.segmenters.network.decode import STRIDE, Found, Map, decode

Maps = Callable[[NDArray[np.float32]], Mapping[str, Map]]
"""The network: float32 (1, 3, H, W) -> its maps, each with 1 in front."""
AS_GOOD = 0.003
LOWEST, STEPS = 0.05, 37
"""Least score that is looked at, and how many from there to 0.95."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The score from which on cells of one kind are to be believed, and what it gives on the fields it was chosen on."""

    limit: float
    f1: float
    precision: float
    recall: float
    labelled: int


def values_of(sheet: Sheet, recipe: Recipe) -> NDArray[np.float32]:
    """A whole sheet as the network's input, float32 (1, 3, H, W)."""
    height, width = sheet.image.shape[:2]
    factor = sheet.um / recipe.work_um
    size = max(1, round(width * factor)), max(1, round(height * factor))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    small = cv2.resize(sheet.image, size, interpolation=how).astype(np.uint8, copy=False)
    padded = np.zeros((1, 3, -(-size[1] // MULTIPLE) * MULTIPLE, -(-size[0] // MULTIPLE) * MULTIPLE), np.float32)
    padded[0, :, : size[1], : size[0]] = field_values(small, recipe.preprocess)
    return padded


def seen(maps: Maps, sheet: Sheet, recipe: Recipe) -> Found:
    """What the network finds on a whole sheet, however unsure; boxes in the sheet's pixels."""
    height, width = sheet.image.shape[:2]
    answers = {name: part[0] for name, part in maps(values_of(sheet, recipe)).items()}
    found = decode(answers, [LOWEST] * len(recipe.classes), recipe.acceptance.overlap)
    boxes = np.clip(found.boxes * (STRIDE * recipe.work_um / sheet.um), 0, [width, height] * 2)
    return Found(kinds=found.kinds, scores=found.scores, boxes=boxes.astype(np.float32))


def best(found: Sequence[Found], sheets: Sequence[Sheet], kind: int) -> Best:
    """The least score of one kind, boxes one to one at IoU 0.5: the middle of those whose F1 is as good as the largest. At the
    edge of them a little more noise would ask for another."""
    labelled = sum(int((sheet.kinds == kind).sum()) for sheet in sheets)
    options = []
    for limit in np.linspace(LOWEST, 0.95, STEPS).tolist():
        matched = number = 0
        for cells, sheet in zip(found, sheets, strict=True):
            mine = (cells.kinds == kind) & (cells.scores[:, kind] >= limit)
            matched += len(match(cells.boxes[mine].astype(np.float64), sheet.boxes[sheet.kinds == kind]))
            number += int(mine.sum())
        f1, precision, recall = 2 * matched / max(1, number + labelled), matched / max(1, number), matched / max(1, labelled)
        options.append(Best(limit=limit, f1=f1, precision=precision, recall=recall, labelled=labelled))
    enough = max(each.f1 for each in options) - AS_GOOD
    good = [each for each in options if each.f1 >= enough]
    return good[len(good) // 2]


def chosen(maps: Maps, sheets: Sequence[Sheet], recipe: Recipe) -> list[Best]:
    """For every kind."""
    found = [seen(maps, sheet, recipe) for sheet in sheets]
    return [best(found, sheets, kind) for kind in range(len(recipe.classes))]


def line(choices: Sequence[Best], recipe: Recipe) -> str:
    """For a reader."""
    return "  ".join(
        f"{entry.name} {each.f1:.4f} from {each.limit:.2f}" for entry, each in zip(recipe.classes, choices, strict=True)
    )


def judged(
    maps: Maps, sheets: Sequence[Sheet], recipe: Recipe, limits: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores (N,) of the cells found with these limits, and whether a labelled cell of that kind lies there (N,)."""
    scores, right = [np.zeros(0)], [np.zeros(0, bool)]
    for sheet in sheets:
        found = seen(maps, sheet, recipe)
        for kind, limit in enumerate(limits):
            mine = np.flatnonzero((found.kinds == kind) & (found.scores[:, kind] >= limit))
            hit = np.zeros(len(mine), bool)
            pairs = match(found.boxes[mine].astype(np.float64), sheet.boxes[sheet.kinds == kind])
            hit[[one for one, _ in pairs]] = True
            scores.append(found.scores[mine, kind].astype(np.float64))
            right.append(hit)
    return np.concatenate(scores), np.concatenate(right)


def temperature(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """What to divide the scores' logits by so that they say how often a cell is there: least cross entropy."""
    logits = np.log(np.clip(scores, 1e-6, 1 - 1e-6)) - np.log(np.clip(1 - scores, 1e-6, 1))
    options = np.exp(np.linspace(np.log(0.1), np.log(4), 75))

    def entropy(t: float) -> float:
        signed = np.where(right, logits, -logits) / t
        return float(np.logaddexp(0, -signed).mean())

    return min(options.tolist(), key=entropy) if len(scores) else 1.0
