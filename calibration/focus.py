"""How often the gate refuses sharp fields and lets blurred ones through.

A run is what `edgecell count` does with a folder: fields in the order of their names, microscopes mixed as they come; the gate
knows nothing at first and the scale is measured on the cells. Fields are blurred at their own scale, which the labelled red
cells give: by a Gaussian, or by an even disc, which is defocus in geometrical optics.

Near-copies stand or fall together: the second figure counts each group of them once, wrong when any of its fields is.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.fields import KINDS, Field, near_copies
from calibration.metrics import Share
from edgecell import clock, pipeline
from edgecell.gate import GateState, Limits
from edgecell.messages import RED_BLOOD_CELL, Frame
from edgecell.optics.scale import RED_CELL_UM
from edgecell.protocols import Segmenter

Image = NDArray[np.uint8]
SHARP = "sharp"
BLURS = ("gaussian 2", "gaussian 0.85", "disc 2", "disc 1")
"""Shape, and sigma or radius in um. A Gaussian of sigma 0.85 um is 2 um wide at half its height, a disc of 1 um 2 um across."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the gate did with fields that were all blurred alike. wrong: sharp and refused, or blurred and let through.

    wrong_groups: the same with near-copies counted once. wrong_by_source: where the wrong ones come from.
    """

    blur: str
    wrong: Share
    wrong_groups: Share
    reasons: Mapping[str, int]
    wrong_by_source: Mapping[str, int]

    def summary(self) -> dict[str, object]:
        """All of it as plain values."""
        shares = {"wrong": self.wrong.summary(), "wrong_groups": self.wrong_groups.summary()}
        return {"blur": self.blur, **shares, "reasons": self.reasons, "wrong_by_source": self.wrong_by_source}

    def __str__(self) -> str:
        verb = "refused" if self.blur == SHARP else "let through"
        where = ", ".join(f"{source}: {count}" for source, count in self.wrong_by_source.items())
        return f"{self.blur:<14} {verb} {self.wrong}; distinct {self.wrong_groups}; {dict(self.reasons)} {where}"


def runs(fields: Sequence[Field], make: Callable[[], AbstractContextManager[Segmenter]]) -> Iterator[Run]:
    """The fields as they are, then blurred in each of BLURS, each time a fresh run with a segmenter from `make`."""
    groups = near_copies(fields)
    return (run(fields, groups, blur, make) for blur in (SHARP, *BLURS))


def run(
    fields: Sequence[Field], groups: NDArray[np.int64], blur: str, make: Callable[[], AbstractContextManager[Segmenter]]
) -> Run:
    """One run over the fields. groups: (N,) as `near_copies` gives them."""
    pixel_um = scales(fields)
    reasons, sources, state = Counter[str](), Counter[str](), GateState()
    wrong = np.zeros(len(fields), bool)
    with make() as segmenter:
        for index, field in enumerate(fields):
            image = np.ascontiguousarray(blurred(field.image, blur, pixel_um[field.source]))
            image.flags.writeable = False
            frame = Frame(source_id="focus", index=index, captured_ns=0, image=image, label=field.name)
            found, state = pipeline.detect(frame, segmenter, Limits(), state, clock.monotonic_ns)
            reasons[found.verdict.reason or "accepted"] += 1
            wrong[index] = found.verdict.accepted != (blur == SHARP)
            sources[field.source] += bool(wrong[index])
    distinct = len(np.unique(groups))
    return Run(
        blur=blur,
        wrong=Share(count=int(wrong.sum()), n=len(fields)),
        wrong_groups=Share(count=len(np.unique(groups[wrong])), n=distinct),
        reasons=reasons,
        wrong_by_source=+sources,
    )


def blurred(image: Image, blur: str, pixel_um: float) -> Image:
    """An RGB image uint8 (H, W, 3) blurred as BLURS names it, or as it is for SHARP."""
    if blur == SHARP:
        return image
    shape, size_um = blur.split()
    size_px = float(size_um) / pixel_um
    if shape == "gaussian":
        return cv2.GaussianBlur(image, (0, 0), size_px).astype(np.uint8, copy=False)
    reach = int(np.ceil(size_px)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(size_px + 0.5 - np.hypot(x, y), 0, 1)
    return cv2.filter2D(image, -1, disc / disc.sum()).astype(np.uint8, copy=False)


def scales(fields: Sequence[Field]) -> dict[str, float]:
    """um per pixel of each source: its median labelled red cell is RED_CELL_UM across. Sources without any share the median."""
    sizes: dict[str, list[float]] = {field.source: [] for field in fields}
    for field in fields:
        boxes = field.boxes[field.kinds == KINDS.index(RED_BLOOD_CELL)]
        sizes[field.source] += np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)).tolist()
    every = [size for found in sizes.values() for size in found]
    return {source: RED_CELL_UM / float(np.median(found or every)) for source, found in sizes.items()}
