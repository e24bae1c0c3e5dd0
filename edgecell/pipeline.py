"""The frame path without threads: detect(frame) -> Detected, classify(several Detected) -> FrameReports.

Pure but for the engine and the segmenter: no I/O, no clock but the one passed in. What a frame's cells are called does not
depend on which frames shared their batch.
"""

from collections.abc import Callable, Mapping, Sequence

from edgecell.classify import Classifier, Sighting, as_kind
from edgecell.domain import DomainState, held_back
from edgecell.gate import GateState, Limits, judge, scale_known, told
from edgecell.messages import Cell, Classification, Detected, Domain, Frame, FrameReport, Kind, Segmentation, Verdict
from edgecell.protocols import Segmenter

Now = Callable[[], int]
"""A monotonic clock in nanoseconds, such as edgecell.clock.monotonic_ns."""
Domains = Mapping[Kind, DomainState]


def detect(frame: Frame, segmenter: Segmenter, limits: Limits, state: GateState, now: Now) -> tuple[Detected, GateState]:
    """Gate and segment one frame; what the gate has learnt from it comes back for the next one of the run.

    stage_us: `gate`, and `segment` if the gate let it through. Raises what the segmenter raises.
    """
    start = now()
    verdict, taught = judge(frame, limits, state)
    gated = now()
    stage_us = {"gate": (gated - start) / 1000}
    segmentation: Segmentation | None = None
    if verdict.accepted:
        segmentation = segmenter.segment(frame)
        taught = told(taught, frame, segmentation.pixel_um)
        if segmentation.pixel_um is not None and not scale_known(frame, state):
            verdict, taught = _judged_again(frame, limits, state, segmentation.pixel_um)
        stage_us["segment"] = (now() - gated) / 1000
    accepted = segmentation if verdict.accepted else None
    return Detected(frame=frame, verdict=verdict, segmentation=accepted, stage_us=stage_us), taught


def _judged_again(frame: Frame, limits: Limits, state: GateState, pixel_um: float) -> tuple[Verdict, GateState]:
    """For a gate that knew no scale until the cells gave one. A frame refused now teaches nothing: its scale is as blurred."""
    verdict, taught = judge(frame, limits, told(state, frame, pixel_um))
    return verdict, taught if verdict.accepted else state


def classify(
    detected: Sequence[Detected], classifiers: Mapping[Kind, Classifier], domains: Domains, now: Now
) -> tuple[list[FrameReport], Domains]:
    """A report for each frame, in order, each classifier called once for all its cells of all frames. Raises InferenceError.

    classifiers: by kind of cell; cells of other kinds keep their kind as label. domains: what the run's earlier cells say of
    the slide; with these frames it comes back, and where the slide looks foreign no cell is decided. stage_us adds
    `classify` to accepted frames: the time of the whole batch shared out evenly, so that sums over frames are true.
    """
    start = now()
    labels = _labels(detected, classifiers)
    seen = []
    for each, answers in zip(detected, labels, strict=True):
        domains, domain = _hold_back(each, answers, classifiers, domains)
        seen.append(domain)
    accepted = sum(each.segmentation is not None for each in detected)
    share_us = (now() - start) / 1000 / max(accepted, 1)
    return [_report(each, labels[at], seen[at], share_us) for at, each in enumerate(detected)], domains


def _hold_back(
    detected: Detected, labels: dict[int, Classification], classifiers: Mapping[Kind, Classifier], domains: Domains
) -> tuple[Domains, Domain]:
    """Undecide one frame's cells, in `labels`, where their slide is foreign to their classifier.

    Frame by frame, so that batches do not matter. The domain is that of the kind whose bundle knows the slide least.
    """
    seen = [Domain()]
    for kind, classifier in classifiers.items():
        answers = [labels[sighting.cell.cell_index] for sighting in _sightings(detected) if sighting.cell.kind == kind]
        state = domains.get(kind, DomainState()).after(answers, classifier.manifest)
        domains = {**domains, kind: state}
        seen.append(state.domain(classifier.manifest))
        labels.update({answer.cell_index: answer for answer in held_back(answers, seen[-1])})
    return domains, min(seen, key=lambda domain: (domain.state == "known", domain.mean_confidence or 1.0))


def _labels(detected: Sequence[Detected], classifiers: Mapping[Kind, Classifier]) -> list[dict[int, Classification]]:
    """For each frame, its classifications by cell index."""
    labels: list[dict[int, Classification]] = [{} for _ in detected]
    work: dict[Classifier, list[tuple[int, Sighting]]] = {}
    for at, each in enumerate(detected):
        for sighting in _sightings(each):
            cell = sighting.cell
            if cell.kind in classifiers:
                work.setdefault(classifiers[cell.kind], []).append((at, sighting))
            else:
                labels[at][cell.cell_index] = as_kind(cell)
    for classifier, places in work.items():
        answers = classifier.classify([sighting for _, sighting in places])
        for (at, _), answer in zip(places, answers, strict=True):
            labels[at][answer.cell_index] = answer
    return labels


def _sightings(detected: Detected) -> list[Sighting]:
    """The cells to label: those not excluded."""
    found = detected.segmentation
    if found is None:
        return []
    return [
        Sighting(cell=cell, image=detected.frame.image, pixel_um=found.pixel_um)
        for cell in found.cells
        if cell.excluded is None
    ]


def _report(detected: Detected, labels: Mapping[int, Classification], domain: Domain, share_us: float) -> FrameReport:
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
    )
