"""A model on labelled cells: logits of any encoding, then figures at a bundle's temperature and threshold."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.auc import against_the_rest
from calibration.metrics import ENOUGH, Figures, figures
from calibration.tolerance import Groups
from edgecell.bundle import LOGITS, Confidence, Encoding
from edgecell.classify import softmax
from edgecell.engines.onnxrt import OnnxRuntimeEngine, OnnxRuntimeOptions
from edgecell.preprocess import Preprocess, to_batch

FILES: dict[Encoding, str] = {"float": "float.onnx", "u8s8": "u8s8.onnx", "s8s8": "s8s8.onnx"}
BATCH = 64


def run(folder: Path, encoding: Encoding, crops: NDArray[np.uint8], spec: Preprocess) -> dict[str, NDArray[np.float32]]:
    """All outputs of one encoding's file on crops uint8 (n, S, S, 3).

    `s8s8` is meant for TensorRT; here it is computed as written, with graph optimisation off (ONNX Runtime's optimised kernels
    for it saturate on CPUs without VNNI).
    """
    options = OnnxRuntimeOptions(threads=2, optimise=encoding != "s8s8")
    with OnnxRuntimeEngine(folder / FILES[encoding], options=options) as engine:
        parts = [engine.infer(to_batch(crops[at : at + BATCH], spec)) for at in range(0, len(crops), BATCH)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def score(
    logits: NDArray[np.float32],
    truth: NDArray[np.int64],
    confidence: Confidence,
    names: tuple[str, ...],
    *,
    reject: Collection[str] = (),
    tolerant: Groups = (),
) -> Figures:
    """Figures on the cells whose label is known (truth >= 0).

    reject: classes that are no cells; what is called one of them is not decided, as on the device. tolerant: see
    calibration.tolerance.
    """
    known = truth >= 0
    probabilities, labels = softmax(logits[known], confidence.temperature), truth[known]
    called = probabilities.argmax(axis=1)
    decided = (probabilities.max(axis=1) >= confidence.unsure_below) & ~np.isin(np.array(names)[called], list(reject))
    found = figures(called, decided, labels, names, reject=reject, tolerant=tolerant)
    return replace(found, auc=against_the_rest(probabilities, labels, names, ENOUGH))


def agreement(one: dict[str, NDArray[np.float32]], other: dict[str, NDArray[np.float32]]) -> float:
    """Share of cells on which two encodings give the same best class."""
    return float((one[LOGITS].argmax(axis=1) == other[LOGITS].argmax(axis=1)).mean())
