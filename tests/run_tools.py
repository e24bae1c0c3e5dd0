"""What the threads of a run work with, from stand-ins."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from edgecell.classify import Classifier
from edgecell.protocols import Segmenter
from edgecell.runtime import Classifying, Detecting, Opener


def nothing() -> None: ...


def detecting(segmenter: Segmenter, reopen: Callable[[], None] = nothing) -> Opener[Detecting]:
    @contextmanager
    def opened() -> Iterator[Detecting]:
        with segmenter:
            yield Detecting(segmenter=segmenter, models=(), reopen=reopen)

    return opened


def classifying(classifiers: Mapping[str, Classifier], reopen: Callable[[], None] = nothing) -> Opener[Classifying]:
    @contextmanager
    def opened() -> Iterator[Classifying]:
        yield Classifying(classifiers=classifiers, models=(), reopen=reopen)

    return opened
