"""Two engines on the same cells."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgecell.bundle import LOGITS, Bundle, Manifest
from edgecell.classify import softmax
from edgecell.golden import in_batches
from edgecell.preprocess import to_batch
from edgecell.protocols import Engine
from edgecell.verify.pictures import Cells
from edgecell.verify.result import CellsCompared, Decided, Deviation, Differing, Labelled, OfClass

MOST_NAMED = 20
"""Cells that are named because the two differ about them; all are counted."""

Outputs = Mapping[str, NDArray[np.float32]]


def answers(bundle: Bundle, engine: Engine, cells: Cells) -> Outputs:
    """All outputs by name, float32, N in front. Raises InferenceError."""
    largest, spec = bundle.manifest.input.batch.max, bundle.manifest.preprocess
    starts = range(0, len(cells.crops), largest)
    return in_batches(engine, (to_batch(cells.crops[at : at + largest], spec) for at in starts))


def compare(bundle: Bundle, cells: Cells, a: Outputs, b: Outputs) -> CellsCompared:
    """a, b: what `answers` gave for each side."""
    top_a, top_b = a[LOGITS].argmax(axis=1), b[LOGITS].argmax(axis=1)
    same = top_a == top_b
    return CellsCompared(
        cells=len(same),
        unreadable=cells.unreadable,
        agree=int(same.sum()),
        agreement=float(same.mean()),
        by_class={
            name: OfClass(cells=int((top_b == at).sum()), agree=int(same[top_b == at].sum()))
            for at, name in enumerate(bundle.class_names)
        },
        labelled={
            name: Labelled(
                cells=int(here.sum()), right_a=int((top_a[here] == at).sum()), right_b=int((top_b[here] == at).sum())
            )
            for at, name in enumerate(bundle.class_names)
            if (here := cells.labels == at).any()
        },
        decided=_decided(a[LOGITS], b[LOGITS], bundle.manifest),
        deviation={each.name: deviation(a[each.name], b[each.name], cells.names) for each in bundle.manifest.outputs},
        differing=_differing(bundle, cells, a[LOGITS], b[LOGITS]),
    )


def deviation(a: NDArray[np.float32], b: NDArray[np.float32], names: tuple[str, ...]) -> Deviation:
    """The worst of N cells or fields. What is no number in one of the two is the worst there can be."""
    worst = _largest(a, b)
    at = int(worst.argmax())
    return Deviation(largest=float(worst[at]), where=names[at], spread=float(b.std()))


def _largest(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """The largest difference of each of N, infinite where one side has no number."""
    difference = np.nan_to_num(np.abs(a - b), nan=np.inf, posinf=np.inf)
    worst: NDArray[np.float32] = difference.reshape(len(b), -1).max(axis=1)
    return worst


def _decided(a: NDArray[np.float32], b: NDArray[np.float32], manifest: Manifest) -> Decided:
    limit, temperature = manifest.confidence.unsure_below, manifest.confidence.temperature
    sure_a, sure_b = (softmax(logits, temperature).max(axis=1) >= limit for logits in (a, b))
    return Decided(
        both=int((sure_a & sure_b).sum()),
        only_a=int((sure_a & ~sure_b).sum()),
        only_b=int((sure_b & ~sure_a).sum()),
        neither=int((~sure_a & ~sure_b).sum()),
    )


def _differing(bundle: Bundle, cells: Cells, a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[Differing, ...]:
    """Those with another top class, MOST_NAMED at most."""
    names, worst, top_a, top_b = bundle.class_names, _largest(a, b), a.argmax(axis=1), b.argmax(axis=1)
    at = np.flatnonzero(top_a != top_b)
    chosen = at[np.argsort(-worst[at], kind="stable")][:MOST_NAMED]
    return tuple(
        Differing(where=cells.names[each], a=names[top_a[each]], b=names[top_b[each]], deviation=float(worst[each]))
        for each in chosen.tolist()
    )
