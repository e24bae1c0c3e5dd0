"""Frames on their way, as spans."""

import pytest

from edgecell.flight import Flight


def test_a_million_frames_left_out_are_one_span() -> None:
    flight = Flight()
    flight.add(0, 1)
    flight.add(1, 1_000_000)
    assert list(flight.spans) == [(0, 1_000_001)]
    flight.take(1, 999_999)
    flight.add(1_000_001, 0)
    assert list(flight.spans) == [(0, 1), (1_000_000, 1)]


@pytest.mark.parametrize(("first", "count"), [(3, 1), (1, 3), (9, 1)])
def test_what_is_not_on_its_way_cannot_be_settled(first: int, count: int) -> None:
    flight = Flight([(0, 3), (5, 2)])
    with pytest.raises(ValueError, match="not on their way"):
        flight.take(first, count)
