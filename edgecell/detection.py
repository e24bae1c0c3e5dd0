"""How a segmenter's maps become cells: the part of a manifest that only segmenters have."""

from collections.abc import Iterator
from typing import Annotated

import msgspec


class Detection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """least_scores: by class, on the 0-1 scale of the raw maps. overlap: two boxes with a larger intersection over union are
    one cell."""

    least_scores: tuple[Annotated[float, msgspec.Meta(ge=0, le=1)], ...]
    overlap: Annotated[float, msgspec.Meta(ge=0, le=1)]


def problems(
    detection: Detection | None, classes: int, multiple: int | None, usual: tuple[int, int] | None, largest: int
) -> Iterator[str]:
    """What is wrong with a segmenter's manifest. multiple, usual: of its input. largest: longest side in px."""
    if multiple is None or usual is None or any(side % multiple or side > largest for side in (*usual, largest)):
        yield f"a segmenter's input needs sides in multiples of {multiple}, its usual ones {usual} at most {largest}"
    if detection is None or len(detection.least_scores) != classes:
        yield "a segmenter needs detection.least_scores, one a class"
