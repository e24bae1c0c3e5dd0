"""A source that may go and come back."""

from contextlib import AbstractContextManager
from dataclasses import replace
from types import TracebackType

from typing_extensions import Self

from edgecell import clock
from edgecell.condition import Trouble, Troubles
from edgecell.errors import FrameCorrupt, FrameTimeout, SourceError, SourceUnavailable
from edgecell.messages import Frame
from edgecell.protocols import FrameSource, Seekable
from edgecell.runtime.backoff import Backoff


class Camera(AbstractContextManager["Camera"]):
    """A source, entered, read and closed on one thread. A live one that is gone in the middle of the run is closed and opened
    again, with ever longer waits; files that are gone are gone.

    A source that is opened again starts its numbers anew: its frames are numbered on here, so that an index stands for one
    frame of the run. What it would have seen while it was away has no number: that is no loss of frames but time without any,
    and said.
    """

    def __init__(self, source: FrameSource, first: int = 0) -> None:
        """first: index of the first frame that is to be read."""
        self._source = source
        self._backoff = Backoff()
        self._open = False
        self._lost = ""
        self._shift: int | None = None if first else 0
        self._next = first

    def __enter__(self) -> Self:
        self._enter()
        return self

    def _enter(self) -> None:
        """A source that can, goes on with the frame that comes next; its numbers are the run's."""
        if isinstance(self._source, Seekable):
            self._source.start_at(self._next)
            self._shift = 0
        self._source.__enter__()
        self._open = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        if self._open:
            self._open = False
            self._source.__exit__(kind, error, trace)

    @property
    def troubles(self) -> Troubles:
        if not self._lost:
            return {}
        return {"camera": Trouble(f"{self._lost}; tried again {self._backoff.words}")}

    def read(self, timeout_s: float) -> Frame | None:
        """As a source's, but that SourceUnavailable of a live one is a FrameTimeout while it is away."""
        if not self._open and not self._opened_again(timeout_s):
            raise FrameTimeout(self._lost)
        try:
            frame = self._source.read(timeout_s)
        except FrameCorrupt as error:
            error.index = self._numbered(error.index)
            raise
        except SourceUnavailable as error:
            if not self._source.live:
                raise
            self._lose(error)
            raise FrameTimeout(self._lost) from error
        if frame is None:
            return None
        self._lost = ""
        self._backoff.reset()
        return replace(frame, index=self._numbered(frame.index))

    def _numbered(self, index: int) -> int:
        """The run's number of what the source calls `index`."""
        if self._shift is None:
            self._shift = self._next - index
        self._next = index + self._shift + 1
        return index + self._shift

    def _opened_again(self, timeout_s: float) -> bool:
        """Whether it was time to try, and it worked; else timeout_s have passed, or what was left to wait."""
        wait_s = self._backoff.wait_s
        if wait_s > 0:
            clock.sleep(min(wait_s, timeout_s))
            return False
        try:
            self._shift = None
            self._enter()
        except SourceError as error:
            self._lost = error.what
            self._backoff.failed()
            return False
        return True

    def _lose(self, error: SourceUnavailable) -> None:
        self._lost = error.what
        self._backoff.failed()
        self.__exit__(None, None, None)
