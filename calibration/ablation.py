"""One change at a time: what each part of a recipe does to cells of microscopes that training has not seen.

Every row is its own short training on some cells of each class. Datasets in `foreign` are scored whole but for their test part,
and only where the row does not train on them. The threshold of a row is chosen on the first dataset's validation part, as the
workshop chooses a bundle's, so a row shows what the change does to cells that are decided on a strange slide.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from calibration import cells, recipe, split
from calibration.cells import ScoredCells, TrainingCells
from calibration.confidence import temperature, threshold
from calibration.evaluate import score
from calibration.metrics import Figures
from calibration.recipe import Data, Recipe
from edgecell.bundle import Confidence
from edgecell.classify import softmax
from edgecell.errors import SettingsError

LOG = logging.getLogger("edgecell.calibration")
PARTS: tuple[split.Part, ...] = ("train", "val")


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row. set: dotted fields of the recipe and their new values. add: datasets of the recipe that it trains on besides."""

    name: str
    set: dict[str, Any] = {}
    add: tuple[str, ...] = ()


class Ablation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole table. train, foreign: names of the recipe's datasets. classes: of the foreign ones, those scored.

    cells_per_class: of each dataset and class, at most.
    """

    recipe: str
    epochs: Annotated[int, msgspec.Meta(ge=1)]
    cells_per_class: Annotated[int, msgspec.Meta(ge=1)]
    seeds: tuple[int, ...]
    train: tuple[str, ...]
    foreign: tuple[str, ...]
    classes: tuple[str, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one training reached: by dataset, the first one's validation part among them, figures and mean confidence."""

    change: str
    seed: int
    figures: Mapping[str, Figures]
    mean_confidence: Mapping[str, float]

    def summary(self) -> dict[str, object]:
        return {
            "change": self.change,
            "seed": self.seed,
            "figures": {name: found.summary() for name, found in self.figures.items()},
            "mean_confidence": dict(self.mean_confidence),
        }

    def __str__(self) -> str:
        shares = "".join(
            f"  {name} {100 * each.accuracy.value:5.1f} {100 * each.decided.value:5.1f} {100 * each.wrong.value:4.1f}"
            f" ({self.mean_confidence[name]:.2f})"
            for name, each in self.figures.items()
        )
        return f"{self.change:32} seed {self.seed}{shares}"


def load(path: Path) -> tuple[Ablation, Recipe]:
    """The table's file and the recipe that it changes, named by its path. Raises SettingsError that names the field."""
    try:
        table = msgspec.toml.decode(path.read_bytes(), type=Ablation)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SettingsError(f"ablation {path}: {error}", fix="correct that field") from error
    base, _ = recipe.load(path.parent / table.recipe)
    for change in table.changes:
        changed(base, table, change, table.seeds[0])
    return table, base


def changed(base: Recipe, table: Ablation, change: Change, seed: int) -> Recipe:
    """The recipe of one row. Raises SettingsError that names a field or dataset that the recipe has not."""
    plain = msgspec.to_builtins(base)
    for dotted, value in {**change.set, "training.epochs": table.epochs, "training.seed": seed}.items():
        *path, last = dotted.split(".")
        place = plain
        for key in path:
            place = place.get(key, {})
        if last not in place:
            raise SettingsError(f"change {change.name!r}: the recipe has no field {dotted}", fix="name one of its fields")
        place[last] = value
    wanted = [*table.train, *change.add]
    known = {data.dataset: data for data in base.data}
    if missing := [name for name in wanted if name not in known]:
        raise SettingsError(f"change {change.name!r}: the recipe has no dataset {missing[0]}", fix=f"one of {', '.join(known)}")
    plain["data"] = [msgspec.to_builtins(known[name]) for name in wanted]
    try:
        return msgspec.convert(plain, Recipe)
    except msgspec.ValidationError as error:
        raise SettingsError(f"change {change.name!r}: {error}", fix="correct that value") from error


def row(base: Recipe, table: Ablation, change: Change, seed: int, root: Path, work: Path) -> Row:
    """Train and score one row. torch is needed here only."""
    from calibration import train
    from calibration.fit import Job

    how = changed(base, table, change, seed)
    chosen = few(how, table.cells_per_class, root, work)
    job = Job(name=f"{slug(change.name)}-{seed}", work=work)
    model = train.train(how, chosen, {}, job)
    job.done_with()
    home = how.data[0]
    parts = {home.dataset: cells.scored(how.preprocess, how.class_names, home, "val", root)}
    trained = {data.dataset for data in how.data}
    for data in base.data:
        if data.dataset in table.foreign and data.dataset not in trained:
            parts[data.dataset] = foreign(how, data, table.classes, root)
    logits = {name: train.infer(model, how, part.seen(how.preprocess))[0] for name, part in parts.items()}
    confidence = chosen_confidence(logits[home.dataset], parts[home.dataset].truth, how)
    return Row(
        change=change.name,
        seed=seed,
        figures={name: score(logits[name], part.truth, confidence, how.class_names) for name, part in parts.items()},
        mean_confidence={
            name: float(softmax(each, confidence.temperature).max(axis=1).mean()) for name, each in logits.items()
        },
    )


def chosen_confidence(logits: NDArray[np.float32], truth: NDArray[np.int64], how: Recipe) -> Confidence:
    """Temperature and threshold from validation cells, as a bundle's are chosen; nothing is held back."""
    t = temperature(logits, truth)
    probabilities = softmax(logits, t)
    right = probabilities.argmax(axis=1) == truth
    limit = threshold(probabilities.max(axis=1), right, how.acceptance.error_of_decided)
    return Confidence(temperature=t, unsure_below=limit, foreign_below=0.0)


def few(how: Recipe, largest: int, root: Path, work: Path) -> TrainingCells:
    """At most `largest` training cells of each dataset and set of labels, the same ones in every row."""
    each = [fewer(cells.training(replace(how, data=(data,)), root, work), largest) for data in how.data]
    return TrainingCells(
        names=tuple(name for some in each for name in some.names),
        allowed=np.concatenate([some.allowed for some in each]),
        windows=np.concatenate([some.windows for some in each]),
        masks=np.concatenate([some.masks for some in each]),
        repeats=np.concatenate([some.repeats for some in each]),
    )


def fewer(every: TrainingCells, largest: int) -> TrainingCells:
    """At most `largest` cells of each set of labels."""
    rng = np.random.default_rng(0)
    _, group = np.unique(every.allowed, axis=0, return_inverse=True)
    groups = [rng.permutation(np.flatnonzero(group.ravel() == number))[:largest] for number in range(group.max() + 1)]
    chosen = np.sort(np.concatenate(groups))
    return TrainingCells(
        names=tuple(every.names[number] for number in chosen),
        allowed=every.allowed[chosen],
        windows=every.windows[chosen],
        masks=every.masks[chosen],
        repeats=every.repeats[chosen],
    )


def foreign(how: Recipe, data: Data, classes: Sequence[str], root: Path) -> ScoredCells:
    """The cells with one label of `classes`, of all parts but the test part."""
    parts = [cells.scored(how.preprocess, how.class_names, data, part, root) for part in PARTS]
    both = ScoredCells(
        names=tuple(name for part in parts for name in part.names),
        allowed=np.concatenate([part.allowed for part in parts]),
        crops=np.concatenate([part.crops for part in parts]),
        slides=tuple(slide for part in parts for slide in part.slides),
    )
    return cells.keep(both, np.isin(both.truth, [how.class_names.index(name) for name in classes]))


def slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())
