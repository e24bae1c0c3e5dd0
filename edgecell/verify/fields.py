"""Two engines on the same fields, as the segmenter that they serve sees them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecell import app
from edgecell.bundle import Bundle
from edgecell.golden import in_batches, inputs
from edgecell.messages import Frame
from edgecell.protocols import Engine, Segmenter
from edgecell.segmenters.network.decode import INSIDE, KINDS, ious
from edgecell.settings import PartSettings
from edgecell.verify.cells import deviation
from edgecell.verify.pictures import Fields
from edgecell.verify.result import FieldsCompared, FoundCompared, MapCompared

SAME_CELL = 0.5
"""Two boxes of one kind with at least this intersection over union are of the same cell."""
SIGNED = (KINDS, INSIDE)
"""Maps of logits: above 0 is yes."""

Boxes = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """cells: of each field, boxes (N, 4) in px by kind. maps: of golden fields, by name, N in front; empty for others."""

    cells: Sequence[Boxes]
    maps: Mapping[str, NDArray[np.float32]]


def answers(bundle: Bundle, engine: Engine, fields: Fields) -> Seen:
    """What the segmenter finds with this engine, and for golden fields the maps. Raises InferenceError."""
    maps: dict[str, NDArray[np.float32]] = {}
    if fields.golden is not None:
        batch, largest = inputs(fields.golden, bundle.manifest), bundle.manifest.input.batch.max
        maps = in_batches(engine, (batch[at : at + largest] for at in range(0, len(batch), largest)))
    chosen = app.choose("segmenter", PartSettings(part="network", options={"pixel_um": fields.pixel_um}))
    cells = []
    with chosen.part(engine, bundle, chosen.options) as segmenter:
        for index, image in enumerate(fields.images()):
            cells.append(_boxes(segmenter, index, image))
    return Seen(cells=cells, maps=maps)


def compare(bundle: Bundle, fields: Fields, a: Seen, b: Seen) -> FieldsCompared:
    """a, b: what `answers` gave for each side."""
    found = {name: _of_kind(name, a, b) for name in bundle.class_names}
    both = sum(each.both for each in found.values())
    either = both + sum(each.only_a + each.only_b for each in found.values())
    return FieldsCompared(
        fields=len(b.cells),
        unreadable=fields.unreadable,
        agreement=both / either if either else 1.0,
        found=found,
        maps={
            name: MapCompared(
                same_sign=float(((a.maps[name] > 0) == (b.maps[name] > 0)).mean()) if name in SIGNED else None,
                deviation=deviation(a.maps[name], b.maps[name], fields.names),
            )
            for name in b.maps
        },
    )


def _boxes(segmenter: Segmenter, index: int, image: NDArray[np.uint8]) -> Boxes:
    cells = segmenter.segment(Frame(source_id="verify", index=index, captured_ns=index, image=image)).cells
    return {
        kind: np.array([cell.box_px for cell in cells if cell.kind == kind], np.float32).reshape(-1, 4)
        for kind in segmenter.kinds
    }


def _of_kind(kind: str, a: Seen, b: Seen) -> FoundCompared:
    pairs = [(one[kind], other[kind]) for one, other in zip(a.cells, b.cells, strict=True)]
    both = sum(matched(one, other) for one, other in pairs)
    return FoundCompared(
        both=both,
        only_a=sum(len(one) for one, _ in pairs) - both,
        only_b=sum(len(other) for _, other in pairs) - both,
    )


def matched(one: NDArray[np.float32], other: NDArray[np.float32]) -> int:
    """How many pairs of the boxes (N, 4) and (M, 4) are the same cell, the most alike first, each box in one pair at most."""
    left, right = (each.ravel() for each in np.indices((len(one), len(other))))
    alike = ious(one[left], other[right])
    free_one, free_other, pairs = set(range(len(one))), set(range(len(other))), 0
    for at in np.argsort(-alike, kind="stable").tolist():
        if alike[at] < SAME_CELL:
            break
        i, j = int(left[at]), int(right[at])
        if i in free_one and j in free_other:
            free_one.remove(i)
            free_other.remove(j)
            pairs += 1
    return pairs
