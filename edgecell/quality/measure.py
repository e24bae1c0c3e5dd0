"""What a slide shows: of the microscope, and of its cells by field."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, NamedTuple

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edgecell import clock, dirt, drift, pipeline, tally
from edgecell.app import Recogniser
from edgecell.drift import DriftState
from edgecell.errors import SourceUnavailable
from edgecell.gate import GateState
from edgecell.messages import RED_BLOOD_CELL, Frame, FrameReport, Tally
from edgecell.optics.scale import RED_CELL_UM
from edgecell.pipeline import SlideState

LEAST_FIELDS = 10
"""Of fewer fields nothing is said."""
PATIENCE = 50
"""Frames that are looked at for each field, most of them of one that was there before, until the slide is said to rest."""
_BLOCKS = (6, 4)  # across and down: of each the mean says how evenly the field is lit

Small = NDArray[np.uint8]
Finite = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]


class PerField(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Cells of a kind in a field: mean and standard deviation over the fields."""

    mean: Finite
    sd: Finite


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What `fields` fields of a slide showed.

    refused: further fields that the gate refused, by reason. red_cell_px: median diameter of the red cells, of discs of their
    area; of the corrected frame. background: grey values of red, green and blue where it is clear, as the camera gives them.
    evenness: the darkest part of the clear field by the brightest, once corrected, 0-1. blur_um: median. dirt: share of the
    frame, 0-1. per_field: kind -> cells that count. classes: class of the differential -> cells. None: nothing to measure.
    """

    fields: int
    refused: dict[str, int]
    red_cell_px: float | None
    background: tuple[float, float, float]
    evenness: float
    blur_um: float | None
    dirt: float
    per_field: dict[str, PerField]
    classes: dict[str, int]
    unsure: int

    @property
    def accepted(self) -> float:
        """Share of the fields that could be counted, 0-1."""
        return self.fields / (self.fields + sum(self.refused.values()))


class _Field(NamedTuple):
    """One that counts. clear: how bright each place of its small image is beside the background."""

    counts: Mapping[str, int]
    diameters_px: NDArray[np.float64]
    background: tuple[float, float, float]
    focus: float
    clear: Small


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """What earlier frames teach of the later ones."""

    gate: GateState = field(default_factory=lambda: GateState(drift=DriftState()))
    slide: SlideState = field(default_factory=SlideState)


def measure(frames: Iterable[Frame], recogniser: Recogniser, wanted: int, told: Callable[[int], None]) -> Measured:
    """Look at frames until `wanted` fields count. Those that show the field before are passed over: they tell nothing new.

    told: hears how many fields there are, after each.

    Raises SourceUnavailable where the frames end, or the slide rests, before LEAST_FIELDS were seen; what the parts raise.
    """
    state, fields, refused, total = _State(), list[_Field](), Counter[str](), Tally()
    for number, frame in enumerate(frames):
        seen = state.gate.drift.last if state.gate.drift else b""
        image, report, state = _look(frame, recogniser, state)
        if state.gate.drift and state.gate.drift.last is not seen:
            if report.verdict.accepted:
                fields.append(_field(frame.image, image, report, recogniser))
                total = tally.add(tally.capture(total), report, recogniser.classes)
            else:
                refused[report.verdict.reason] += 1
            told(len(fields))
        if len(fields) == wanted or number + 1 == PATIENCE * wanted:
            break
    if len(fields) < LEAST_FIELDS:
        why = ", ".join(f"{count} {reason}" for reason, count in refused.items()) or "the others show the same field again"
        what = f"{len(fields)} different fields could be counted ({why}); a quality check needs {LEAST_FIELDS}"
        raise SourceUnavailable(what, fix="move the slide from field to field, or give a source with more of them")
    return _summary(fields, refused, total, recogniser)


def _look(frame: Frame, recogniser: Recogniser, state: _State) -> tuple[Small, FrameReport, _State]:
    """The corrected image, and what was found."""
    detected, gate = pipeline.detect(
        frame, recogniser.segmenter, recogniser.limits, state.gate, clock.monotonic_ns, recogniser.correct
    )
    [report], slide = pipeline.classify([detected], recogniser.classifiers, state.slide, clock.monotonic_ns)
    return detected.frame.image, report, replace(state, gate=gate, slide=slide)


def _field(raw: Small, image: Small, report: FrameReport, recogniser: Recogniser) -> _Field:
    """raw, image: as the camera gives it, and corrected."""
    background = drift.glanced(drift.small(raw), 0.0)
    corrected = drift.small(image)
    counted = [cell for cell in report.cells if cell.excluded is None]
    areas = [int(cell.mask.sum()) for cell in counted if cell.kind == RED_BLOOD_CELL]
    green = np.ascontiguousarray(corrected[..., 1])
    return _Field(
        counts={kind: sum(cell.kind == kind for cell in counted) for kind in recogniser.segmenter.kinds},
        diameters_px=np.sqrt(np.array(areas, np.float64) * 4 / np.pi),
        background=(background.red, background.green, background.blue),
        focus=report.verdict.focus,
        clear=dirt.even(green, drift.glanced(corrected, 0.0).green),
    )


def _summary(fields: list[_Field], refused: Mapping[str, int], total: Tally, recogniser: Recogniser) -> Measured:
    diameters = np.concatenate([each.diameters_px for each in fields])
    focus = [each.focus for each in fields if each.focus > 0]
    halves = [np.maximum.reduce([each.clear for each in fields[start::2]]) for start in (0, 1)]
    spots = dirt.spots(halves[0], halves[1])
    blocks = cv2.resize(np.maximum(*halves), _BLOCKS, interpolation=cv2.INTER_AREA)
    red, green, blue = (float(value) for value in np.median([each.background for each in fields], axis=0))
    return Measured(
        fields=len(fields),
        refused=dict(refused),
        red_cell_px=float(np.median(diameters)) if diameters.size else None,
        background=(red, green, blue),
        evenness=float(blocks.min() / max(1.0, float(blocks.max()))),
        blur_um=RED_CELL_UM / float(np.median(focus)) if focus else None,
        dirt=spots.share if spots else 0.0,
        per_field={kind: _per_field([each.counts[kind] for each in fields]) for kind in recogniser.segmenter.kinds},
        classes={row.label: row.count for row in tally.differential(total, recogniser.classes).rows},
        unsure=total.unsure,
    )


def _per_field(counts: list[int]) -> PerField:
    return PerField(mean=round(float(np.mean(counts)), 3), sd=round(float(np.std(counts, ddof=1)), 3))
