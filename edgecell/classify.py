"""Cells of one or several frames -> one batch -> engine -> labels. Below the bundle's threshold a cell stays undecided."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecell import clock
from edgecell.bundle import LOGITS, Bundle
from edgecell.errors import InferenceError
from edgecell.messages import Cell, Classification
from edgecell.preprocess import Crop, cut, to_batch
from edgecell.protocols import Engine, Pending, submit


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sighting:
    """A cell where it was seen: its frame's image, uint8 (H, W, 3) RGB, at pixel_um micrometres per pixel (None if unknown)."""

    cell: Cell
    image: NDArray[np.uint8]
    pixel_um: float | None


class Classifier:
    """One bundle on one engine, which the caller has opened and closes."""

    def __init__(self, engine: Engine, bundle: Bundle) -> None:
        self._engine = engine
        self.manifest = bundle.manifest
        self._names = bundle.class_names
        self.engine_ns = 0
        """Time spent inside the engine so far."""

    def crops(self, sightings: Sequence[Sighting]) -> list[Crop | None]:
        """The window around each cell, in order; None without a scale, since none of the right size can be cut then."""
        return [self._cut(each) if each.pixel_um else None for each in sightings]

    def classify(self, sightings: Sequence[Sighting], crops: Sequence[Crop | None] | None = None) -> list[Classification]:
        """A classification for each cell, in order, all of them in one batch. Raises InferenceError.

        crops: as `crops` gives them, restained if need be; cut here if they are left out. Cells without a crop keep their kind
        as label and are not decided.
        """
        windows = self.crops(sightings) if crops is None else crops
        rows = iter(self.probabilities([window for window in windows if window is not None]))
        return [
            _unscaled(each.cell) if window is None else self.answer(each.cell.cell_index, next(rows))
            for each, window in zip(sightings, windows, strict=True)
        ]

    def probabilities(self, crops: Sequence[Crop] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """Crops uint8 (S, S, 3) of the manifest's size -> (N, K) float32, calibrated, summing to 1. Raises InferenceError.

        Calls of the engine hold at most the manifest's largest batch. Where it overlaps them, one is made ready while another
        is computed.
        """
        largest = self.manifest.input.batch.max
        started = [self._start(crops[at : at + largest]) for at in range(0, len(crops), largest)]
        if not started:
            return np.zeros((0, len(self._names)), dtype=np.float32)
        parts = [self._logits(pending, count) for pending, count in started]
        return softmax(np.concatenate(parts), self.manifest.confidence.temperature).astype(np.float32)

    def answer(self, cell_index: int, probabilities: NDArray[np.float32]) -> Classification:
        """Label, confidence and whether it is decided, from one row of `probabilities`."""
        top = int(probabilities.argmax())
        confidence = float(probabilities[top])
        return Classification(
            cell_index=cell_index,
            label=self._names[top],
            confidence=confidence,
            decided=confidence >= self.manifest.confidence.unsure_below,
            probabilities=probabilities,
        )

    def _cut(self, seen: Sighting) -> Crop:
        spec = self.manifest.preprocess
        return cut(seen.image, seen.cell.centre_px, seen.pixel_um or spec.pixel_um, spec.crop_um, spec.size_px)

    def _start(self, crops: Sequence[Crop] | NDArray[np.uint8]) -> tuple[Pending, int]:
        """One batch on its way, and how many cells it has."""
        batch = to_batch(crops, self.manifest.preprocess)
        start = clock.monotonic_ns()
        pending = submit(self._engine, batch)
        self.engine_ns += clock.monotonic_ns() - start
        return pending, len(crops)

    def _logits(self, pending: Pending, count: int) -> NDArray[np.float32]:
        start = clock.monotonic_ns()
        logits = pending.result()[LOGITS]
        self.engine_ns += clock.monotonic_ns() - start
        if logits.shape != (count, len(self._names)) or not np.isfinite(logits).all():
            what = f"{self._engine.description} gave logits {logits.shape} that are not {count} x {len(self._names)} numbers"
            raise InferenceError(what, fix="run `edgecell doctor`, copy the bundle again")
        return logits


def softmax(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """Probabilities (N, K) of logits (N, K). The workshop chooses temperature and threshold with this same function."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def as_kind(cell: Cell, unsure_below: float = 0.0) -> Classification:
    """A cell of a kind that no classifier refines: its kind is its label, with the segmenter's top score if it scores."""
    confidence = None if cell.scores is None else max(cell.scores.tolist())  # a dozen times as fast as numpy's, for a few
    decided = confidence is None or confidence >= unsure_below
    return Classification(cell_index=cell.cell_index, label=cell.kind, confidence=confidence, decided=decided)


def _unscaled(cell: Cell) -> Classification:
    return Classification(cell_index=cell.cell_index, label=cell.kind, confidence=None, decided=False)
