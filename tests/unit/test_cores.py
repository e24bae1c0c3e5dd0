"""OpenCV's threads during a run."""

from collections.abc import Iterator

import cv2
import pytest

from edgecell.runtime.cores import ASKED, pinned


@pytest.fixture(autouse=True)
def two() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    yield
    cv2.setNumThreads(before)


def test_a_run_has_one_and_leaves_as_many_as_there_were() -> None:
    with pinned({}):
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == 2


def test_who_asks_for_a_number_is_obeyed() -> None:
    with pinned({ASKED: "2"}):
        assert cv2.getNumThreads() == 2
    assert cv2.getNumThreads() == 2


def test_they_are_given_back_whatever_ends_the_run() -> None:
    with pytest.raises(KeyError), pinned({}):
        raise KeyError
    assert cv2.getNumThreads() == 2
