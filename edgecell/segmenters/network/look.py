"""One look of the network at a frame that is taken to be at some scale."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecell.bundle import Bundle
from edgecell.errors import InferenceError
from edgecell.halves import Halves
from edgecell.preprocess import field_values, resized
from edgecell.protocols import Engine
from edgecell.segmenters.network.decode import BOX, INSIDE, KINDS, STRIDE, Found, Map, decode

LARGEST_ZOOM = 2.0
"""Frames are enlarged by no more than this: what is not in them cannot be found."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """What was found, and where. boxes: (N, 4) in pixels of the frame. steps: (x, y) pixels of the frame a grid cell.

    maps: the network's, cut to the frame. pixel_um: the scale that the frame was taken to be at.
    """

    found: Found
    boxes: NDArray[np.float64]
    maps: dict[str, Map]
    steps: tuple[float, float]
    pixel_um: float


class Network:
    """The bundle's network on an engine that the caller has opened and closes."""

    def __init__(self, engine: Engine, bundle: Bundle) -> None:
        """Raises nothing: that the bundle is a segmenter's, its manifest has been checked for."""
        self._engine, self._manifest = engine, bundle.manifest
        spec = bundle.manifest.preprocess
        self.work_um = spec.crop_um / spec.size_px
        self.names = bundle.class_names
        self._size, self._batch = (0, 0), np.zeros((1, 3, 0, 0), np.float32)

    def look(self, halves: Halves, pixel_um: float) -> Look:
        """The cells of an RGB image uint8 (H, W, 3), taken to be at pixel_um. Raises InferenceError."""
        height, width = halves.halved(0).shape[:2]
        multiple, largest = self._manifest.input.multiple or 1, self._manifest.preprocess.size_px
        factor = min(LARGEST_ZOOM, pixel_um / self.work_um, largest / max(height, width))
        size = max(1, round(width * factor)), max(1, round(height * factor))
        padded = self._padded(size, multiple)
        field_values(resized(halves, size), self._manifest.preprocess, padded[0, :, : size[1], : size[0]])
        rows, columns = _up(size[1], STRIDE) // STRIDE, _up(size[0], STRIDE) // STRIDE
        maps = {name: part[:, :rows, :columns] for name, part in self._maps(padded).items()}
        detection = self._manifest.detection
        limits, overlap = (detection.least_scores, detection.overlap) if detection else ((), 1.0)
        found = decode(maps, limits, overlap)
        steps = STRIDE * width / size[0], STRIDE * height / size[1]
        boxes = np.clip(found.boxes.astype(np.float64) * np.tile(steps, 2), 0, (width, height) * 2)
        return Look(found=found, boxes=boxes, maps=maps, steps=steps, pixel_um=pixel_um)

    def _padded(self, size: tuple[int, int], multiple: int) -> Map:
        """What the network is given, (1, 3, H, W): zero beyond a field of size (x, y). Kept, as the next field is as large."""
        if self._size != size:
            self._size = size
            self._batch = np.zeros((1, 3, _up(size[1], multiple), _up(size[0], multiple)), np.float32)
        return self._batch

    def _maps(self, batch: NDArray[np.float32]) -> dict[str, Map]:
        answers = self._engine.infer(batch)
        height, width = batch.shape[2] // STRIDE, batch.shape[3] // STRIDE
        wanted = {KINDS: (1, len(self.names), height, width), BOX: (1, 4, height, width), INSIDE: (1, 1, height, width)}
        for name, shape in wanted.items():
            if name not in answers or answers[name].shape != shape or not np.isfinite(answers[name]).all():
                what = f"{self._engine.description} gave no map {name} of {shape} numbers"
                raise InferenceError(what, fix="run `edgecell doctor`, copy the bundle again")
        return {name: answers[name][0] for name in wanted}


def tempered(scores: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Scores 0-1 with their logits divided by temperature."""
    odds = np.clip(scores, 1e-6, 1 - 1e-6).astype(np.float64)
    even: NDArray[np.float32] = (1 / (1 + ((1 - odds) / odds) ** (1 / temperature))).astype(np.float32)
    return even


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
