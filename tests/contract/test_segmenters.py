"""What every segmenter of the TABLE must do."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell.bundle import open_bundle
from edgecell.engines.onnxrt import OnnxRuntimeEngine
from edgecell.messages import Frame, Segmentation
from edgecell.plugins import load
from edgecell.protocols import Probe, Remembering, Segmenter
from edgecell.segmenters import TABLE
from edgecell.sources.phantom import PhantomSource
from edgecell.sources.phantom.options import Options


@pytest.fixture(params=sorted(TABLE))
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[], Segmenter]]:
    """Every segmenter as it is made with default options; one that wants a model gets its default one on an opened engine."""
    part = load("segmenter", TABLE, request.param)
    model = getattr(part.Options(), "model", None)
    if model is None:
        yield part
    else:
        bundle = open_bundle(model)
        with OnnxRuntimeEngine(bundle.file("u8s8.onnx"), manifest=bundle.manifest) as engine:
            yield lambda: part(engine, bundle)


@pytest.fixture
def segmenter(make: Callable[[], Segmenter]) -> Segmenter:
    return make()


def frame(image: NDArray[np.uint8], index: int = 0) -> Frame:
    image.flags.writeable = False
    return Frame(source_id="contract", index=index, captured_ns=0, image=image)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def told(found: Segmentation) -> tuple[object, ...]:
    return found.pixel_um, found.pixel_um_source, [(cell.kind, cell.box_px, cell.excluded) for cell in found.cells]


def test_probe_says_what_is_missing(segmenter: Segmenter) -> None:
    probe = type(segmenter).probe()
    assert isinstance(probe, Probe)
    assert probe.usable or probe.missing


def test_kinds_are_named_once(segmenter: Segmenter) -> None:
    assert segmenter.kinds
    assert len(set(segmenter.kinds)) == len(segmenter.kinds)


def test_options_have_defaults_and_refuse_unknown_keys(segmenter: Segmenter) -> None:
    options = type(segmenter).Options  # type: ignore[attr-defined]
    options()
    with pytest.raises(TypeError):
        options(nonsense=1)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 400), (3, 5), (240, 320)])
def test_cells_are_numbered_and_lie_in_the_frame(segmenter: Segmenter, height: int, width: int) -> None:
    with segmenter:
        found = segmenter.segment(frame(noise(height, width), index=7))
    for number, cell in enumerate(found.cells):
        x0, y0, x1, y1 = cell.box_px
        assert (cell.frame_index, cell.cell_index) == (7, number)
        assert cell.kind in segmenter.kinds
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert cell.mask.shape == (y1 - y0, x1 - x0)
        assert x0 <= cell.centre_px[0] <= x1
        assert y0 <= cell.centre_px[1] <= y1


def test_the_frame_is_left_alone(segmenter: Segmenter) -> None:
    image = noise(120, 160)
    before = image.copy()
    with segmenter:
        segmenter.segment(frame(image))
    assert np.array_equal(image, before)


def test_an_unknown_scale_has_no_figure(segmenter: Segmenter) -> None:
    with segmenter:
        found = segmenter.segment(frame(np.full((64, 64, 3), 230, np.uint8)))
    assert (found.pixel_um is None) == (found.pixel_um_source == "unknown")
    if found.pixel_um is None:
        assert all(cell.area_um2 is None for cell in found.cells)


def test_one_that_remembers_goes_on_from_its_memory_as_if_it_were_one(make: Callable[[], Segmenter]) -> None:
    segmenter, other = make(), make()
    if not isinstance(segmenter, Remembering):
        pytest.skip("its answers depend on the frame alone")
    with PhantomSource(Options(width=320, height=240, frames=8, seed=3)) as view:
        pictures = [each for each in (view.read(1.0) for _ in range(8)) if each is not None]
    memories = [segmenter.memory]
    for each in pictures[:4]:
        segmenter.segment(each)
        memories.append(segmenter.memory)
    assert len(memories[-1]) > len(memories[0])
    assert all(set(earlier) <= set(later) for earlier, later in pairwise(memories))
    kept = memories[-1]
    going_on = [segmenter.segment(each) for each in pictures[4:]]
    assert isinstance(other, Remembering)
    other.remember(kept)
    again = [other.segment(each) for each in pictures[4:]]
    assert [told(found) for found in again] == [told(found) for found in going_on]
    assert other.memory == segmenter.memory
    with pytest.raises(ValueError, match="buffer"):
        other.remember([(0, b"odd")])
