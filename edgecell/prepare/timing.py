"""How long one inference takes, of several engines in turns: what else the device does, and its clocks, hit all alike."""

from collections.abc import Sequence

import numpy as np

from edgecell import clock
from edgecell.engines.trt.request import Shape
from edgecell.protocols import Engine

WARM_UP, ROUNDS = 20, 100
"""The first runs take longer: kernels are loaded, clocks rise."""


def medians_ms(engines: Sequence[Engine], shapes: Sequence[Shape]) -> list[dict[int, float]]:
    """For each open engine the median milliseconds of `infer`, from host memory to host memory, by batch size.

    shapes: (N, C, H, W) of the batches, random numbers. Engines come in a new random order every round. Raises InferenceError.
    """
    rng = np.random.default_rng(0)
    found: list[dict[int, float]] = [{} for _ in engines]
    for shape in dict.fromkeys(shapes):
        batch = rng.standard_normal(shape, dtype=np.float32)
        spent_ns = np.zeros((WARM_UP + ROUNDS, len(engines)), np.int64)
        for row in spent_ns:
            for at in rng.permutation(len(engines)).tolist():
                start = clock.monotonic_ns()
                engines[at].infer(batch)
                row[at] = clock.monotonic_ns() - start
        for each, median in zip(found, np.median(spent_ns[WARM_UP:], axis=0), strict=True):
            each[shape[0]] = float(median) / 1e6
    return found
