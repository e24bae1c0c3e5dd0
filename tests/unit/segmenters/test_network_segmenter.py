"""The part `network` with the bundle that ships: kinds, scores, boxes, scale, edges, and an engine that fails."""

from collections.abc import Iterator, Mapping

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell import app
from edgecell.bundle import Bundle, open_bundle
from edgecell.classify import as_kind
from edgecell.engines.onnxrt import OnnxRuntimeEngine
from edgecell.errors import InferenceError, SettingsError
from edgecell.messages import NUCLEATED, PLATELET, RED_BLOOD_CELL, Frame
from edgecell.protocols import Engine
from edgecell.segmenters.network import NetworkOptions, NetworkSegmenter
from edgecell.settings import PartSettings, Settings
from edgecell.sources.phantom import PhantomSource

PIXEL_UM = 0.1


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle("cells3")


@pytest.fixture(scope="module")
def engine(bundle: Bundle) -> Iterator[Engine]:
    with OnnxRuntimeEngine(bundle.file("u8s8.onnx"), manifest=bundle.manifest) as opened:
        yield opened


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    with PhantomSource(PhantomSource.Options(seed=3, width=1280, height=720, frames=1)) as source:
        drawn = source.read(1.0)
        assert drawn is not None
        return drawn.image


def frame(image: NDArray[np.uint8], pixel_um: float | None = None) -> Frame:
    return Frame(source_id="drawn", index=0, captured_ns=0, image=image, pixel_um=pixel_um)


def test_measures_the_scale_on_the_red_cells_that_it_finds(engine: Engine, bundle: Bundle, image: NDArray[np.uint8]) -> None:
    found = NetworkSegmenter(engine, bundle).segment(frame(image))
    assert found.pixel_um_source == "estimated"
    assert found.pixel_um == pytest.approx(PIXEL_UM, rel=0.12)


def test_a_told_scale_is_kept(engine: Engine, bundle: Bundle, image: NDArray[np.uint8]) -> None:
    assert NetworkSegmenter(engine, bundle).segment(frame(image, PIXEL_UM)).pixel_um_source == "optics"
    found = NetworkSegmenter(engine, bundle, NetworkOptions(pixel_um=0.11)).segment(frame(image, PIXEL_UM))
    assert (found.pixel_um, found.pixel_um_source) == (0.11, "settings")


def test_non_square_pixels_are_borne(engine: Engine, bundle: Bundle, image: NDArray[np.uint8]) -> None:
    squashed = np.ascontiguousarray(np.repeat(image, 5, axis=1)[:, ::4])
    plain, wide = (NetworkSegmenter(engine, bundle).segment(frame(each)) for each in (image, squashed))
    counts = [sum(cell.kind == RED_BLOOD_CELL for cell in found.cells) for found in (plain, wide)]
    assert counts[1] == pytest.approx(counts[0], rel=0.1)


def test_cells_carry_scores_masks_and_areas(engine: Engine, bundle: Bundle, image: NDArray[np.uint8]) -> None:
    cells = NetworkSegmenter(engine, bundle).segment(frame(image, PIXEL_UM)).cells
    assert {cell.kind for cell in cells} == {NUCLEATED, RED_BLOOD_CELL, PLATELET}
    for cell in cells:
        assert cell.scores is not None
        assert cell.scores.shape == (3,)
        assert bundle.class_names[int(cell.scores.argmax())] == cell.kind
    red = [cell for cell in cells if cell.kind == RED_BLOOD_CELL and cell.excluded is None]
    areas = [cell.area_um2 for cell in red if cell.area_um2 is not None]
    assert len(areas) == len(red) > 30
    assert np.median(areas) == pytest.approx(np.pi * 3.6**2, rel=0.2)


def test_what_is_near_the_border_is_found_but_does_not_count(engine: Engine, bundle: Bundle, image: NDArray[np.uint8]) -> None:
    cells = NetworkSegmenter(engine, bundle).segment(frame(image, PIXEL_UM)).cells
    for cell in cells:
        if cell.kind == RED_BLOOD_CELL:
            x, y = cell.centre_px
            inside = 45 <= x <= image.shape[1] - 45 and 45 <= y <= image.shape[0] - 45
            assert (cell.excluded is None) == inside


class Failing:
    """A stand-in engine whose maps are wrong."""

    description = "stand-in"

    def __init__(self, kinds: int, value: float) -> None:
        self._kinds, self._value = kinds, value

    def infer(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        grid = len(batch), batch.shape[2] // 4, batch.shape[3] // 4
        depths = {"kinds": self._kinds, "box": 4, "inside": 1}
        return {name: np.full((grid[0], depth, *grid[1:]), self._value, np.float32) for name, depth in depths.items()}


@pytest.mark.parametrize(("kinds", "value"), [(2, 0.0), (3, float("nan"))])
def test_maps_of_another_shape_or_no_numbers_are_an_error(bundle: Bundle, kinds: int, value: float) -> None:
    segmenter = NetworkSegmenter(Failing(kinds, value), bundle)  # type: ignore[arg-type]
    with pytest.raises(InferenceError, match="stand-in gave no map kinds"):
        segmenter.segment(frame(np.full((64, 64, 3), 230, np.uint8), PIXEL_UM))


def test_a_kind_without_a_classifier_is_decided_from_the_threshold_on(
    engine: Engine, bundle: Bundle, image: NDArray[np.uint8]
) -> None:
    strict = msgspec.structs.replace(bundle.manifest.confidence, unsure_below=0.9)
    wary = type(bundle)(
        path=bundle.path, manifest=msgspec.structs.replace(bundle.manifest, confidence=strict), sha256=bundle.sha256
    )
    found = NetworkSegmenter(engine, wary).segment(frame(image, PIXEL_UM))
    answers = [as_kind(cell, found.unsure_below) for cell in found.cells]
    assert {answer.decided for answer in answers} == {True, False}
    for cell, answer in zip(found.cells, answers, strict=True):
        assert answer.label == cell.kind
        assert answer.confidence is not None
        assert answer.decided == (answer.confidence >= 0.9)


def test_settings_name_the_model_and_messages_list_it() -> None:
    chosen = Settings(segmenter=PartSettings(part="network", options={"model": "cells3"}), models={})
    with app.plan(chosen).recogniser() as recogniser:
        (model,) = recogniser.models
        assert (model.role, model.name) == ("segmenter", "cells3")
        assert set(recogniser.classes) == {NUCLEATED, RED_BLOOD_CELL, PLATELET}


def test_a_classifier_is_no_segmenter_and_a_segmenter_no_classifier() -> None:
    with pytest.raises(SettingsError, match="is no segmenter's"):
        app.plan(Settings(segmenter=PartSettings(part="network", options={"model": "pbc8"})))
    with pytest.raises(SettingsError, match="classifies nothing"):
        app.plan(Settings(models={NUCLEATED: "cells3"}))
