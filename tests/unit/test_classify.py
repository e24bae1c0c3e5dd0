"""From cells to labels: the right window, the right temperature, and no label where none can be given."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_bundle import CLASSES, SIZE, make_tiny_bundle, tiny_crops, tiny_manifest
from typing_extensions import Self

from edgecell.bundle import Bundle, Confidence
from edgecell.classify import Classifier, Sighting, as_kind
from edgecell.engines.onnxrt import OnnxRuntimeEngine
from edgecell.errors import InferenceError
from edgecell.messages import Cell
from edgecell.preprocess import to_batch
from edgecell.protocols import Pending, Probe


class Scripted:
    """A stand-in engine that gives the logits it was told, and remembers the sizes of its batches."""

    description = "stand-in"

    def __init__(self, logits: list[list[float]]) -> None:
        self._logits = np.asarray(logits, dtype=np.float32)
        self.sizes: list[int] = []
        self.batches: list[NDArray[np.float32]] = []

    def infer(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        at = sum(self.sizes)
        self.sizes.append(len(batch))
        self.batches.append(batch)
        return {"logits": self._logits[at : at + len(batch)]}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    @classmethod
    def probe(cls) -> Probe:
        return Probe(usable=True, version="0")


def bundle(*, temperature: float = 1.0, unsure_below: float = 0.6) -> Bundle:
    confidence = Confidence(temperature=temperature, unsure_below=unsure_below)
    return Bundle(path=Path(), manifest=msgspec.structs.replace(tiny_manifest(), confidence=confidence), sha256="0" * 64)


def cell(index: int = 0, *, x: float = 100, y: float = 100, scores: NDArray[np.float32] | None = None) -> Cell:
    return Cell(
        frame_index=0,
        cell_index=index,
        kind="nucleated",
        box_px=(int(x) - 5, int(y) - 5, int(x) + 5, int(y) + 5),
        centre_px=(x, y),
        scores=scores,
    )


def sighting(index: int = 0, *, pixel_um: float | None = 0.5, x: float = 100) -> Sighting:
    return Sighting(cell=cell(index, x=x), image=np.full((200, 200, 3), 200, dtype=np.uint8), pixel_um=pixel_um)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("classify"))


@pytest.fixture
def real(tiny: Bundle) -> Iterator[Classifier]:
    with OnnxRuntimeEngine(tiny.file("u8s8.onnx"), manifest=tiny.manifest) as engine:
        yield Classifier(engine, tiny)


def test_temperature_softens_the_probabilities() -> None:
    [cold] = Classifier(Scripted([[2, 0, 0]]), bundle()).probabilities(tiny_crops(1))
    [warm] = Classifier(Scripted([[2, 0, 0]]), bundle(temperature=2)).probabilities(tiny_crops(1))
    assert cold == pytest.approx(np.exp([2, 0, 0]) / np.exp([2, 0, 0]).sum())
    assert warm == pytest.approx(np.exp([1, 0, 0]) / np.exp([1, 0, 0]).sum())


def test_huge_logits_do_not_overflow() -> None:
    [row] = Classifier(Scripted([[3e4, 0, -3e4]]), bundle()).probabilities(tiny_crops(1))
    assert row.tolist() == [1, 0, 0]


@pytest.mark.parametrize(("threshold", "decided"), [(0.5, True), (0.7, False)])
def test_below_the_threshold_a_cell_is_undecided_and_keeps_its_best_label(threshold: float, decided: bool) -> None:
    logits = np.log([0.1, 0.6, 0.3]).tolist()
    [found] = Classifier(Scripted([logits]), bundle(unsure_below=threshold)).classify([sighting()])
    assert (found.label, found.decided) == ("lymphocyte", decided)
    assert found.confidence == pytest.approx(0.6)


def test_exactly_on_the_threshold_is_decided() -> None:
    [found] = Classifier(Scripted([[50, 0, 0]]), bundle(unsure_below=1.0)).classify([sighting()])
    assert found.decided


def test_a_reject_class_that_wins_is_a_label_as_any_other() -> None:
    [found] = Classifier(Scripted([[0, 0, 9]]), bundle()).classify([sighting()])
    assert (found.label, found.decided) == ("artefact", True)


def test_without_a_scale_nothing_is_cut_and_nothing_guessed() -> None:
    engine = Scripted([[9, 0, 0]])
    found = Classifier(engine, bundle()).classify([sighting(0, pixel_um=None), sighting(1), sighting(2, pixel_um=None)])
    assert [each.cell_index for each in found] == [0, 1, 2]
    assert [each.decided for each in found] == [False, True, False]
    assert (found[0].label, found[0].confidence, found[0].probabilities) == ("nucleated", None, None)
    assert engine.sizes == [1]


def test_batches_are_as_large_as_the_manifest_allows() -> None:
    engine = Scripted([[at / 5, 0, 0] for at in range(20)])
    found = Classifier(engine, bundle()).classify([sighting(at) for at in range(20)])
    assert engine.sizes == [8, 8, 4]
    assert [each.cell_index for each in found] == list(range(20))
    assert np.all(np.diff([each.probabilities[0] for each in found if each.probabilities is not None]) > 0)


def test_no_cells_need_no_engine() -> None:
    engine = Scripted([])
    assert Classifier(engine, bundle()).classify([]) == []
    assert Classifier(engine, bundle()).probabilities([]).shape == (0, 3)
    assert engine.sizes == []


def test_the_window_is_cut_in_micrometres_around_the_centre() -> None:
    """16 um at 0.25 um per pixel is a window of 64 px around the cell: black inside it, white outside."""
    image = np.full((200, 300, 3), 255, dtype=np.uint8)
    image[68:132, 118:182] = 0
    seen = Sighting(cell=cell(x=150), image=image, pixel_um=0.25)
    engine = Scripted([[9, 0, 0]])
    Classifier(engine, bundle()).classify([seen])
    black = to_batch([np.zeros((SIZE, SIZE, 3), dtype=np.uint8)], tiny_manifest().preprocess)
    np.testing.assert_array_equal(engine.batches[0], black)


@pytest.mark.parametrize("logits", [[[np.nan, 0, 0]], [[np.inf, 0, 0]], [[0, 0]], []])
def test_what_is_no_answer_is_an_error_never_a_label(logits: list[list[float]]) -> None:
    with pytest.raises(InferenceError, match="stand-in"):
        Classifier(Scripted(logits), bundle()).classify([sighting()])


def test_a_kind_without_classifier_is_its_own_label() -> None:
    found = as_kind(cell(4))
    assert (found.cell_index, found.label, found.confidence, found.decided) == (4, "nucleated", None, True)
    scored = as_kind(cell(scores=np.asarray([0.25, 0.75], dtype=np.float32)))
    assert scored.confidence == 0.75


def test_a_real_engine_tells_cells_apart(real: Classifier) -> None:
    rows = real.probabilities(tiny_crops(20))
    assert rows.sum(axis=1) == pytest.approx(np.ones(20), rel=1e-5)
    labels = {real.answer(0, row).label for row in rows}
    assert labels == set(CLASSES)


def test_labels_do_not_depend_on_the_batch(real: Classifier) -> None:
    crops = list(tiny_crops(11))
    together = real.probabilities(crops)
    alone = np.concatenate([real.probabilities([crop]) for crop in crops])
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_batches_are_made_ready_while_others_are_computed() -> None:
    """On an engine that overlaps: all are begun before the first answer is waited for, and answers keep their order."""

    class Overlapping(Scripted):
        def __init__(self, logits: list[list[float]]) -> None:
            super().__init__(logits)
            self.told: list[str] = []

        def submit(self, batch: NDArray[np.float32]) -> Pending:
            self.told.append(f"begin {len(batch)}")
            outputs, told = self.infer(batch), self.told

            class Answer:
                def result(self) -> Mapping[str, NDArray[np.float32]]:
                    told.append(f"end {len(batch)}")
                    return outputs

            return Answer()

    of = bundle()
    largest = of.manifest.input.batch.max
    logits = [[5.0, float(at), 0.0] for at in range(largest + 3)]
    engine, plain = Overlapping(logits), Scripted(logits)
    crops = tiny_crops(largest + 3)
    found = Classifier(engine, of).probabilities(crops)
    assert engine.told == [f"begin {largest}", "begin 3", f"end {largest}", "end 3"]
    np.testing.assert_array_equal(found, Classifier(plain, of).probabilities(crops))
