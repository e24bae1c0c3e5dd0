"""Golden cells: crops with the answers that the workshop certified, replayed on an engine before it may count a cell.

`golden.npz` holds `crops`, uint8 (N, S, S, 3), stored before preprocessing, so that a replay tests preprocessing too; for each
encoding and output `<encoding>/<output>`, float32 (N, ...), and `<encoding>/<output>/tolerance`, the largest deviation allowed.

How large a deviation is right? INT8 results differ a little between machines: integer sums are exact everywhere (`u8s8` keeps
its weights to 7 bits, so that CPUs without VNNI do not saturate at 16 bit either), but scales are applied in another order and
a value halfway between two steps rounds to the other one. What is harmless is what quantization itself already does to the
answers. So the tolerance is the largest deviation of the encoding from the float model on these cells, and at least 2 % of the
answers' spread. A wrong colour order is more than six times above it.
A golden cell's two best logits are further apart than two tolerances, so an engine within tolerance always agrees on top-1.

`s8s8` may deviate further. It is for TensorRT, which computes what is left float in half precision or TF32, the first layer
too, so that values all over the model round to another step: what that changes on these cells, emulated, is added. So is, to
`u8s8`, what OpenVINO changes: where it fuses a residual sum with a convolution it does not round in between.

Half precision has no answers of its own, since engines round in different places: it is held to the float model's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.bundle import LOGITS, Bundle, Encoding, Manifest
from edgecell.errors import BundleCorrupt, BundleMismatch
from edgecell.npz import read_arrays
from edgecell.preprocess import field_values, to_batch
from edgecell.protocols import Engine

GOLDEN = "golden.npz"
_LEAST_TOLERANCE = 0.02  # of the answers' standard deviation: what half precision and summation order may change
_FIX = "do not use this engine with this bundle; choose another one, or copy the bundle again and prepare it anew"

Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenReport:
    """Result of a replay that passed. deviation, tolerance: largest seen and allowed, by output."""

    cells: int
    deviation: Mapping[str, float]
    tolerance: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Expected:
    """What one encoding must answer. crops: uint8 (N, S, S, 3). outputs: name -> float32 (N, ...). tolerance: the largest
    deviation that is allowed, by output."""

    crops: NDArray[np.uint8]
    outputs: Arrays
    tolerance: Mapping[str, float]


def certified_as(encoding: Encoding) -> Encoding:
    """The encoding whose golden answers hold for `encoding`."""
    return "float" if encoding == "fp16" else encoding


def replay(bundle: Bundle, engine: Engine, encoding: Encoding) -> GoldenReport:
    """Run the bundle's golden cells on an engine that is open. encoding: what the engine runs.

    Raises BundleMismatch, which names the worst cell, when the top class of any cell differs or an output deviates beyond its
    tolerance; BundleCorrupt when the golden file cannot be used; InferenceError from the engine.
    """
    expected = read_golden(bundle.file(GOLDEN), certified_as(encoding))
    batch, largest = inputs(expected.crops, bundle.manifest), bundle.manifest.input.batch.max
    outputs = in_batches(engine, (batch[at : at + largest] for at in range(0, len(batch), largest)))
    deviation = {}
    for name, answer in expected.outputs.items():
        if name not in outputs or outputs[name].shape != answer.shape:
            raise BundleMismatch(f"{engine.description} gives no output {name} of shape {answer.shape}", fix=_FIX)
        deviation[name] = _worst(name, outputs[name], answer, expected.tolerance[name], engine.description)
    if LOGITS in expected.outputs:
        _same_top(outputs[LOGITS], expected.outputs[LOGITS], bundle.class_names, engine.description)
    return GoldenReport(cells=len(expected.crops), deviation=deviation, tolerance=expected.tolerance)


def in_batches(engine: Engine, batches: Iterable[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """The outputs of one batch or several, joined. Raises InferenceError."""
    parts = [engine.infer(batch) for batch in batches]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def inputs(pictures: NDArray[np.uint8], manifest: Manifest) -> NDArray[np.float32]:
    """Golden cells, or a segmenter's golden fields, uint8 (N, S, S, 3), as the model's input, float32 (N, 3, S, S)."""
    if manifest.task == "classify":
        return to_batch(pictures, manifest.preprocess)
    return np.stack([field_values(picture, manifest.preprocess) for picture in pictures])


def read_golden(path: Path, encoding: Encoding) -> Expected:
    """The golden cells of one encoding. Raises BundleCorrupt."""
    arrays = read_arrays(path)
    outputs = {name: arrays[f"{encoding}/{name}"] for name in _names(arrays, encoding)}
    limits = {name: arrays.get(f"{encoding}/{name}/tolerance", np.empty(0)) for name in outputs}
    crops = arrays.get("crops", np.empty(0, np.uint8))
    rebuild = "build the bundle again with the workshop"
    if not outputs or not crops.size:
        raise BundleCorrupt(f"{path} has no golden cells for {encoding}", fix=rebuild)
    if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[3] != 3:
        raise BundleCorrupt(f"{path}: its crops are no RGB pictures of 8 bits", fix=rebuild)
    for name, answer in outputs.items():
        limit = limits[name]
        if answer.dtype != np.float32 or answer.shape[:1] != crops.shape[:1] or not np.isfinite(answer).all():
            raise BundleCorrupt(f"{path}: {encoding}/{name} holds no answers to its {len(crops)} crops", fix=rebuild)
        if limit.dtype.kind != "f" or limit.shape != () or not 0 <= limit < np.inf:
            raise BundleCorrupt(f"{path}: {encoding}/{name} has no tolerance", fix=rebuild)
    return Expected(crops=crops, outputs=outputs, tolerance={name: float(limit) for name, limit in limits.items()})


def write_golden(
    path: Path,
    crops: NDArray[np.uint8],
    reference: Arrays,
    encodings: Mapping[Encoding, Arrays],
    also: Mapping[Encoding, Arrays] = {},
) -> int:
    """Write the golden cells and say how many there are.

    crops: uint8 (N, S, S, 3). reference: the float model's outputs, by name, with N in front; encodings: each encoding's; also:
    what an engine may rightly answer as well, which widens the tolerance of that encoding.
    A cell whose two best logits are too close to survive the tolerance is left out. Raises ValueError when none remains.
    """
    all_encodings: dict[Encoding, Arrays] = {"float": reference, **encodings}
    tolerance = {
        (encoding, name): _tolerance(answer, reference[name]) + _apart(answer, also.get(encoding, {}).get(name, answer))
        for encoding, outputs in all_encodings.items()
        for name, answer in outputs.items()
    }
    keep = np.ones(len(crops), dtype=bool)
    for encoding, outputs in all_encodings.items():
        if LOGITS in outputs:
            keep &= _margin(outputs[LOGITS]) > 2 * tolerance[encoding, LOGITS]
    if not keep.any():
        raise ValueError("no golden cell is decided clearly enough")
    arrays: dict[str, Any] = {"crops": crops[keep]}
    for (encoding, name), limit in tolerance.items():
        arrays[f"{encoding}/{name}"] = all_encodings[encoding][name][keep]
        arrays[f"{encoding}/{name}/tolerance"] = np.asarray(limit, dtype=np.float32)
    np.savez_compressed(path, **arrays)
    return int(keep.sum())


def _names(arrays: Mapping[str, object], encoding: Encoding) -> list[str]:
    names = (name.split("/") for name in arrays)
    return [parts[1] for parts in names if len(parts) == 2 and parts[0] == encoding]


def _worst(output: str, actual: NDArray[np.float32], answer: NDArray[np.float32], limit: float, engine: str) -> float:
    """Largest deviation of an output. Raises BundleMismatch beyond the limit, and for what is not a number."""
    by_cell = np.abs(actual - answer).reshape(len(answer), -1).max(axis=1)
    worst = int(np.argmax(by_cell))  # NaN counts as the maximum
    if not by_cell[worst] <= limit:
        what = f"{engine}: golden cell {worst} deviates by {by_cell[worst]:.3g} in {output}, {limit:.3g} is allowed"
        raise BundleMismatch(what, fix=_FIX)
    return float(by_cell[worst])


def _same_top(actual: NDArray[np.float32], answer: NDArray[np.float32], classes: tuple[str, ...], engine: str) -> None:
    differs = np.flatnonzero(actual.argmax(axis=1) != answer.argmax(axis=1))
    if differs.size:
        worst = int(differs[np.abs(actual - answer).max(axis=1)[differs].argmax()])
        found, right = classes[actual[worst].argmax()], classes[answer[worst].argmax()]
        raise BundleMismatch(f"{engine}: golden cell {worst} is called {found}, it was certified as {right}", fix=_FIX)


def _margin(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    best = np.sort(logits, axis=1)
    return np.asarray(best[:, -1] - best[:, -2], dtype=np.float32)


def _tolerance(answer: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    return max(_apart(answer, reference), _LEAST_TOLERANCE * float(reference.std()))


def _apart(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.abs(one - other).max())
