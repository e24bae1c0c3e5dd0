"""The frame path without threads: detect(frame) -> Detected, classify(several Detected) -> FrameReports.

Pure but for the engine and the segmenter: no I/O, no clock but the one passed in. What a frame's cells are called does not
depend on which frames shared their batch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np

from edgecell import area, drift
from edgecell.area import LEAST_NEW, NOTHING_NEW, AreaState
from edgecell.classify import Classifier, Sighting, as_kind
from edgecell.domain import DomainState, held_back
from edgecell.gate import BLURRED, GateState, Limits, judge, known_um, told
from edgecell.messages import Cell, Classification, Detected, Domain, Frame, FrameReport, Kind, Place, Segmentation, Verdict
from edgecell.motion import MOVING, is_moving
from edgecell.place import located
from edgecell.preprocess import Crop, Preprocess, white_point
from edgecell.protocols import Segmenter
from edgecell.stain import StainState, restained

Now = Callable[[], int]
"""A monotonic clock in nanoseconds, such as edgecell.clock.monotonic_ns."""
Correct = Callable[[Frame], Frame]
"""What evens out camera and lamp, such as edgecell.optics.correct.Correction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideState:
    """What a run has told of its slide so far: how its red cells look, and how sure the answers were, by kind of cell."""

    stain: StainState = field(default_factory=StainState)
    domains: Mapping[Kind, DomainState] = field(default_factory=dict)


def detect(
    frame: Frame, segmenter: Segmenter, limits: Limits, state: GateState, now: Now, correct: Correct | None = None
) -> tuple[Detected, GateState]:
    """Correct, gate and segment one frame; what the gate has learnt from it comes back for the next one of the run.

    Where state has an area each cell counts once: the frame is placed on the slide, refused if it moved or shows nothing new,
    and of its cells those are `duplicate` that lie where a frame before it was counted.
    Where state has a drift, the frame as it came is compared with how the microscope was set up.
    stage_us: `correct` if that is asked for, `gate`, `segment` if the gate let it through, `drift` where it was compared. The
    frame that is given back is the corrected one. Raises what the segmenter and the correction raise.
    """
    stage_us: dict[str, float] = {}
    came_as = frame.image
    if correct is not None:
        came = now()
        frame = correct(frame)
        stage_us["correct"] = (now() - came) / 1000
    start = now()
    verdict, taught = judge(frame, limits, state)
    place, begun = None, state.area.regions if state.area else 0
    if taught.area is not None:
        verdict, place, taught = _placed(frame, verdict, taught, taught.area)
    lost = taught.area is not None and taught.area.regions > max(begun, 1)
    joined = taught.area.joined if taught.area is not None and place is not None else None
    gated = now()
    stage_us["gate"] = (gated - start) / 1000
    segmentation: Segmentation | None = None
    if verdict.accepted:
        segmentation = segmenter.segment(frame)
        taught = told(taught, frame, segmentation.pixel_um)
        if segmentation.pixel_um is not None and known_um(frame, state) is None:
            verdict, taught = _judged_again(frame, limits, replace(state, area=taught.area), segmentation.pixel_um)
        stage_us["segment"] = (now() - gated) / 1000
    accepted = segmentation if verdict.accepted else None
    if accepted is not None and place is not None and taught.area is not None:
        accepted, taught = _once(frame, accepted, place, taught, taught.area)
    if taught.drift is not None:
        looking = now()
        taught = replace(taught, drift=drift.looked(came_as, verdict, taught.drift))
        stage_us["drift"] = (now() - looking) / 1000
    detected = Detected(
        frame=frame, verdict=verdict, segmentation=accepted, stage_us=stage_us, place=place, lost=lost, joined=joined
    )
    return detected, taught


def _placed(frame: Frame, verdict: Verdict, state: GateState, before: AreaState) -> tuple[Verdict, Place | None, GateState]:
    """Where the frame lies; and the verdict, which refuses it if that is no reason to count it. Blurred frames are followed."""
    if verdict.accepted and (um := known_um(frame, state)) and is_moving(frame.image, um):
        verdict = replace(verdict, accepted=False, reason=MOVING)
    if not verdict.accepted and verdict.reason not in (BLURRED, MOVING):
        return verdict, None, state
    place, after = located(frame, before, sharp=verdict.accepted)
    if verdict.accepted and place is not None and area.new_share(place, after) < LEAST_NEW:
        verdict = replace(verdict, accepted=False, reason=NOTHING_NEW)
    return verdict, place, replace(state, area=after)


def _once(
    frame: Frame, found: Segmentation, place: Place, state: GateState, before: AreaState
) -> tuple[Segmentation, GateState]:
    """The cells, those marked that were counted; and what is counted now."""
    cells = tuple(area.once(found.cells, place, before, found.pixel_um, frame.slide_um))
    told = found.pixel_um_source in ("settings", "optics", "bundle")
    return replace(found, cells=cells), replace(state, area=area.counted(cells, place, before, found.pixel_um, told=told))


def _judged_again(frame: Frame, limits: Limits, state: GateState, pixel_um: float) -> tuple[Verdict, GateState]:
    """For a gate that knew no scale until the cells gave one. A frame refused now teaches nothing: its scale is as blurred."""
    verdict, taught = judge(frame, limits, told(state, frame, pixel_um))
    return verdict, taught if verdict.accepted else state


def classify(
    detected: Sequence[Detected], classifiers: Mapping[Kind, Classifier], slide: SlideState, now: Now
) -> tuple[list[FrameReport], SlideState]:
    """A report for each frame, in order, each classifier called once for all its cells of all frames. Raises InferenceError.

    classifiers: by kind of cell; cells of other kinds keep their kind as label. slide: what the run's earlier cells say of
    it; with these frames it comes back. Its stain is evened out before the network sees a cell, and where it looks
    foreign no cell is decided. stage_us adds `classify` to accepted frames: the time of the whole batch shared out evenly, so
    that sums over frames are true; engine_us is shared out in the same way.
    """
    start, engine_ns = now(), _engine_ns(classifiers)
    labels, slide = _labels(detected, classifiers, slide)
    seen = []
    for each, answers in zip(detected, labels, strict=True):
        slide, domain = _hold_back(each, answers, classifiers, slide)
        seen.append(domain)
    accepted = sum(each.segmentation is not None for each in detected)
    share_us = (now() - start) / 1000 / max(accepted, 1)
    engine_us = (_engine_ns(classifiers) - engine_ns) / 1000 / max(accepted, 1)
    return [_report(each, labels[at], seen[at], share_us, engine_us) for at, each in enumerate(detected)], slide


def _engine_ns(classifiers: Mapping[Kind, Classifier]) -> int:
    return sum(classifier.engine_ns for classifier in classifiers.values())


def _hold_back(
    detected: Detected, labels: dict[int, Classification], classifiers: Mapping[Kind, Classifier], slide: SlideState
) -> tuple[SlideState, Domain]:
    """Undecide one frame's cells, in `labels`, where their slide is foreign to their classifier.

    Frame by frame, so that batches do not matter. The domain is that of the kind whose bundle knows the slide least.
    """
    seen = [Domain()]
    for kind, classifier in classifiers.items():
        answers = [labels[cell.cell_index] for cell in _to_label(detected) if cell.kind == kind]
        state = slide.domains.get(kind, DomainState()).after(answers, classifier.manifest)
        slide = replace(slide, domains={**slide.domains, kind: state})
        seen.append(state.domain(classifier.manifest))
        labels.update({answer.cell_index: answer for answer in held_back(answers, seen[-1])})
    return slide, min(seen, key=lambda domain: (domain.state == "known", domain.mean_confidence or 1.0))


def _labels(
    detected: Sequence[Detected], classifiers: Mapping[Kind, Classifier], slide: SlideState
) -> tuple[list[dict[int, Classification]], SlideState]:
    """For each frame, its classifications by cell index; and the slide with the stain of these frames."""
    labels: list[dict[int, Classification]] = [{} for _ in detected]
    work: dict[Classifier, list[tuple[int, Sighting]]] = {}
    for at, each in enumerate(detected):
        found = each.segmentation
        for cell in _to_label(each):
            if found is not None and cell.kind in classifiers:
                sighting = Sighting(cell=cell, image=each.frame.image, pixel_um=found.pixel_um)
                work.setdefault(classifiers[cell.kind], []).append((at, sighting))
            else:
                labels[at][cell.cell_index] = as_kind(cell, found.unsure_below if found else 0.0)
    for classifier, places in work.items():
        frames, sightings = [at for at, _ in places], [sighting for _, sighting in places]
        crops, stain = _restained(classifier.crops(sightings), frames, slide.stain, classifier.manifest.preprocess)
        slide = replace(slide, stain=stain)
        for at, answer in zip(frames, classifier.classify(sightings, crops), strict=True):
            labels[at][answer.cell_index] = answer
    return labels, slide


def _restained(
    crops: Sequence[Crop | None], frames: Sequence[int], stain: StainState, spec: Preprocess
) -> tuple[list[Crop | None], StainState]:
    """The crops in the stain of the bundle's own slides. frames: whose crop each is; a frame's own crops count for it."""
    if spec.red_density is None:
        return list(crops), stain
    out: list[Crop | None] = []
    for _, group in groupby(zip(frames, crops, strict=True), key=lambda pair: pair[0]):
        some = [crop for _, crop in group]
        known = np.array([crop for crop in some if crop is not None], np.uint8)
        white = white_point(known) if len(known) else None
        stain = stain.after(known, spec, white)
        again = iter(restained(known, stain.gain(spec), white))
        out += [None if crop is None else next(again) for crop in some]
    return out, stain


def _to_label(detected: Detected) -> list[Cell]:
    """The cells that are not excluded."""
    found = detected.segmentation
    return [] if found is None else [cell for cell in found.cells if cell.excluded is None]


def _report(
    detected: Detected, labels: Mapping[int, Classification], domain: Domain, share_us: float, engine_us: float
) -> FrameReport:
    frame, found = detected.frame, detected.segmentation
    cells: tuple[Cell, ...] = found.cells if found else ()
    return FrameReport(
        frame_index=frame.index,
        captured_ns=frame.captured_ns,
        label=frame.label,
        verdict=detected.verdict,
        cells=cells,
        classifications=tuple(labels[cell.cell_index] for cell in cells if cell.excluded is None),
        pixel_um=found.pixel_um if found else None,
        pixel_um_source=found.pixel_um_source if found else "unknown",
        stage_us={**detected.stage_us, "classify": share_us} if found else detected.stage_us,
        domain=domain,
        engine_us=engine_us if found else 0.0,
        place=detected.place,
        lost=detected.lost,
        joined=detected.joined,
    )
