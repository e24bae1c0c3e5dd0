"""Which ranges serve a model best: every method encoded both ways, and run on training cells that set no range."""

import logging
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.quantize import Quantized, encode
from calibration.ranges import Statistics
from edgecell.bundle import RangeTrial
from edgecell.engines.onnxrt import OnnxRuntimeEngine, OnnxRuntimeOptions

LOG = logging.getLogger("edgecell.calibration")

Batches = Sequence[NDArray[np.float32]]
Outputs = Mapping[str, NDArray[np.float32]]


def choose(
    model: Any, float_onnx: Path, statistics: Statistics, methods: Sequence[str], cells: Batches, exclude: Collection[str] = ()
) -> tuple[str, list[RangeTrial]]:
    """The method whose outputs are nearest to the float model's, mean of both encodings, and what was compared.

    model: of `quantize.load(float_onnx)`. cells: batches float32 (N, 3, H, W) of training cells that are not in `statistics`.
    """
    expected = answers(float_onnx, cells)
    trials = []
    for method in methods:
        with tempfile.TemporaryDirectory() as folder:
            made = encode(model, statistics.ranges(method), statistics.cells, Path(folder), exclude)
            trials.append(_trial(method, made, expected, cells))
        LOG.info("ranges by %s: %s", method, _line(trials[-1]))
    best = min(trials, key=lambda trial: sum(trial.error.values()))
    return best.method, trials


def answers(path: Path, batches: Batches) -> list[Outputs]:
    """Outputs of a model, batch by batch. `s8s8` is computed as written, with graph optimisation off: it is for TensorRT."""
    options = OnnxRuntimeOptions(threads=2, optimise=path.stem != "s8s8")
    with OnnxRuntimeEngine(path, options=options) as engine:
        return [engine.infer(batch) for batch in batches]


def error(actual: Sequence[Outputs], expected: Sequence[Outputs]) -> float:
    """Root mean square deviation in standard deviations of what is expected: mean over the outputs."""
    parts = []
    for name in expected[0]:
        one, other = (np.concatenate([each[name].ravel() for each in some]) for some in (actual, expected))
        parts.append(np.sqrt(np.mean((one - other) ** 2)) / max(float(other.std()), 1e-12))
    return float(np.mean(parts))


def agreement(actual: Sequence[Outputs], expected: Sequence[Outputs]) -> float | None:
    """Share of cells, or of a map's pixels, with the same largest channel of the first output; None if it has but one."""
    name = next(iter(expected[0]))
    if expected[0][name].shape[1] < 2:
        return None
    same = [(one[name].argmax(axis=1) == other[name].argmax(axis=1)) for one, other in zip(actual, expected, strict=True)]
    return float(np.concatenate([each.ravel() for each in same]).mean())


def _trial(method: str, made: Quantized, expected: Sequence[Outputs], cells: Batches) -> RangeTrial:
    actual = {path.stem: answers(path, cells) for path in (made.u8s8, made.s8s8)}
    return RangeTrial(
        method=method,
        error={name: round(error(some, expected), 5) for name, some in actual.items()},
        agreement={name: agreement(some, expected) for name, some in actual.items()},
    )


def _line(trial: RangeTrial) -> str:
    return ", ".join(f"{name} error {value:.4f} agreement {trial.agreement[name]}" for name, value in trial.error.items())
