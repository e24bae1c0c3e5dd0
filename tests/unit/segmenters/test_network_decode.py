"""Maps made by hand -> the cells that were put into them."""

import numpy as np
import pytest

from edgecell.segmenters.network.decode import BOX, INSIDE, KINDS, Map, decode, distinct, owners

GRID = 30, 40
Put = tuple[int, float, float, float, float, float]
"""Kind, score as a logit, and a box x0, y0, x1, y1 in grid cells."""


def maps_of(*cells: Put) -> dict[str, Map]:
    """What a perfect network says of those cells: their ellipses inside, each pixel its own cell's box."""
    kinds = np.full((3, *GRID), -6.0, np.float32)
    box, inside = np.zeros((4, *GRID), np.float32), np.full((1, *GRID), -5.0, np.float32)
    y, x = np.mgrid[: GRID[0], : GRID[1]] + 0.5
    nearest = np.full(GRID, np.inf)
    for kind, logit, x0, y0, x1, y1 in cells:
        away = np.hypot((2 * x - x0 - x1) / (x1 - x0), (2 * y - y0 - y1) / (y1 - y0))
        mine = (away < 1) & (away < nearest)
        nearest = np.where(mine, away, nearest)
        sides = np.stack([x - x0, y - y0, x1 - x, y1 - y])
        box[:, mine] = np.log(np.maximum(sides[:, mine], 0.1))
        inside[0, mine] = 5.0
        kinds[kind, min(int((y0 + y1) / 2), GRID[0] - 1), min(int((x0 + x1) / 2), GRID[1] - 1)] = logit
    return {KINDS: kinds, BOX: box, INSIDE: inside}


def test_cells_come_back_surest_first() -> None:
    cells: list[Put] = [(1, 1.0, 2, 2, 9, 9), (0, 3.0, 15, 4, 29, 17), (2, 2.0, 33.5, 20.5, 35.5, 23.5)]
    found = decode(maps_of(*cells), (0.5, 0.5, 0.5), 0.6)
    assert found.kinds.tolist() == [0, 2, 1]
    assert found.boxes == pytest.approx(np.array([cells[1][2:], cells[2][2:], cells[0][2:]]), abs=1e-4)
    assert found.scores[0] == pytest.approx(1 / (1 + np.exp([-3.0, 6.0, 6.0])), abs=1e-6)


def test_each_kind_has_its_own_least_score() -> None:
    maps = maps_of((1, 0.0, 2, 2, 9, 9), (2, 0.0, 20, 20, 23, 23))
    assert decode(maps, (0.5, 0.4, 0.6), 0.6).kinds.tolist() == [1]
    assert decode(maps, (0.5, 0.6, 0.4), 0.6).kinds.tolist() == [2]


def test_touching_cells_stay_two_and_share_no_pixel() -> None:
    maps = maps_of((1, 2.0, 5, 5, 13, 13), (1, 1.0, 12, 6, 20, 14))
    found = decode(maps, (0.5, 0.5, 0.5), 0.6)
    whose = owners(found, maps)
    assert len(found.boxes) == 2
    assert whose[9, 6] == 1
    assert whose[9, 18] == 2
    for number in (1, 2):
        assert (whose == number).sum() == pytest.approx(np.pi * 16, rel=0.15)


def test_a_platelet_on_a_red_cell_owns_its_pixels() -> None:
    maps = maps_of((1, 2.0, 5, 5, 15, 15), (2, 1.0, 11, 8, 14, 11))
    found = decode(maps, (0.5, 0.5, 0.5), 0.6)
    assert found.kinds.tolist() == [1, 2]
    whose = owners(found, maps)
    assert whose[9, 12] == 2
    assert whose[9, 7] == 1


def test_what_the_border_cuts_ends_at_the_border() -> None:
    maps = maps_of((1, 2.0, -4, 10, 4, 18), (1, 1.5, 36, 26, 44, 34))
    found = decode(maps, (0.5, 0.5, 0.5), 0.6)
    assert found.boxes.min() >= 0
    assert (found.boxes[:, 2:] <= (GRID[1], GRID[0])).all()
    assert found.boxes[0] == pytest.approx([0, 10, 4, 18], abs=1e-4)


def test_the_surer_of_two_boxes_on_one_cell_is_kept() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [8, 0, 18, 10]], np.float32)
    assert distinct(boxes, 0.6).tolist() == [0, 2, 3]
    assert distinct(boxes, 0.9).tolist() == [0, 1, 2, 3]
    assert distinct(boxes[:0], 0.6).tolist() == []


def test_nothing_is_found_in_nothing() -> None:
    maps = maps_of()
    found = decode(maps, (0.5, 0.5, 0.5), 0.6)
    assert found.boxes.shape == (0, 4)
    assert not owners(found, maps).any()
