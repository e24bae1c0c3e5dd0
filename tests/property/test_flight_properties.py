"""Frames on their way: what is added and not taken, whatever the order."""

from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from edgecell.flight import Flight


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=12), st.randoms(use_true_random=False))
def test_spans_are_what_was_added_and_not_taken(batches: list[tuple[int, int]], draw: Random) -> None:
    flight, open_frames, index = Flight(), set[int](), 0
    for gap, count in batches:
        index += gap
        flight.add(index, count)
        open_frames |= set(range(index, index + count))
        index += count
        for one in draw.sample(sorted(open_frames), draw.randint(0, len(open_frames))):
            flight.take(one)
            open_frames.discard(one)
        spans = flight.spans
        assert [at for first, number in spans for at in range(first, first + number)] == sorted(open_frames)
        assert all(first + number < later for (first, number), (later, _) in pairwise(spans))
        assert Flight(spans).spans == spans
