"""How long one inference takes, of several engines in turns: what else the device does, and its clocks, hit all alike."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgecell import clock
from edgecell.engines.trt.request import Shape
from edgecell.protocols import Engine

WARM_UP, ROUNDS = 20, 100
"""Rounds of all engines for each shape. The first runs take longer: kernels are loaded, clocks rise."""
ENOUGH_S, LEAST = 10.0, 5
"""After so many seconds warm-up and rounds end early, with at least this many of each: medians of slow models need fewer."""


def medians_ms(engines: Sequence[Engine], shapes: Sequence[Shape]) -> list[dict[int, float]]:
    """For each open engine the median milliseconds of `infer`, from host memory to host memory, by batch size.

    shapes: (N, C, H, W) of the batches, random numbers. Engines come in a new random order every round. Raises InferenceError.
    """
    rng = np.random.default_rng(0)
    found: list[dict[int, float]] = [{} for _ in engines]
    for shape in dict.fromkeys(shapes):
        batch = rng.standard_normal(shape, dtype=np.float32)
        _rounds(engines, batch, rng, WARM_UP)
        spent_ns = _rounds(engines, batch, rng, ROUNDS)
        for each, median in zip(found, np.median(spent_ns, axis=0), strict=True):
            each[shape[0]] = float(median) / 1e6
    return found


def _rounds(engines: Sequence[Engine], batch: NDArray[np.float32], rng: np.random.Generator, most: int) -> NDArray[np.int64]:
    """Nanoseconds (rounds, engines)."""
    rows: list[list[int]] = []
    began_ns = clock.monotonic_ns()
    while len(rows) < most and (len(rows) < LEAST or clock.monotonic_ns() - began_ns < ENOUGH_S * 1e9):
        row = [0] * len(engines)
        for at in rng.permutation(len(engines)).tolist():
            start_ns = clock.monotonic_ns()
            engines[at].infer(batch)
            row[at] = clock.monotonic_ns() - start_ns
        rows.append(row)
    return np.array(rows, np.int64)
