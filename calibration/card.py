"""CARD.md: what the model is, what it was measured on, and what it must not be used for."""

from collections.abc import Mapping, Sequence

from calibration.metrics import ENOUGH, Figures, percent
from calibration.recipe import Recipe
from edgecell.bundle import Confidence, Dataset
from edgecell.messages import NOTICE

SPLIT_NOTE = "Split by image; the same patients may be on both sides."


def _table(figures: Figures) -> str:
    rows = [
        f"| {each.name} | {each.n} | {' | '.join(percent(one) for one in (each.precision, each.recall, each.f1))} |"
        for each in figures.classes
    ]
    return "\n".join(["| class | n | precision | recall | F1 |", "|---|---|---|---|---|", *rows])


def _averages(figures: Figures) -> list[str]:
    """What is there of macro F1, AUC and the comparison with the float model."""
    lines = [
        f"- macro F1 over {len(each.classes)} classes{without}: {each.f1}"
        for each, without in ((figures.macro, ""), (figures.without_reject, ", those that are cells"))
        if each
    ]
    if figures.tolerant:
        lines.append(f"- accuracy with neighbouring stages of maturation tolerated: {figures.tolerant}")
    if figures.auc:
        lines.append(f"- AUC, each class against the rest, mean of {len(figures.auc.classes)}: {figures.auc.macro:.4f}")
    if figures.beside_float:
        lines.append(f"- accuracy of INT8 less that of FP32: {figures.beside_float}")
    return lines


def _section(title: str, figures: Figures) -> str:
    lines = [
        f"### {title}",
        "",
        f"- accuracy (arg-max, unsure cells included): {figures.accuracy}",
        f"- decided: {figures.decided}; right of those: {figures.right_of_decided}",
        f"- decided and wrong, of all cells: {figures.wrong}",
        *_averages(figures),
    ]
    return "\n".join([*lines, "", _table(figures)])


UNWANTED = ("blast", "plasma_cell", "atypical_lymphocyte", "smudge_cell")
"""What a smear may show beside the classes of a blood recipe, and what a reader most needs to know is missing."""


def _not_among(recipe: Recipe) -> str:
    missing = [name.replace("_", " ") for name in UNWANTED if name not in recipe.class_names]
    return f": so do {', '.join(missing)}" if missing and recipe.specimen == "blood" else ""


def card(recipe: Recipe, tested: Mapping[str, Figures], confidence: Confidence, datasets: Sequence[Dataset]) -> str:
    """The text. tested: title of each test -> its figures."""
    spec = recipe.preprocess
    sections = "\n\n".join(_section(title, figures) for title, figures in tested.items())
    sources = "\n".join(f"- {each.name} ({each.licence}): {each.source}" for each in datasets)
    reject = " or ".join(entry.name for entry in recipe.classes if entry.group == "reject")
    unsure = f"A cell that is called {reject} is counted as unsure, and so is every" if reject else "Counted as unsure is every"
    return f"""# {recipe.name} {recipe.version}

**{NOTICE}**

Classifies one cell in a window of {spec.crop_um:g} um ({spec.size_px} px) into: {", ".join(recipe.class_names)}.
{unsure} cell whose confidence is below
{confidence.unsure_below:.4f} (temperature {confidence.temperature:.3f}), the smallest one at which decided validation cells err
at most {100 * recipe.acceptance.error_of_decided:g} %.

## Figures

{SPLIT_NOTE} No choice was made on a test split. Intervals are 95 % ones: exact binomial (Clopper-Pearson) for
shares of cells and, through the Jaccard index, for the F1 of a class; a bootstrap over the cells for means over classes.
Classes with fewer than {ENOUGH} cells support no claim.

{sections}

## Trained on

{sources}

## Limits

- Few microscopes and stains have been seen in training. On another one, check the answers against cells that you label
  yourself before you believe any count.
- The scale must be right: a cell shown at 1.3 times its size is another cell to the model.
- A cell of no class named above comes out as the class that it looks most like, or as unsure{_not_among(recipe)}.
"""
