"""Faster is not different: the frame path answers as it did when `tests/answers.json` was written.

On the processor and the libraries that the file was made on, bit for bit. On others a network's sums round differently, so
answers are held to what that may change.
"""

from collections.abc import Iterator

import pytest
from answers import FIELDS, Answer, answers, drawn, fields, made, recorded

MADE, SETS = recorded()
ALIKE = 0.98
"""Share of the cells that are called the same in the same place, on other processors and libraries."""
BOX_PX, CONFIDENCE = 2, 0.05
"""What else they may differ by there."""
DRAWN = [name for name in SETS if not name.startswith("val ")]
REAL = [name for name in SETS if name.startswith("val ")]


@pytest.fixture(scope="module")
def now() -> dict[str, list[Answer]]:
    """The sets that are here, answered anew."""
    sets = drawn() | (fields() if FIELDS.is_file() else {})
    return {name: answers(images) for name, images in sets.items()}


@pytest.mark.parametrize("name", [*DRAWN, *REAL])
def test_the_answers_are_those_of_before(now: dict[str, list[Answer]], name: str) -> None:
    if name in REAL and not FIELDS.is_file():
        pytest.skip(f"the real fields are not here: no {FIELDS}")
    if made() == MADE:
        assert now[name] == SETS[name]
    assert [each["reason"] for each in now[name]] == [each["reason"] for each in SETS[name]]
    for before, after in zip(SETS[name], now[name], strict=True):
        assert after["pixel_um"] == pytest.approx(before["pixel_um"], rel=0.01)
        assert after["focus"] == pytest.approx(before["focus"], rel=1e-3)
    pairs = list(_pairs(SETS[name], now[name]))
    most = max(sum(len(each["cells"]) for each in some) for some in (SETS[name], now[name]))
    assert len(pairs) >= ALIKE * most
    assert all(abs(one - other) < CONFIDENCE for one, other in pairs)


def test_a_path_that_answers_otherwise_is_found(now: dict[str, list[Answer]]) -> None:
    """Cells that lie a little further to the right are not those of before."""
    name = DRAWN[0]
    moved = [{**each, "cells": [[*cell[:2], cell[2] + 3, *cell[3:]] for cell in each["cells"]]} for each in now[name]]
    assert moved != SETS[name]
    assert len(list(_pairs(SETS[name], moved))) < ALIKE * sum(len(each["cells"]) for each in SETS[name])


def _pairs(one: list[Answer], other: list[Answer]) -> Iterator[tuple[float, float]]:
    """The confidences (1.0 where there is none) of cells that are called the same in the same place, frame by frame."""
    for before, after in zip(one, other, strict=True):
        left = list(after["cells"])
        for name, decided, *box, sure in before["cells"]:
            found = next((cell for cell in left if cell[:2] == [name, decided] and _near(cell[2:6], box)), None)
            if found is not None:
                left.remove(found)
                yield 1.0 if sure is None else sure, 1.0 if found[6] is None else found[6]


def _near(one: list[int], other: list[int]) -> bool:
    return all(abs(a - b) <= BOX_PX for a, b in zip(one, other, strict=True))
