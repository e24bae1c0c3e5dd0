"""Every cell once: places, regions, what is new, and what is counted, on the drawn slide."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.every_cell_once import KINDS, Exact, Way, counts, one_run
from edgecell import area, clock
from edgecell.area import AreaState, counted, light, new_share, once
from edgecell.gate import BLURRED, GateState, Limits
from edgecell.messages import RED_BLOOD_CELL, Cell, Detected, Frame, Place
from edgecell.motion import LIMIT, MOVING, is_moving, unlike
from edgecell.pipeline import detect
from edgecell.place import located
from edgecell.resume import RunState, from_state, to_state
from edgecell.sources.phantom import PhantomSource
from edgecell.sources.phantom.options import Options
from edgecell.sources.phantom.truth import truth_of

SEARCHED = Options(seed=21, stage="searched", overlap=0.6, frames=30)
STEPPED = Options(seed=21, stage="overlapping", overlap=0.6, frames=30)
PIXEL_UM = STEPPED.pixel_um


def images(options: Options, indices: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    yield from (image_of(options, index) for index in indices)


@lru_cache(maxsize=64)
def image_of(options: Options, index: int) -> NDArray[np.uint8]:
    source = PhantomSource(options)
    source.start_at(index)
    with source:
        frame = source.read(1.0)
    assert frame is not None
    return frame.image


def walked(options: Options, indices: Sequence[int], state: AreaState | None = None) -> tuple[list[Place], AreaState]:
    """Where each frame lies; all are counted."""
    state, places = state or AreaState(), []
    for image in images(options, indices):
        place, state = located(frame_of(image), state, sharp=True)
        assert place is not None
        places.append(place)
        state = counted((), place, state, PIXEL_UM)
    return places, state


def frame_of(image: NDArray[np.uint8]) -> Frame:
    return Frame(source_id="t", index=0, captured_ns=0, image=image)


def detected(options: Options, state: GateState, skip: int = 0) -> tuple[list[Detected], GateState]:
    found = []
    source = PhantomSource(options)
    source.start_at(skip)
    with source, Exact(options) as segmenter:
        while (frame := source.read(1.0)) is not None:
            each, state = detect(frame, segmenter, Limits(), state, clock.monotonic_ns)
            found.append(each)
    return found, state


def fates(found: Sequence[Detected]) -> list[tuple[str, tuple[str | None, ...]]]:
    cells = [each.segmentation.cells if each.segmentation else () for each in found]
    return [(each.verdict.reason, tuple(cell.excluded for cell in some)) for each, some in zip(found, cells, strict=True)]


# Counting


@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.5, 0.95])
def test_every_cell_counts_once_whatever_the_way(overlap: float) -> None:
    """A slide that is searched: rows, tremor, halts, and returns."""
    options = Options(seed=23, stage="searched", overlap=overlap, frames=24)
    found = one_run(options, Exact(options), "new_area")
    for kind in KINDS:
        assert abs(found.counted[kind] - found.unique[kind]) <= max(1, 0.02 * found.unique[kind])
    assert (found.lost > 10) == (overlap == 0.0)


@pytest.mark.parametrize("way", ["every_frame"])
def test_without_it_cells_count_in_every_frame(way: Way) -> None:
    found = one_run(SEARCHED, Exact(SEARCHED), way)
    assert found.counted[RED_BLOOD_CELL] > 3 * found.unique[RED_BLOOD_CELL]


def test_cells_seen_before_are_duplicates_and_never_lost() -> None:
    found, state = detected(SEARCHED, GateState(area=AreaState()))
    every, _ = detected(SEARCHED, GateState())
    assert state.area is not None
    assert [each.lost for each in found] == [False] * 30
    cells = [cell for each in found if each.segmentation for cell in each.segmentation.cells]
    assert {cell.excluded for cell in cells} == {None, "edge", "duplicate"}
    for mine, theirs in zip(found, every, strict=True):
        if mine.segmentation and theirs.segmentation:
            edges = [cell.excluded == "edge" for cell in mine.segmentation.cells]
            assert edges == [cell.excluded == "edge" for cell in theirs.segmentation.cells]
            assert mine.place is not None
            for cell in mine.segmentation.cells:
                x, y = cell.centre_px
                assert cell.slide_um == pytest.approx(((x + mine.place.x) * 0.1, (y + mine.place.y) * 0.1))


def test_a_halt_is_not_segmented_again() -> None:
    options = Options(seed=21, stage="fields", frames=1)
    state, reasons = GateState(area=AreaState()), []
    with PhantomSource(options) as source, Exact(options) as segmenter:
        frame = source.read(1.0)
        assert frame is not None
        for index in range(3):
            each, state = detect(replace(frame, index=index), segmenter, Limits(), state, clock.monotonic_ns)
            reasons.append(each.verdict.reason)
            frame = replace(frame, index=0)
    assert reasons == ["", area.NOTHING_NEW, area.NOTHING_NEW]


INSET = 45  # px, 4.5 um: a red cell's


def test_a_cell_at_one_frames_border_counts_in_the_next() -> None:
    """Each kind keeps its own distance from the border, and so do duplicates."""
    state = counted((), Place(0, 0, 0), AreaState(size=(720, 1280)), PIXEL_UM)
    seen = [cell(x - 640) for x in (1280 - INSET - 16, 1280 - INSET + 16, 1280 + 50)]
    marked = list(once(seen, Place(0, 640, 0), state, PIXEL_UM))
    assert [each.excluded for each in marked] == ["duplicate", None, None]
    elsewhere = list(once(seen, Place(1, 640, 0), state, PIXEL_UM))
    assert [each.excluded for each in elsewhere] == [None] * 3


@pytest.mark.parametrize(("first", "then"), [(-9, 9), (9, -9), (14, 14)])
@pytest.mark.parametrize("counts", [True, False])
def test_near_a_border_it_is_who_was_counted_that_counts(first: int, then: int, counts: bool) -> None:
    """A cell is not found in quite the same place twice. first, then: px that it seems to lie inside the border."""
    state = AreaState(size=(720, 1280))
    was = replace(cell(1280 - INSET - first), excluded=None if counts else "edge")
    state = counted([was], Place(0, 0, 0), state, PIXEL_UM)
    [again] = once([cell(640 - INSET - then)], Place(0, 640, 0), state, PIXEL_UM)
    assert again.excluded == ("duplicate" if counts else None)


def test_near_a_border_cells_of_another_kind_or_place_are_not_taken_for_it() -> None:
    state = counted([cell(1280 - INSET - 2)], Place(0, 0, 0), AreaState(size=(720, 1280)), PIXEL_UM)
    same = cell(640 - INSET - 2)
    beside = replace(same, centre_px=(same.centre_px[0], same.centre_px[1] + 25))
    assert [each.excluded for each in once([same, beside], Place(0, 640, 0), state, PIXEL_UM)] == ["duplicate", None]
    state = replace(state, spots=(tuple(spot._replace(kind="platelet") for spot in state.spots[0]),))
    assert [each.excluded for each in once([same], Place(0, 640, 0), state, PIXEL_UM)] == [None]


@pytest.mark.parametrize("inside", [-1, 1])
def test_where_the_cells_of_a_frame_are_forgotten_its_border_decides(inside: int) -> None:
    state = replace(counted([], Place(0, 0, 0), AreaState(size=(720, 1280)), PIXEL_UM), spots=())
    [again] = once([cell(640 - INSET - inside)], Place(0, 640, 0), state, PIXEL_UM)
    assert again.excluded == ("duplicate" if inside > 0 else None)


@pytest.mark.parametrize("pixel_um", [None, PIXEL_UM])
def test_a_cell_of_unknown_size_counted_where_its_box_kept_off_the_border(pixel_um: float | None) -> None:
    state = counted((), Place(0, 0, 0), AreaState(size=(720, 1280)), pixel_um)
    kind = RED_BLOOD_CELL if pixel_um is None else "basophil"
    seen = [replace(cell(x - 640), kind=kind) for x in (1280 - 36, 1280 - 4)]
    assert [each.excluded for each in once(seen, Place(0, 640, 0), state, pixel_um)] == ["duplicate", None]


def cell(x: float) -> Cell:
    """A red cell of 40 x 40 px."""
    box = int(x) - 20, 340, int(x) + 20, 380
    return Cell(frame_index=1, cell_index=0, kind=RED_BLOOD_CELL, box_px=box, centre_px=(x, 360))


WALKS = {
    "a jump away and back": ((0, 1, 2, 20, 21, 22, 2, 1, 0, 1), 1),
    "a jump away, and back by another way": ((0, 1, 2, 12, 11, 9, 8, 6, 4, 3, 2, 1), 1),
    "two jumps, and the gap between them closed": ((0, 1, 8, 9, 5, 4, 3, 2), 2),
    "to and fro": ((0, 2, 4, 3, 1, 0, 2, 4, 6, 5), 0),
}
"""Frames, and how often the place is lost among them."""


@pytest.mark.parametrize(("walk", "times"), WALKS.values(), ids=WALKS)
def test_lost_places_and_returns_to_old_ones_count_each_cell_once(walk: Sequence[int], times: int) -> None:
    """Frames share 0.6 with the next, 0.2 with the one after: where a step is longer, the place is lost and a region begins."""
    state, shown, unique = GateState(area=AreaState()), Counter[str](), set()
    lost = 0
    with Exact(STEPPED) as segmenter:
        for index in walk:
            frame = replace(frame_of(image_of(STEPPED, index)), index=index)
            each, state = detect(frame, segmenter, Limits(), state, clock.monotonic_ns)
            lost += each.lost
            found = each.segmentation.cells if each.segmentation else ()
            shown.update(cell.kind for cell in found if cell.excluded is None)
            unique |= {(true.kind, true.cell_id) for true in truth_of(STEPPED, index) if counts(STEPPED, true)}
    assert lost == times
    for kind in KINDS:
        n = sum(each == kind for each, _ in unique)
        assert shown[kind] == pytest.approx(n, abs=max(1, 0.01 * n))


# Places


def test_places_follow_the_stage() -> None:
    places, _ = walked(STEPPED, range(8))
    assert {place.region for place in places} == {0}
    assert [place.x for place in places] == pytest.approx([512 * at for at in range(8)], abs=2.0)
    assert [place.y for place in places] == pytest.approx([0] * 8, abs=2.0)


def test_a_return_is_recognised_after_a_jump_away() -> None:
    """Nothing of frame 12 was in sight; frame 1 is found by the keys of the first region."""
    places, state = walked(STEPPED, [0, 1, 2, 12, 1])
    assert [place.region for place in places] == [0, 0, 0, 1, 0]
    assert (places[4].x, places[4].y) == pytest.approx((512, 0), abs=1.0)
    assert new_share(places[4], state) == 0.0


def test_regions_that_meet_become_one() -> None:
    places, state = walked(STEPPED, [0, 1, 12, 10, 8, 6, 4, 3, 2, 1])
    assert [place.region for place in places[2:5]] == [1, 1, 1]
    assert places[-1].region == 0
    assert (places[-1].x, places[-1].y) == pytest.approx((512, 0), abs=2.0)
    assert {place.region for place in state.counted} == {0}
    assert max(place.x for place in state.counted) == pytest.approx(12 * 512, abs=4.0)


def test_other_frames_begin_a_new_region() -> None:
    _, state = walked(STEPPED, [0])
    [image] = images(STEPPED, [0])
    place, after = located(frame_of(np.ascontiguousarray(image[:400])), state, sharp=True)
    assert place == Place(1, 0, 0)
    assert after.counted == ()


def test_a_soft_frame_is_followed_and_no_key() -> None:
    """So that a slide that is pushed fast is found again where it stops."""
    _, state = walked(STEPPED, [0])
    [soft] = images(STEPPED, [1])
    place, after = located(frame_of(cv2.GaussianBlur(soft, (0, 0), 12).astype(np.uint8)), state, sharp=False)
    assert place is not None
    assert place.x == pytest.approx(512, abs=4.0)
    assert after.keys == state.keys
    [far] = images(STEPPED, [15])
    assert located(frame_of(far), after, sharp=False) == (None, after)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecell.place.MOST_KEYS", 3)
    monkeypatch.setattr(area, "MOST_COUNTED", 4)
    monkeypatch.setattr(area, "MOST_SPOTTED", 2)
    _, state = walked(STEPPED, range(9))
    assert (len(state.keys), len(state.counted), len(state.spots)) == (3, 4, 2)
    assert state.last is not None
    assert len(state.last.image) == 160 * 90


# State


def test_a_run_goes_on_in_another_process_as_if_nothing_had_happened() -> None:
    whole, _ = detected(SEARCHED, GateState(area=AreaState()))
    options = Options(seed=21, stage="searched", overlap=0.6, frames=16)
    first, state = detected(options, GateState(area=AreaState()))
    kept = from_state(to_state(RunState(gate=state)))
    assert kept.gate == state
    rest, _ = detected(SEARCHED, kept.gate, skip=16)
    assert fates([*first, *rest]) == fates(whole)


def test_few_images_are_written_down() -> None:
    _, state = walked(STEPPED, range(0, 24, 2))
    assert len(state.keys) == 12
    assert light(state).keys == state.keys[-area.TAKEN_ALONG :]
    assert light(AreaState()) == AreaState()


# Motion


def test_a_smear_is_told_from_rest() -> None:
    still, smeared = (next(images(Options(seed=21, stage="hand", exposure=exposure), [0])) for exposure in (0.0, 0.1))
    assert unlike(still, PIXEL_UM) < 1.1
    assert unlike(smeared, PIXEL_UM) > LIMIT
    assert is_moving(smeared, PIXEL_UM)
    assert not is_moving(np.full((20, 20, 3), 200, np.uint8), PIXEL_UM)


def test_moving_frames_are_not_counted_and_what_they_passed_is_found_again() -> None:
    """The shutter is open for a tenth of the time: all that is pushed is smeared, and only halts are counted."""
    options = Options(seed=21, stage="searched", overlap=0.7, exposure=0.1, frames=26)
    found, _ = detected(options, GateState(area=AreaState()))
    reasons = [each.verdict.reason for each in found]
    assert {reasons[at] for at in (*range(1, 14), *range(18, 23))} <= {MOVING, BLURRED}
    assert MOVING in reasons
    assert "" in reasons[14:18]
    assert not any(each.lost for each in found)
    assert all(each.segmentation is None for each in found if each.verdict.reason)


def test_a_run_that_counts_every_frame_refuses_none_for_moving() -> None:
    options = Options(seed=21, stage="searched", overlap=0.7, exposure=0.1, frames=8)
    found, state = detected(options, GateState())
    assert MOVING not in [each.verdict.reason for each in found]
    assert state.area is None
    assert {each.place for each in found} == {None}


def test_a_first_frame_is_not_lost() -> None:
    frame = Frame(source_id="t", index=0, captured_ns=0, image=next(images(STEPPED, [0])))
    with Exact(STEPPED) as segmenter:
        found, _ = detect(frame, segmenter, Limits(), GateState(area=AreaState()), clock.monotonic_ns)
    assert found.place == Place(0, 0, 0)
    assert not found.lost
