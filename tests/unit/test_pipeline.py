"""detect and classify: who is labelled by whom, in what order, and what the reports say."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_bundle import CLASSES, make_tiny_bundle
from typing_extensions import Self

from edgecell.classify import Classifier
from edgecell.engines.onnxrt import OnnxRuntimeEngine
from edgecell.gate import BLURRED, EMPTY, GateState, Limits
from edgecell.messages import Cell, Detected, Exclusion, Frame, FrameReport, Kind, Segmentation
from edgecell.pipeline import SlideState, classify, detect
from edgecell.protocols import Probe
from edgecell.segmenters.stain import StainSegmenter
from edgecell.sources.phantom import PhantomSource
from edgecell.sources.phantom.options import Options

Now = Callable[[], int]


class Listed:
    """A stand-in segmenter that finds the cells it was told, in every frame."""

    kinds: tuple[str, ...] = ("nucleated", "red_blood_cell")

    def __init__(self, cells: list[tuple[str, float, Exclusion | None]], pixel_um: float | None = 0.5) -> None:
        self._cells, self._pixel_um = cells, pixel_um
        self.frames: list[int] = []

    def segment(self, frame: Frame) -> Segmentation:
        self.frames.append(frame.index)
        return Segmentation(
            cells=tuple(made(frame.index, at, *each) for at, each in enumerate(self._cells)),
            pixel_um=self._pixel_um,
            pixel_um_source="settings" if self._pixel_um else "unknown",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    @classmethod
    def probe(cls) -> Probe:
        return Probe(usable=True, version="0")


class Counted(Classifier):
    """The real classifier, with the sizes of the requests that came to it."""

    sizes: list[int]

    def probabilities(self, crops: object) -> NDArray[np.float32]:
        assert isinstance(crops, list)
        self.sizes.append(len(crops))
        return super().probabilities(crops)


def made(frame_index: int, index: int, kind: str, x: float, excluded: Exclusion | None) -> Cell:
    left = int(x) - 8
    return Cell(
        frame_index=frame_index,
        cell_index=10 + index,
        kind=kind,
        box_px=(left, 42, left + 16, 58),
        centre_px=(x, 50),
        excluded=excluded,
    )


def frame(index: int, *, empty: bool = False) -> Frame:
    """Discs of many colours at x = 50, 100, ... 250, y = 50."""
    image = np.full((100, 300, 3), 230, dtype=np.uint8)
    rng = np.random.default_rng(index)
    for x in range(50, 300, 50):
        cv2.circle(image, (x, 50), int(rng.integers(6, 15)), rng.integers(20, 200, 3).tolist(), -1)
    if empty:
        image[:] = 230
    image.flags.writeable = False
    return Frame(source_id="test", index=index, captured_ns=1000 + index, image=image, label=f"{index}.png")


def clock(step_ns: int = 5000) -> Now:
    """Each look at it is one step later."""
    ticks = iter(range(0, 10**9, step_ns))
    return lambda: next(ticks)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counted]:
    tiny = make_tiny_bundle(tmp_path_factory.mktemp("pipeline"))
    with OnnxRuntimeEngine(tiny.file("u8s8.onnx"), manifest=tiny.manifest) as engine:
        counted = Counted(engine, tiny)
        counted.sizes = []
        yield counted


MIXED: list[tuple[str, float, Exclusion | None]] = [
    ("red_blood_cell", 50, None),
    ("nucleated", 100, None),
    ("nucleated", 150, "edge"),
    ("red_blood_cell", 200, "duplicate"),
    ("nucleated", 250, None),
]


def looked(at: Frame, segmenter: Listed) -> Detected:
    """What is detected in the first frame of a run."""
    return detect(at, segmenter, Limits(), GateState(), clock())[0]


def seen(count: int, segmenter: Listed) -> list[Detected]:
    return [looked(frame(at), segmenter) for at in range(count)]


def labels(reports: list[FrameReport]) -> list[list[tuple[int, str, bool]]]:
    return [[(each.cell_index, each.label, each.decided) for each in report.classifications] for report in reports]


def test_an_accepted_frame_is_segmented_and_timed() -> None:
    found = looked(frame(3), Listed(MIXED))
    assert found.verdict.accepted
    assert found.segmentation is not None
    assert len(found.segmentation.cells) == 5
    assert found.stage_us == {"gate": 5.0, "segment": 5.0}


def test_a_refused_frame_never_reaches_the_segmenter() -> None:
    segmenter = Listed(MIXED)
    found = looked(frame(3, empty=True), segmenter)
    assert found.segmentation is None
    assert segmenter.frames == []
    assert found.stage_us == {"gate": 5.0}


def test_a_frame_is_corrected_before_anyone_looks_at_it() -> None:
    """Gate, segmenter and whoever cuts crops see the corrected frame, and only that."""
    black = replace(frame(3), image=np.zeros_like(frame(3).image))
    segmenter = Listed(MIXED)
    found, _ = detect(black, segmenter, Limits(), GateState(), clock(), lambda _: frame(4))
    assert found.verdict.accepted
    assert (found.frame.index, segmenter.frames) == (4, [4])
    assert found.stage_us == {"correct": 5.0, "gate": 5.0, "segment": 5.0}


def soft(index: int, sigma_px: float) -> Frame:
    sharp = frame(index)
    return replace(sharp, image=cv2.GaussianBlur(sharp.image, (0, 0), sigma_px).astype(np.uint8))


def test_the_gate_learns_the_scale_from_the_cells_of_the_run() -> None:
    """At 0.1 um/px cells of 20 px are platelets and a blur of 2 px is sharp; at 0.5 um/px it is 1 um and blurred."""
    _, small = detect(frame(0), Listed(MIXED, pixel_um=0.1), Limits(), GateState(), clock())
    _, large = detect(frame(0), Listed(MIXED, pixel_um=0.5), Limits(), GateState(), clock())
    segmenter = Listed(MIXED)
    assert detect(soft(1, 2), segmenter, Limits(), small, clock())[0].verdict.accepted
    refused, _ = detect(soft(1, 2), segmenter, Limits(), large, clock())
    assert (refused.verdict.reason, refused.segmentation) == (BLURRED, None)
    assert segmenter.frames == [1]


def test_a_frame_is_judged_again_when_its_own_cells_give_the_scale() -> None:
    found, state = detect(soft(0, 1), Listed(MIXED, pixel_um=0.9), Limits(), GateState(), clock())
    assert (found.verdict.reason, found.segmentation) == (BLURRED, None)
    assert "segment" in found.stage_us
    assert state == GateState()


def test_without_a_scale_the_gate_goes_on_with_its_ruler() -> None:
    found, state = detect(frame(0), Listed(MIXED, pixel_um=None), Limits(), GateState(), clock())
    assert found.segmentation is not None
    again, _ = detect(frame(1), Listed(MIXED, pixel_um=None), Limits(), state, clock())
    assert again.segmentation is not None


def reports_of(detected: Sequence[Detected], classifiers: Mapping[Kind, Classifier]) -> list[FrameReport]:
    """Of frames that are the first of their run."""
    return classify(detected, classifiers, SlideState(), clock())[0]


def test_batches_do_not_matter_to_a_foreign_slide(classifier: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = msgspec.structs.replace(classifier.manifest.confidence, unsure_below=0.0, foreign_below=1.0)
    stern = msgspec.structs.replace(classifier.manifest, confidence=limits)
    monkeypatch.setattr(classifier, "manifest", stern)
    detected, by_kind = seen(80, Listed(MIXED)), {"nucleated": classifier}
    together, _ = classify(detected, by_kind, SlideState(), clock())
    alone: list[FrameReport] = []
    slide = SlideState()
    for each in detected:
        [report], slide = classify([each], by_kind, slide, clock())
        alone.append(report)
    assert [report.domain for report in together] == [report.domain for report in alone]
    assert labels(together) == labels(alone)
    states = [report.domain.state for report in together]
    first = states.index("foreign")
    assert first >= 14, "two nucleated cells a frame, and 30 of them make a measure"
    assert states == ["known"] * first + ["foreign"] * (len(states) - first)
    decided = [[each.decided for each in report.classifications] for report in together]
    assert decided[first - 1] == [True, True, True]
    assert decided[first] == [True, False, False], "a red cell has no bundle that it could be foreign to"


def test_a_slides_stain_is_evened_out_frame_by_frame_whatever_the_batches(
    classifier: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On fields with red cells around the white ones; far from the bundle's own red cells, so that it shows."""
    spec = msgspec.structs.replace(classifier.manifest.preprocess, red_density=(0.6, 0.9, 0.6))
    monkeypatch.setattr(classifier, "manifest", msgspec.structs.replace(classifier.manifest, preprocess=spec))
    fields = Options(seed=5, width=1280, height=720, frames=8)
    detected: list[Detected] = []
    with PhantomSource(fields) as source, StainSegmenter() as segmenter:
        while (field := source.read(1.0)) is not None:
            detected.append(detect(field, segmenter, Limits(), GateState(), clock())[0])
    by_kind = {"nucleated": classifier}
    together, at_once = classify(detected, by_kind, SlideState(), clock())
    slide = SlideState()
    alone: list[FrameReport] = []
    for each in detected:
        [report], slide = classify([each], by_kind, slide, clock())
        alone.append(report)
    assert slide.stain == at_once.stain
    gain = slide.stain.gain(spec)
    assert gain is not None
    assert (gain > 1.1).all()
    answers = [
        [[(each.label, each.confidence) for each in report.classifications] for report in way] for way in (together, alone)
    ]
    assert answers[0] == answers[1]


def test_every_cell_that_counts_has_one_label_in_order(classifier: Counted) -> None:
    [report] = reports_of(seen(1, Listed(MIXED)), {"nucleated": classifier})
    assert [each.cell_index for each in report.cells] == [10, 11, 12, 13, 14]
    assert [each.cell_index for each in report.classifications] == [10, 11, 14]
    red, *white = report.classifications
    assert (red.label, red.confidence, red.decided) == ("red_blood_cell", None, True)
    assert {each.label for each in white} <= set(CLASSES)
    assert all(each.probabilities is not None for each in white)


def test_cells_of_several_frames_share_one_batch(classifier: Counted) -> None:
    classifier.sizes.clear()
    reports = reports_of(seen(4, Listed(MIXED)), {"nucleated": classifier})
    assert classifier.sizes == [8]
    assert [report.frame_index for report in reports] == [0, 1, 2, 3]


def test_one_classifier_for_two_kinds_is_called_once(classifier: Counted) -> None:
    classifier.sizes.clear()
    reports_of(seen(2, Listed(MIXED)), {"nucleated": classifier, "red_blood_cell": classifier})
    assert classifier.sizes == [6]


def test_labels_do_not_depend_on_how_frames_are_batched(classifier: Counted) -> None:
    detected = seen(6, Listed(MIXED))
    by_kind = {"nucleated": classifier}
    together = labels(reports_of(detected, by_kind))
    alone = labels([report for each in detected for report in reports_of([each], by_kind)])
    pairs = labels([report for at in (0, 2, 4) for report in reports_of(detected[at : at + 2], by_kind)])
    assert together == alone == pairs
    assert len({label for row in together for _, label, _ in row}) > 2


def test_a_report_carries_the_frame(classifier: Counted) -> None:
    [report] = reports_of(seen(1, Listed(MIXED)), {"nucleated": classifier})
    assert (report.frame_index, report.captured_ns, report.label) == (0, 1000, "0.png")
    assert (report.pixel_um, report.pixel_um_source) == (0.5, "settings")


def test_a_refused_frame_is_reported_with_its_reason_and_no_cells(classifier: Counted) -> None:
    refused = looked(frame(1, empty=True), Listed(MIXED))
    accepted = looked(frame(0), Listed(MIXED))
    reports = reports_of([accepted, refused, accepted], {"nucleated": classifier})
    assert [report.verdict.reason for report in reports] == ["", EMPTY, ""]
    assert (reports[1].cells, reports[1].classifications) == ((), ())
    assert reports[1].pixel_um_source == "unknown"
    assert "classify" not in reports[1].stage_us
    assert reports[0].stage_us == {"gate": 5.0, "segment": 5.0, "classify": 2.5}


def test_without_a_scale_nucleated_cells_stay_undecided(classifier: Counted) -> None:
    classifier.sizes.clear()
    [report] = reports_of(seen(1, Listed(MIXED, pixel_um=None)), {"nucleated": classifier})
    assert [(each.label, each.decided) for each in report.classifications] == [
        ("red_blood_cell", True),
        ("nucleated", False),
        ("nucleated", False),
    ]
    assert classifier.sizes == [0]


def test_no_frames_make_no_reports(classifier: Counted) -> None:
    assert reports_of([], {"nucleated": classifier}) == []
