"""How many threads OpenCV has while a run is on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import cv2

ASKED: Final = "OPENCV_FOR_THREADS_NUM"
"""OpenCV's own variable, read when it is loaded: whoever sets it is obeyed."""


@contextmanager
def pinned(environment: Mapping[str, str]) -> Iterator[None]:
    """One thread, unless somebody asked for more; as before afterwards.

    Detecting and classifying overlap, each on a thread of its own, which is two cores at work. OpenCV's images are small by
    then: with two threads of its own a frame took 1.01 of the processor's time, and on busy cores 1.03 to 1.08 by the clock.
    """
    before = cv2.getNumThreads()
    if ASKED not in environment:
        cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
