"""A motor stage that tells where it stands, in place of pictures that are laid beside each other."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.every_cell_once import KINDS, Exact
from edgecell import clock, place
from edgecell.area import AreaState
from edgecell.edge import LARGEST_RADIUS_UM
from edgecell.gate import GateState, Limits
from edgecell.messages import Cell, Detected, Frame, PixelUmSource, Segmentation
from edgecell.pipeline import detect
from edgecell.place import located
from edgecell.register import small
from edgecell.resume import RunState, from_state, to_state
from edgecell.sources.phantom import PhantomSource
from edgecell.sources.phantom.options import Options
from edgecell.sources.phantom.truth import truth_of

STAGE = Options(seed=21, width=640, height=480, stage="searched", overlap=0.02, frames=26, encoder=True)


class Told(Exact):
    """Finds what was drawn. source: where it says that its scale is from."""

    def __init__(self, options: Options, source: PixelUmSource = "settings") -> None:
        super().__init__(options)
        self._source = source

    def segment(self, frame: Frame) -> Segmentation:
        return replace(super().segment(frame), pixel_um_source=self._source)


def frames(options: Options) -> list[Frame]:
    with PhantomSource(options) as source:
        return list(iter(lambda: source.read(1.0), None))


@pytest.fixture(scope="module")
def seen() -> list[Frame]:
    return frames(STAGE)


def looked(
    seen: list[Frame], source: PixelUmSource = "settings", state: GateState | None = None
) -> tuple[list[Detected], GateState]:
    state = state or GateState(area=AreaState())
    found = []
    with Told(STAGE, source) as segmenter:
        for frame in seen:
            each, state = detect(frame, segmenter, Limits(), state, clock.monotonic_ns)
            found.append(each)
    return found, state


def cells(found: list[Detected]) -> list[Cell]:
    return [cell for each in found if each.segmentation for cell in each.segmentation.cells]


def test_with_a_stage_frames_that_share_nothing_are_placed_and_each_cell_counts_once(seen: list[Frame]) -> None:
    found, state = looked(seen)
    assert not any(each.lost for each in found)
    assert "nothing new" in [each.verdict.reason for each in found]  # halts, and the way back
    assert state.area is not None
    assert (state.area.regions, len(state.area.keys)) == (1, 1)
    for kind in KINDS:
        inset = LARGEST_RADIUS_UM[kind] / STAGE.pixel_um
        unique = {
            true.cell_id
            for frame in seen
            for true in truth_of(STAGE, frame.index)
            if true.kind == kind
            and inset <= true.centre_px[0] <= STAGE.width - inset
            and inset <= true.centre_px[1] <= STAGE.height - inset
        }
        counted = sum(cell.excluded is None for cell in cells(found) if cell.kind == kind)
        assert counted == pytest.approx(len(unique), abs=max(1, 0.02 * len(unique)))


def test_with_a_stage_no_picture_is_compared(seen: list[Frame], monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[object] = []

    def remembered(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        compared.append(image)
        return small(image)

    monkeypatch.setattr(place, "small", remembered)
    looked(seen[:6])
    assert len(compared) == 1  # the first frame's, before the scale is known


def test_cells_lie_where_the_stage_says(seen: list[Frame]) -> None:
    found, _ = looked(seen[:3])
    for each in found:
        assert each.segmentation is not None
        assert each.frame.slide_um is not None
        for cell in each.segmentation.cells:
            corner = (cell.slide_um[axis] - cell.centre_px[axis] * STAGE.pixel_um for axis in (0, 1)) if cell.slide_um else ()
            assert tuple(corner) == pytest.approx(each.frame.slide_um)


def test_a_scale_that_was_measured_on_cells_turns_no_micrometres_into_pixels(seen: list[Frame]) -> None:
    """It may be some percent wrong, and so would be the share that two frames have in common."""
    found, state = looked(seen[:4], "estimated")
    assert state.area is not None
    assert state.area.regions > 1
    assert [each.lost for each in found] == [False, True, True, True]


def test_the_scale_of_the_optics_serves_as_that_of_the_settings(seen: list[Frame]) -> None:
    with_optics = [replace(frame, pixel_um=STAGE.pixel_um) for frame in seen[:4]]
    found, _ = looked(with_optics, "optics")
    assert [each.place and each.place.region for each in found] == [0] * 4


def test_where_regions_join_the_stage_s_place_moves_with_them() -> None:
    """A stage that is silent at first and in between: what it tells afterwards is of the region that is left."""
    options = Options(seed=21, width=640, height=480, stage="overlapping", overlap=0.4, frames=3)
    one, between, other = frames(options)
    state = AreaState()
    first, state = located(one, state, sharp=True)
    away, state = located(replace(other, slide_um=(0.0, 0.0)), state, sharp=True)
    assert (first and first.region, away and away.region) == (0, 1)
    _, state = located(between, state, sharp=True)
    assert state.joined is not None
    again, _ = located(replace(other, slide_um=(0.0, 0.0), pixel_um=options.pixel_um), state, sharp=True)
    assert again is not None
    assert again.region == 0
    assert again.x == pytest.approx(2 * 0.6 * options.width, abs=2)


def test_a_run_with_a_stage_goes_on_in_another_process(seen: list[Frame]) -> None:
    whole, _ = looked(seen)
    first, state = looked(seen[:8])
    kept = from_state(to_state(RunState(gate=state))).gate
    assert kept == state
    rest, _ = looked(seen[8:], state=kept)
    assert [cell.excluded for cell in cells([*first, *rest])] == [cell.excluded for cell in cells(whole)]
