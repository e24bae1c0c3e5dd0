"""CARD.md of a segmenter: what it is, what it was measured on, and what it must not be used for."""

from collections.abc import Sequence

from calibration.spots.held import Best
from calibration.spots.recipe import Recipe
from edgecell.bundle import Confidence
from edgecell.messages import NOTICE


def card(recipe: Recipe, choices: Sequence[Best], confidence: Confidence, trained: int, held: int) -> str:
    """The text. trained, held: fields."""
    kinds = ", ".join(entry.name for entry in recipe.classes)
    rows = "\n".join(
        f"| {entry.name} | {each.labelled} | {each.f1:.3f} | {each.precision:.3f} | {each.recall:.3f} | {each.limit:.3f} |"
        for entry, each in zip(recipe.classes, choices, strict=True)
    )
    unsure = f"A cell whose score is below {confidence.unsure_below:.3f} is unsure." if confidence.unsure_below else ""
    return f"""# {recipe.name} {recipe.version}

**{NOTICE}**

Finds the cells of whole fields, at {recipe.work_um:g} um a pixel, as: {kinds}.
{unsure}
## Figures

INT8, on {held} fields of the training set that were held back ({trained} were trained on; near-copies stand on one side), boxes
one to one at an intersection over union of 0.5, border cells included, at the labels' scale. The least scores were chosen on
these same fields for the largest F1, so the figures are a little kind.

| kind | n | F1 | precision | recall | least score |
|---|---|---|---|---|---|
{rows}

## Trained on

- {recipe.data.name} ({recipe.data.licence}): {recipe.data.source}

## Limits

- Few microscopes and stains have been seen in training. On another one, look at the annotated pictures before you believe a
  count.
- The scale must be right within a third. Without a known one it is measured on red cells.
- Where people drew boxes and no outlines, the masks learnt from are those of the segmenter `stain` inside the boxes.
"""
