"""The truth of a phantom frame is what is drawn in it."""

from collections import Counter

import cv2
import numpy as np
import pytest

from edgecell.messages import NUCLEATED, PLATELET, RED_BLOOD_CELL
from edgecell.sources.phantom import PhantomSource, draw
from edgecell.sources.phantom.catalogue import DIAMETERS_UM, catalogue
from edgecell.sources.phantom.options import Options
from edgecell.sources.phantom.slide import MIX, RED_DENSITY, Slide
from edgecell.sources.phantom.truth import TrueCell, truth_of

CLEAN = Options(noise=0.0, defocus_um=0.0, vignette=0.0)


@pytest.fixture(scope="module")
def fields() -> list[tuple[TrueCell, ...]]:
    return [truth_of(CLEAN, index) for index in range(60)]


def stained(index: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Where the frame is clearly not background."""
    with PhantomSource(CLEAN) as source:
        frame = None
        for _ in range(index + 1):
            frame = source.read(1.0)
    assert frame is not None
    green = frame.image[:, :, 1].astype(int)
    found: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = green < np.percentile(green, 98) - 22
    return found


@pytest.mark.parametrize("index", [0, 3])
def test_true_boxes_hold_all_that_is_stained(index: int) -> None:
    covered = np.zeros((720, 1280), bool)
    for cell in truth_of(CLEAN, index):
        x0, y0, x1, y1 = cell.box_px
        covered[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1] = True
    mask = stained(index)
    assert mask.mean() > 0.3
    assert (mask & ~covered).sum() < 0.002 * mask.sum()


def test_lone_cells_fill_their_boxes() -> None:
    cells = truth_of(CLEAN, 0)
    mask = stained(0).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    blobs = {tuple(int(v) for v in (x, y, x + w, y + h)) for x, y, w, h, area in stats[1:] if area > 300}
    close = sum(any(max(abs(a - b) for a, b in zip(blob, cell.box_px, strict=True)) <= 3 for cell in cells) for blob in blobs)
    assert close >= 10


def test_every_turn_of_a_sprite_agrees_with_its_outline() -> None:
    individuals = catalogue(7)
    for one, sprite in list(zip(individuals, draw.sprites(7, 1.0, 0.1), strict=True))[::23]:
        if one.kind == PLATELET:  # too pale at its border to measure
            continue
        for turn in range(8):
            drawn = draw.turned(sprite, turn)
            rows, columns = np.nonzero(drawn[:, :, 1] > 100)
            half = drawn.shape[0] // 2
            outline = one.turned_um(turn) / 0.1
            expected = (*outline.min(axis=0), *outline.max(axis=0))
            found = (columns.min() - half, rows.min() - half, columns.max() - half, rows.max() - half)
            assert found == pytest.approx(expected, abs=2.5), (one.label, turn)


def test_cells_keep_their_id_and_place_from_frame_to_frame() -> None:
    options = Options(stage="overlapping", overlap=0.5)
    first, second = ({cell.cell_id: cell for cell in truth_of(options, index)} for index in (0, 1))
    shared = set(first) & set(second)
    assert len(shared) > 60
    for cell_id in shared:
        assert first[cell_id].label == second[cell_id].label
        assert first[cell_id].centre_px[0] - second[cell_id].centre_px[0] == pytest.approx(640, abs=1)


def test_whole_fields_share_only_cells_on_the_border() -> None:
    first, second = ({cell.cell_id: cell for cell in truth_of(Options(), index)} for index in (0, 1))
    assert not any(first[cell_id].wholly_inside for cell_id in set(first) & set(second))


def test_the_slide_does_not_depend_on_the_order_of_asking() -> None:
    forth, back = Slide(Options()), Slide(Options())
    places = [(1024.0 + 100 * k, 1024.0) for k in range(4)]
    ahead = [forth.cells(x, y, 90, 70) for x, y in places]
    behind = [back.cells(x, y, 90, 70) for x, y in reversed(places)][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(ahead, behind, strict=True))


def test_ids_are_unique(fields: list[tuple[TrueCell, ...]]) -> None:
    for cells in fields:
        assert len({cell.cell_id for cell in cells}) == len(cells)


def test_boxes_lie_in_the_frame_and_wholly_inside_means_uncut(fields: list[tuple[TrueCell, ...]]) -> None:
    for cell in (cell for cells in fields for cell in cells):
        x0, y0, x1, y1 = cell.box_px
        assert 0 <= x0 < x1 <= 1280
        assert 0 <= y0 < y1 <= 720
        if cell.wholly_inside:
            assert x0 <= cell.centre_px[0] <= x1
            assert (x1 - x0) * (y1 - y0) > np.pi * (cell.radius_um / 0.1) ** 2


def test_sizes_density_and_mix(fields: list[tuple[TrueCell, ...]]) -> None:
    cells = [cell for cells in fields for cell in cells]
    red_um = np.array([2 * cell.radius_um for cell in cells if cell.kind == RED_BLOOD_CELL])
    assert red_um.min() >= 6.2
    assert red_um.max() <= 8.2
    assert red_um.mean() == pytest.approx(7.2, abs=0.15)
    inside = [c for c in cells if 0 <= c.centre_px[0] < 1280 and 0 <= c.centre_px[1] < 720]
    kinds = Counter(cell.kind for cell in inside)
    assert 1000 * kinds[RED_BLOOD_CELL] / (60 * 128 * 72) == pytest.approx(RED_DENSITY, rel=0.1)
    assert kinds[PLATELET] > 200
    nucleated = Counter(cell.label for cell in inside if cell.kind == NUCLEATED)
    assert set(nucleated) == set(MIX)
    assert nucleated["neutrophil"] / sum(nucleated.values()) == pytest.approx(MIX["neutrophil"], abs=0.08)
    assert {cell.label for cell in cells} == set(DIAMETERS_UM)


def test_nucleated_cells_keep_clear_of_each_other(fields: list[tuple[TrueCell, ...]]) -> None:
    for cells in fields:
        centres = np.array([cell.centre_px for cell in cells if cell.kind == NUCLEATED])
        apart = np.hypot(*(centres[:, None] - centres[None]).transpose(2, 0, 1))
        assert apart[~np.eye(len(centres), dtype=bool)].min() > 150
