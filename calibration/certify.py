"""The limits of a recipe, held against what was measured."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from calibration.recipe import Recipe
from calibration.tested import Tested, measure
from edgecell.bundle import Confidence
from edgecell.certificate import Bound, Figure, Limit, margin_of
from edgecell.errors import BundleError

LOG = logging.getLogger("edgecell.calibration")
SIZE = "size_mb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A limit before anything was measured. figure: its name, as in the certificate."""

    figure: str
    bound: Bound
    limit: float


def wanted(recipe: Recipe) -> list[Wanted]:
    """The limits of a recipe for a classifier."""
    how = recipe.acceptance
    part = "" if how.limits_on == "test" else f".{how.limits_on}"
    tables: tuple[tuple[str, Bound, Mapping[str, float]], ...] = (
        ("accuracy", "at least", how.accuracy_at_least),
        ("agreement_u8s8_s8s8", "at least", how.agreement_at_least),
        ("decided_and_wrong", "at most", how.decided_and_wrong_at_most),
        ("int8_drop", "at most", how.int8_drop_at_most),
    )
    by_dataset = [
        Wanted(figure=f"{dataset}{part}.{name}", bound=bound, limit=limit)
        for name, bound, limits in tables
        for dataset, limit in limits.items()
    ]
    return [*by_dataset, Wanted(figure=SIZE, bound="at most", limit=how.max_size_mb)]


def figures_of(recipe: Recipe, confidence: Confidence, tested: Sequence[Tested], root: Path, folder: Path) -> dict[str, Figure]:
    """All figures by name: those of `tested`, of validation too where the limits are for that, and the size of the files so far
    (1 MB = 1,000,000 bytes)."""
    also = measure(recipe, confidence, root, folder, "val") if recipe.acceptance.limits_on == "val" else []
    size_mb = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    figures = {name: figure for each in (*tested, *also) for name, figure in each.figures().items()}
    return {**figures, SIZE: Figure(value=size_mb)}


def hold(limits: Sequence[Wanted], figures: Mapping[str, Figure], folder: Path) -> tuple[Limit, ...]:
    """Every limit with what was measured and the margin. Raises BundleError that lists all that are missed, and by how much.

    A figure that is not there, or too uncertain to be given, meets no limit.
    """
    met, missed = [], []
    for each in limits:
        figure = figures.get(each.figure, Figure(value=None))
        if figure.value is None:
            missed.append(f"{each.figure} was not measured, {each.bound} {each.limit:g} is wanted")
            continue
        margin = margin_of(each.bound, each.limit, figure.value)
        if margin >= 0:
            met.append(Limit(figure=each.figure, bound=each.bound, limit=each.limit, value=figure.value, margin=margin))
            LOG.info("%s %s, %s %g: met by %.4g", each.figure, figure, each.bound, each.limit, margin)
        else:
            missed.append(f"{each.figure} is {figure}, {each.bound} {each.limit:g} is wanted: missed by {-margin:.4g}")
    if missed:
        fix = "improve the model, or correct the recipe's [acceptance] if it asks too much; no bundle was made"
        raise BundleError(f"{folder} misses {len(missed)} of {len(limits)} limits: {'; '.join(missed)}", fix=fix)
    return tuple(met)
