"""Ranges of activations for INT8: streamed statistics of every float tensor, and the methods that turn them into (low, high).

Memory does not grow with the number of cells: each tensor has one histogram, whose bins double in width when a larger value
comes, pair by pair, so that the same cells give the same counts in whatever order and batches they come.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

Ranges = Mapping[str, tuple[float, float]]

MIN_MAX, ENTROPY, PERCENTILE = "min-max", "entropy", "percentile"

_BINS = 4096  # on each side of zero: at least 2048 below the largest value, as many as Migacz's and TensorRT's histograms have
_LEVELS = 128  # steps of an int8 magnitude

# These only move, repeat or choose values, so one scale serves before and after them and no rounding is added.
PASSING = {"Concat", "MaxPool", "Resize"}


@dataclass(slots=True, eq=False)
class Histogram:
    """Counts of one tensor's values. counts: int64 (2 * _BINS,), bin i holds [(i - _BINS) * width, (i + 1 - _BINS) * width).

    Exact zeros are counted apart (`zeros`): after a ReLU they are most values, and they tell nothing about a range.
    """

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2 * _BINS, np.int64))
    width: float = 0.0
    zeros: int = 0
    low: float = np.inf
    high: float = -np.inf

    def add(self, values: NDArray[np.float32]) -> None:
        """Count the values, finite and of any shape."""
        low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._widen(max(-low, high))
        filled = values[values != 0]
        self.zeros += values.size - filled.size
        if filled.size:
            places = np.floor(filled * np.float32(1 / self.width)).astype(np.int64) + _BINS
            self.counts += np.bincount(np.clip(places, 0, 2 * _BINS - 1), minlength=2 * _BINS)

    def _widen(self, largest: float) -> None:
        """Make the bins, whose width is a power of two, reach +-largest."""
        if not largest:
            return
        wanted = 2.0 ** np.ceil(np.log2(largest / _BINS))
        self.width = self.width or wanted
        while self.width < wanted:
            merged = self.counts.reshape(_BINS, 2).sum(axis=1)
            self.counts = np.pad(merged, _BINS // 2)
            self.width *= 2

    def percentile(self, percent: float) -> tuple[float, float]:
        """The values that leave (100 - percent) % of all below the one, and as many above the other."""
        edges = np.arange(-_BINS, _BINS + 1) * self.width
        edges = np.insert(edges, _BINS, 0.0)  # zero twice: the zeros lie between
        summed = np.cumsum(np.insert(self.counts, _BINS, self.zeros))
        at = np.array([100.0 - percent, percent]) / 100.0 * summed[-1]
        low, high = np.interp(at, np.insert(summed, 0, 0), edges)
        return max(float(low), self.low), min(float(high), self.high)

    def entropy(self) -> tuple[float, float]:
        """The values inside the magnitude at which int8 loses least information (Kullback-Leibler divergence).

        Migacz, "8-bit inference with TensorRT", GTC 2017, on magnitudes, without the exact zeros, which every scale represents.
        """
        sizes = self.counts[_BINS:] + self.counts[_BINS - 1 :: -1]
        used = int(np.flatnonzero(sizes).max(initial=-1)) + 1
        candidates = range(_LEVELS, used + 1, max(1, used // (2 * _LEVELS)))
        best = min(candidates, key=lambda count: _divergence(sizes, count), default=used)
        largest = best * self.width
        return max(self.low, -largest), min(self.high, largest)


def _divergence(sizes: NDArray[np.int64], kept: int) -> float:
    """Of the magnitudes clipped to the first `kept` bins, from the same in _LEVELS steps."""
    inside = sizes[:kept].astype(float)
    clipped = inside.copy()
    clipped[-1] += sizes[kept:].sum()
    step = np.arange(kept) * _LEVELS // kept
    filled = np.bincount(step, inside > 0, _LEVELS)
    level = np.bincount(step, inside, _LEVELS) / np.maximum(filled, 1)
    stepped = np.where(inside > 0, level[step], 0.0)
    p, q = clipped / clipped.sum(), np.maximum(stepped / max(stepped.sum(), 1.0), 1e-12)
    seen = p > 0
    return float(np.sum(p[seen] * np.log(p[seen] / q[seen])))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Statistics:
    """Of every float activation of a model over `cells` images. shared: groups of tensors that one scale must serve."""

    tensors: Mapping[str, Histogram]
    shared: tuple[tuple[str, ...], ...]
    cells: int

    def ranges(self, method: str) -> Ranges:
        """(low, high) of every tensor, zero included. method: `min-max`, `entropy` or `percentile P`, else ValueError."""
        ranges = {name: _range(each, method) for name, each in self.tensors.items()}
        for group in self.shared:
            widest = min(ranges[name][0] for name in group), max(ranges[name][1] for name in group)
            ranges |= dict.fromkeys(group, widest)
        return ranges


def _range(histogram: Histogram, method: str) -> tuple[float, float]:
    name, _, percent = method.partition(" ")
    if method == MIN_MAX:
        low, high = histogram.low, histogram.high
    elif method == ENTROPY:
        low, high = histogram.entropy()
    elif name == PERCENTILE and percent:
        low, high = histogram.percentile(float(percent))
    else:
        raise ValueError(f"no method {method!r} for ranges: give {MIN_MAX}, {ENTROPY} or e.g. {PERCENTILE} 99.99")
    return min(low, 0.0), max(high, 0.0)


def collect(model: Any, batches: Iterable[NDArray[np.float32]]) -> Statistics:
    """Run the float model over batches of preprocessed training cells, float32 (N, 3, H, W).

    Raises ValueError without batches, and where an activation is not finite.
    """
    names = list(activations(model))
    tensors = {name: Histogram() for name in names}
    cells = 0
    for values in _run(model, names, batches):
        cells += len(values[0])
        for name, each in zip(names, values, strict=True):
            if not np.isfinite(each).all():
                raise ValueError(f"activation {name} is not finite")
            tensors[name].add(each)
    if not cells:
        raise ValueError("no calibration batches: give some training cells")
    return Statistics(tensors=tensors, shared=tuple(shared_scales(model)), cells=cells)


def activations(model: Any) -> Iterator[str]:
    """Names of the input and of all float tensors that nodes compute from it. The model's shapes must be inferred.

    Numbers about shapes, such as the scales of a Resize, are vectors: no activation has fewer than two axes.
    """
    known = {each.name: each.type.tensor_type for each in (*model.graph.value_info, *model.graph.output)}
    yield model.graph.input[0].name
    for node in model.graph.node:
        for name in node.output:
            kind = known.get(name)
            if kind is not None and kind.elem_type == onnx.TensorProto.FLOAT and len(kind.shape.dim) > 1:
                yield name


def shared_scales(model: Any) -> Iterator[tuple[str, ...]]:
    """Groups of tensors joined by concatenation, pooling and resizing."""
    floats = set(activations(model))
    groups: list[set[str]] = []
    for node in model.graph.node:
        joined = {name for name in (*node.input, *node.output) if name in floats} if node.op_type in PASSING else set()
        if len(joined) > 1:
            touching = [group for group in groups if group & joined]
            groups = [group for group in groups if not group & joined] + [joined.union(*touching)]
    return (tuple(sorted(group)) for group in groups)


def _run(model: Any, names: list[str], batches: Iterable[NDArray[np.float32]]) -> Iterator[list[NDArray[np.float32]]]:
    """The value of each named tensor, batch by batch: nothing but one batch is held in memory."""
    import onnxruntime as ort

    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    present = {each.name for each in (*model.graph.input, *model.graph.output)}
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in present)
    session = ort.InferenceSession(opened.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch in batches:
        yield [batch, *session.run(names[1:], {names[0]: batch})]
