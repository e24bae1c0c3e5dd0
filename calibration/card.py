"""CARD.md: what the model is, what it was measured on, and what it must not be used for."""

from collections.abc import Mapping, Sequence

from calibration.metrics import ENOUGH, Figures, percent
from calibration.recipe import Recipe
from edgecell.bundle import Confidence, Dataset
from edgecell.messages import NOTICE

SPLIT_NOTE = "Split by image; the same patients may be on both sides."


def _table(figures: Figures) -> str:
    rows = [f"| {each.name} | {each.n} | {percent(each.precision)} | {percent(each.recall)} |" for each in figures.classes]
    return "\n".join(["| class | n | precision | recall |", "|---|---|---|---|", *rows])


def _section(title: str, figures: Figures) -> str:
    lines = [
        f"### {title}",
        "",
        f"- accuracy (arg-max, unsure cells included): {figures.accuracy}",
        f"- decided: {figures.decided}; right of those: {figures.right_of_decided}",
        f"- decided and wrong, of all cells: {figures.wrong}",
    ]
    return "\n".join([*lines, "", _table(figures)])


def card(recipe: Recipe, tested: Mapping[str, Figures], confidence: Confidence, datasets: Sequence[Dataset]) -> str:
    """The text. tested: title of each test -> its figures."""
    spec = recipe.preprocess
    sections = "\n\n".join(_section(title, figures) for title, figures in tested.items())
    sources = "\n".join(f"- {each.name} ({each.licence}): {each.source}" for each in datasets)
    reject = ", ".join(entry.name for entry in recipe.classes if entry.group == "reject") or "none"
    return f"""# {recipe.name} {recipe.version}

**{NOTICE}**

Classifies one cell in a window of {spec.crop_um:g} um ({spec.size_px} px) into: {", ".join(recipe.class_names)}.
A cell that is called {reject} is counted as unsure, and so is every cell whose confidence is below
{confidence.unsure_below:.4f} (temperature {confidence.temperature:.3f}), the smallest one at which decided validation cells err
at most {100 * recipe.acceptance.error_of_decided:g} %.

## Figures

{SPLIT_NOTE} No choice was made on a test split. Intervals are exact binomial ones (Clopper-Pearson).
Classes with fewer than {ENOUGH} cells support no claim.

{sections}

## Trained on

{sources}

## Limits

- Few microscopes and stains have been seen in training. On another one, check the answers against cells that you label
  yourself before you believe any count.
- The scale must be right: a cell shown at 1.3 times its size is another cell to the model.
- Blasts, plasma cells, atypical lymphocytes and smudge cells are not among the classes: they come out as the class that they
  look most like, or as unsure.
"""
