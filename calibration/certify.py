"""The limits of a recipe, held against what was measured, and the certificate of what met them."""

import logging
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from calibration import split
from calibration.recipe import Recipe
from calibration.tested import Tested, measure
from edgecell.bundle import MANIFEST, Bundle, Confidence, sha256_of, write_manifest
from edgecell.certificate import CERTIFICATE, Bound, Certificate, Figure, Limit, margin_of, versions
from edgecell.errors import BundleError, BundleMismatch, SettingsError
from edgecell.signature import SIGNATURE

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
        ("macro_f1", "at least", how.macro_f1_at_least),
        ("macro_f1_without_reject", "at least", how.macro_f1_without_reject_at_least),
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
    """All figures by name: those of `tested`, of validation too where the limits are for that, and the size of all
    files but the manifest, the certificate and its signature (1 MB = 1,000,000 bytes)."""
    also = measure(recipe, confidence, root, folder, "val") if recipe.acceptance.limits_on == "val" else []
    aside = {MANIFEST, CERTIFICATE, SIGNATURE}
    size_mb = sum(path.stat().st_size for path in folder.rglob("*") if path.name not in aside) / 1e6
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


def certificate(
    recipe_sha256: str,
    splits: Iterable[str],
    figures: Mapping[str, Figure],
    limits: tuple[Limit, ...],
    *,
    measured_on: str = "test split",
) -> Certificate:
    """Of a bundle of any task whose manifest is not written yet. splits: files of calibration/splits, or with a whole path."""
    return Certificate(
        measured_on=measured_on,
        figures=figures,
        libraries=versions(),
        limits=limits,
        splits={_named(file): sha256_of(split.FOLDER / file) for file in splits},
        recipe_sha256=recipe_sha256,
        commit=commit(),
    )


def _named(file: str) -> str:
    """A split as a certificate names it: where a lab keeps its own is nobody else's business."""
    return Path(file).name if Path(file).is_absolute() else file


def certify(recipe: Recipe, recipe_sha256: str, bundle: Bundle, root: Path) -> Bundle:
    """Measure a bundle as it stands, hold it to the recipe's limits and write its certificate, and into its manifest what its
    cells are taken for (edgecell.correction); nothing else changes.

    An older certificate and its signature give way. Raises SettingsError for a recipe of another bundle, BundleError when a
    limit is missed, BundleMismatch when the models do not reach the figures of their own manifest; then nothing is written.
    """
    manifest, folder = bundle.manifest, bundle.path
    for field in ("name", "version", "classes", "preprocess"):
        if getattr(manifest, field) != getattr(recipe, field):
            raise SettingsError(f"bundle {folder} has another {field} than the recipe", fix="give the recipe it was made by")
    tested = measure(recipe, manifest.confidence, root, folder, "test")
    figures = figures_of(recipe, manifest.confidence, tested, root, folder)
    for name, figure in figures.items():
        said = manifest.metrics.get(name, figure.value)
        if said != figure.value:
            fix = "give the data of its splits; or make it anew: build --models"
            raise BundleMismatch(f"{folder}: {name} is {figure} here, its manifest says {said}", fix=fix)
    limits = hold(wanted(recipe), figures, folder)
    proof = certificate(recipe_sha256, [data.split for data in recipe.data], figures, limits)
    confusion = {name: table for each in tested for name, table in each.confusion().items()}
    return write_manifest(folder, msgspec.structs.replace(manifest, metrics={**manifest.metrics, **confusion}), proof)


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
