"""Several starts and strengths of the prior, averaged by how well they answer labelled cells that they have not seen.

Picking the single best was tried first. With ten cells the pick is mostly chance: over five kinds of new microscope it cost
half a point of accuracy on average, and up to two with ten cells.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgecell.adapt.absent import stand_ins
from edgecell.adapt.confidence import LOOSE, TIGHT, foreign_below, loss, seen, temperature, threshold
from edgecell.adapt.layer import Array, Labels, Layer, Statistics
from edgecell.adapt.normalise import discriminant, followed, offset
from edgecell.adapt.refit import metric, metric_of_cells, refit
from edgecell.bundle import Confidence

Start = Literal["kept", "normalised", "class means"]
Choice = tuple[Start, float]
STRENGTHS = (math.inf, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3)
FOLDS = 5
DOUBT: Mapping[Start, float] = {"kept": 0.0, "normalised": 0.0, "class means": 4.0}
"""Nats that each start must be better by: the old layer has proven itself on thousands of cells, a discriminant on none. On a
microscope that the old layer answers well, ten cells were too few to tell them apart (decided and wrong: 6 % at worst instead
of 1 %); where it fails, the doubt is overcome at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Base:
    """What is adapted. statistics: None where the bundle has none. reject: classes that are no cell."""

    layer: Layer
    statistics: Statistics | None
    confidence: Confidence
    reject: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adapted:
    """The result. shares: what each start and strength of the prior (infinite: the start itself) has in it, summing to 1."""

    layer: Layer
    confidence: Confidence
    shares: Mapping[Choice, float]

    def share_of(self, start: Start) -> float:
        """0-1."""
        return sum(share for choice, share in self.shares.items() if choice[0] == start)


def adapt_layer(base: Base, features: Array, labels: Labels, *, complete: bool) -> Adapted:
    """The last layer, temperature and threshold for the microscope that showed these cells. Deterministic.

    features: (N, W). labels: (N,) class indices. complete: every class that can be counted has cells; else the threshold is
    lowered less, since nothing is known of how the others are answered. A start may be softened, but not made surer of itself,
    before the average: that is left to the last, tighter fit.
    """
    held_out = _held_out_logits(base, features, labels)
    old = base.confidence
    scales = {choice: temperature(logits, labels, old.temperature, LOOSE) for choice, logits in held_out.items()}
    shares = _shares({choice: loss(each, labels, scales[choice]) + DOUBT[choice[0]] for choice, each in held_out.items()})
    weights = {choice: share * min(1.0, old.temperature / scales[choice]) for choice, share in shares.items()}
    logits = np.sum([weights[choice] * each for choice, each in held_out.items()], axis=0)
    scale = temperature(logits, labels, old.temperature, TIGHT)
    now, before = seen(logits, labels, scale), seen(base.layer.logits(features), labels, old.temperature)
    cells = ~np.isin(logits.argmax(axis=1), base.reject)
    confidence = Confidence(
        temperature=scale,
        unsure_below=threshold(now, before, old.unsure_below, complete=complete),
        foreign_below=foreign_below(now.confidences[cells], old.foreign_below),
    )
    return Adapted(
        layer=_sum((weights[choice], layer) for choice, layer in _layers(base, features, labels)),
        confidence=confidence,
        shares=shares,
    )


def folds(labels: Labels) -> Labels:
    """The fold of each cell, (N,), 0 to FOLDS - 1: classes are dealt out one after another."""
    part, dealt = np.empty(len(labels), np.int64), 0
    for number in np.unique(labels):
        cells = np.flatnonzero(labels == number)
        part[cells] = (np.arange(len(cells)) + dealt) % FOLDS
        dealt += len(cells)
    return part


def _shares(losses: Mapping[Choice, float]) -> dict[Choice, float]:
    """In proportion to the likelihood of the held-out cells: no share is left to what answers them clearly worse."""
    least = min(losses.values())
    likely = {choice: math.exp(least - each) for choice, each in losses.items()}
    return {choice: each / sum(likely.values()) for choice, each in likely.items()}


def _sum(parts: Iterator[tuple[float, Layer]]) -> Layer:
    pairs = list(parts)
    return Layer(
        weight=np.sum([share * layer.weight for share, layer in pairs], axis=0),
        bias=np.sum([share * layer.bias for share, layer in pairs], axis=0),
    )


def _held_out_logits(base: Base, features: Array, labels: Labels) -> dict[Choice, Array]:
    """For every choice the logits (N, K) of each cell by a layer that was fitted without it."""
    part = folds(labels)
    logits: dict[Choice, Array] = {}
    for fold in np.unique(part):
        out = part == fold
        for choice, layer in _layers(base, features[~out], labels[~out]):
            logits.setdefault(choice, np.empty((len(labels), len(base.layer.bias))))[out] = layer.logits(features[out])
    return logits


def _layers(base: Base, features: Array, labels: Labels) -> Iterator[tuple[Choice, Layer]]:
    """Every choice, fitted to these cells."""
    starts: dict[Start, Layer] = {"kept": base.layer}
    cost, cells, truth = metric_of_cells(features), features, labels
    if base.statistics is not None:
        moved = offset(base.statistics, features, labels)
        starts["normalised"] = base.layer.moved(moved)
        cost = metric(base.statistics.moved(moved))
        now = followed(base.statistics, features, labels)
        if now.seen.all():
            starts["class means"] = discriminant(now)
        more, theirs = stand_ins(base.statistics, labels)
        cells, truth = np.concatenate([features, more]), np.concatenate([labels, theirs])
    for start, layer in starts.items():
        for strength in STRENGTHS:
            yield (start, strength), layer if math.isinf(strength) else refit(cells, truth, layer, cost, strength)
